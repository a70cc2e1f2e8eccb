//! KILL and KILL QUERY of an agent's own sessions, which are cancels like any other, and are carried out here.
//! Never lets one through for anybody else's session. Read `../registry.rs` next.

use std::rc::Rc;
use std::time::Duration;

use crate::audit::entry::{Body, OutcomeKind, StatementOutcome};
use crate::policy::{Outcome, Verdict};
use crate::proxy::end::End;
use crate::proxy::judgements::Judged;
use crate::proxy::mysql::command::Sending;
use crate::proxy::mysql::session::Session;
use crate::sql::action::{Action, Breadth, CancelTarget, Class, Judgement};
use crate::sql::mysql_state::MysqlState;
use crate::wire::mysql::answer::{OkPacket, Place};
use crate::wire::mysql::packet;

/// How long a client is made to wait for its cancel to be carried out.
const CANCEL_WITHIN: Duration = Duration::from_secs(5);

/// What is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Killed {
    Query,
    Connection,
}

/// A KILL of a session of the same agent.
pub struct OwnKill {
    judged: Rc<Judged<MysqlState>>,
    verdict: Rc<Verdict>,
    target: i32,
    what: Killed,
}

impl Session {
    /// A lone KILL of a session of the same principal is a cancel; the statement then does no more than that, so it is
    /// judged as one of the session.
    pub(super) fn own_kill(&self, judged: &Judged<MysqlState>) -> Option<OwnKill> {
        let [action] = judged.judgement.actions.as_slice() else {
            return None;
        };
        let target = match action.cancels.as_ref()? {
            CancelTarget::Pid(target) => *target,
            // A number that a value brings: MySQL has no such form that the walk lets through.
            CancelTarget::Parameter(_) => return None,
        };
        if !self.side.registry.is_own(&self.peer.principal, target) {
            return None;
        }
        let what = match action.verb.as_str() {
            "kill query" => Killed::Query,
            "kill" => Killed::Connection,
            _ => return None,
        };
        let cancel = Action {
            class: Class::Session,
            verb: "cancel own session".to_owned(),
            reasons: Vec::new(),
            ..action.clone()
        };
        let own = Rc::new(judged.of_action(&cancel));
        let verdict = self.verdict(&own);
        (verdict.outcome() == Outcome::Allow).then_some(OwnKill {
            judged: own,
            verdict,
            target,
            what,
        })
    }

    /// Records it, carries it out, and answers as the server would.
    pub(super) async fn carry_out_kill(&mut self, own: OwnKill, sending: &Sending) -> Result<(), End> {
        let number = self.next_run();
        let recorded = Sending {
            frames: Vec::new(),
            judged: own.judged,
            verdict: own.verdict,
            parameters: Vec::new(),
            bound: Vec::new(),
            execution: None,
            ..*sending
        };
        if !self.record(&recorded, number).await {
            return self.refuse_unrecorded(sending);
        }
        let registry = &self.side.registry;
        let principal = &self.peer.principal;
        match own.what {
            Killed::Query => {
                if let Some(mut carried_out) = registry.cancel_own(principal, own.target) {
                    let _too_slow = tokio::time::timeout(CANCEL_WITHIN, carried_out.recv()).await;
                }
            }
            Killed::Connection => {
                // A session that has just ended needs no kill.
                let _told = registry.kill_own(principal, own.target);
            }
        }
        self.stage(Body::Outcome(StatementOutcome {
            attempt: self.attempt(number),
            kind: OutcomeKind::Ran,
            rows: None,
            tag: "KILL",
            sqlstate: "",
            message: "",
            request: None,
        }));
        self.put_ok(sending.next_sequence);
        Ok(())
    }

    /// An OK of the proxy's own.
    fn put_ok(&mut self, sequence: u8) {
        let ok = OkPacket {
            place: Place::Answer,
            affected_rows: 0,
            last_insert_id: 0,
            status: self.status,
            warnings: 0,
            info: &[],
            changes: Vec::new(),
        };
        let mut payload = Vec::new();
        ok.encode(self.capabilities, &mut payload);
        self.pipe.tell(|out| {
            packet::put(out, sequence, &payload);
        });
    }

    /// A command of the session's own that has no text, as a statement of its class.
    pub(super) fn session_action(&self, text: &[u8], verb: &str) -> Rc<Judged<MysqlState>> {
        let action = Action {
            class: Class::Session,
            breadth: Breadth::Unbounded,
            verb: verb.to_owned(),
            reasons: Vec::new(),
            ..crate::sql::classify::postgres::unknown_action(0..text.len(), String::new())
        };
        let judgement = Judgement {
            actions: vec![action],
            depends_on_names: true,
            fingerprint: [0; 32],
            sorts: [0; 32],
        };
        let scope = self.thread.mysql_judgements.borrow_mut().scope_of_one();
        Rc::new(Judged::new(text.into(), judgement, self.facts.state, scope))
    }
}
