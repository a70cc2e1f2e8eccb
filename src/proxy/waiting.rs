//! What a parked statement's session and the desk have to say to each other, whatever the protocol.
//! Never decides, and never lets a statement go. Read `postgres/park.rs` or `mysql/park.rs` next.

use tokio::sync::oneshot::error::RecvError;
use tracing::warn;

use crate::desk::{Desk, Detach, Parked, Wake};
use crate::hold::RequestId;
use crate::proxy::end::End;
use crate::proxy::refusal::Refusal;

/// How a wait ended.
pub enum Ended {
    Approved { by: Vec<String> },
    Refused(Refusal),
}

/// What the desk's word means for the session.
pub fn woken(request: RequestId, wake: Result<Wake, RecvError>) -> Result<Ended, End> {
    match wake {
        Ok(Wake::Approved { by, .. }) => Ok(Ended::Approved { by }),
        Ok(Wake::Denied { by, reason }) => {
            Ok(Ended::Refused(Refusal::DeniedByPerson { by, request, reason }))
        }
        Ok(Wake::Expired) => Ok(Ended::Refused(Refusal::Expired { request })),
        Ok(Wake::Withdrawn { why }) => Ok(Ended::Refused(Refusal::Withdrawn { request, why })),
        Ok(Wake::Asked { by, question }) => Ok(Ended::Refused(Refusal::Question {
            request,
            by,
            question,
        })),
        Ok(Wake::Stopping) | Err(_) => Err(End::Stopping),
    }
}

/// The announced end of the wait: the request goes on without this connection.
pub async fn wait_is_over(desk: &Desk, request: RequestId, parked: &mut Parked) -> Result<Ended, End> {
    // A decision may have come in the same moment: then it counts.
    if let Ok(wake) = parked.woken.try_recv() {
        return woken(request, Ok(wake));
    }
    detach(desk, request, Detach::WaitOver).await;
    match parked.woken.try_recv() {
        // An approval in that very instant has become a grant, which the same bytes redeem.
        Ok(Wake::Approved { .. }) | Err(_) => Ok(Ended::Refused(Refusal::Pending { request })),
        Ok(wake) => woken(request, Ok(wake)),
    }
}

pub async fn detach(desk: &Desk, request: RequestId, why: Detach) {
    if let Err(error) = desk.detach(request, why).await {
        warn!(request.id = %request, %error, "a request cannot be detached");
    }
}

pub async fn withdraw(desk: &Desk, request: RequestId, why: &str) {
    if let Err(error) = desk.withdraw(request, why).await {
        warn!(request.id = %request, %error, "a request cannot be withdrawn");
    }
}

/// Why a request is withdrawn whose session a person has ended.
pub fn ended_by(who_and_why: &str) -> String {
    format!("its session was ended by {who_and_why}")
}

/// Somebody left between an approval and its run.
pub async fn leave_approved(desk: &Desk, request: RequestId, end: &End) {
    match end {
        End::ClientLeft | End::Stopping => detach(desk, request, Detach::ClientLeft).await,
        End::ServerLost | End::ServerEnded | End::Violation(_) => {
            withdraw(desk, request, "the server connection was lost").await;
        }
        End::Killed => withdraw(desk, request, "its connection was killed").await,
        End::CredentialEnded(why) => withdraw(desk, request, why).await,
        End::EndedByPerson(why) => withdraw(desk, request, &ended_by(why)).await,
    }
}
