//! Faults of store and log as the callers of the desk are told of them; the causes go to the program's own log here.
//! Never shows a path or a statement to outsiders. Read `core.rs` for where they come up.

use tracing::warn;

use crate::desk::core::NotMoved;
use crate::desk::record::NotRecorded;
use crate::desk::{
    ActError, AskError, DecideError, DeskError, EndGrantError, ForgetError, NotStarted, ReviewError,
};
use crate::store::sqlite::StoreError;

fn note_store(error: &StoreError) {
    warn!("store unavailable: {error}");
}

macro_rules! unavailable {
    ($($error:ty),*) => {$(
        impl From<StoreError> for $error {
            fn from(error: StoreError) -> Self {
                note_store(&error);
                Self::StoreUnavailable
            }
        }

        impl From<NotRecorded> for $error {
            fn from(error: NotRecorded) -> Self {
                match error {
                    NotRecorded::Store(error) => error.into(),
                    NotRecorded::Log(error) => {
                        warn!("log not written: {error}");
                        Self::LogUnavailable
                    }
                }
            }
        }
    )*};
}

unavailable!(
    ActError,
    AskError,
    NotStarted,
    DecideError,
    DeskError,
    EndGrantError,
    ReviewError
);

impl From<StoreError> for ForgetError {
    fn from(error: StoreError) -> Self {
        DeskError::from(error).into()
    }
}

impl From<NotRecorded> for ForgetError {
    fn from(error: NotRecorded) -> Self {
        DeskError::from(error).into()
    }
}

impl From<NotMoved> for NotStarted {
    fn from(error: NotMoved) -> Self {
        match error {
            NotMoved::Store(error) => error.into(),
            NotMoved::Illegal(illegal) => Self::NotApproved(illegal.from.kind()),
            NotMoved::Lost => Self::NotFound,
        }
    }
}
