//! Keeps requests, decisions, grants, people and agents, and what the log has still to be told.
//! Never keeps the log itself: that is `journal`. Read `sqlite.rs` next, then `requests.rs`.

mod answers;
mod card;
mod deliveries;
mod factors;
mod links;
mod outbox;
mod people;
mod remarks;
mod requests;
mod reviews;
mod sessions;
pub mod sqlite;
mod standing;
mod ways_in;

pub use answers::{ANSWER_LIFE, ANSWERS_BYTES_MAX, ANSWERS_MAX, KeptAnswer};
pub use deliveries::{
    CHECKPOINT_EVENT, Delivery, DeliveryId, Endpoint, EndpointReport, GIVEN_UP_MAX, Happening, QUEUE_MAX,
    SHARE_MAX, is_meant,
};
pub use factors::{
    CodeTaken, Factors, KeptPasskey, KeptPassword, LINK_LIFE, PASSKEYS_MAX, PasskeyInfo, PasskeyUse,
};
pub use links::{Link, LinkInfo, Which};
pub use outbox::{Note, NoteId, Outcome, Queued};
pub use people::{GIVES_ONESELF_NEXT, Issued, PeopleError, TokenInfo};
pub use remarks::NewRemark;
pub use requests::{Covering, Expected, NewDecision, Query, Saved};
pub use reviews::{ReviewQuery, Signed};
pub use sessions::{OpenedBy, OpenedSession, Opening, SessionInfo, SessionLife, Whence};
