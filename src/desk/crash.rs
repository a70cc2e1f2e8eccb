//! Places between two steps at which tests end the desk, to see that what is left tells the truth.
//! Does nothing without the feature `faults`. Read `core.rs` for the steps.
//!
//! Two ways to end: the environment variable `COUNTERSIGN_CRASH_AT` names the place at which the process aborts, and
//! `crash_after` unwinds the calling thread at the n-th place it comes to.

/// A place between two steps.
#[cfg(not(feature = "faults"))]
pub const fn crash_point(_name: &str) {}

#[cfg(feature = "faults")]
pub use faults::{Crashed, crash_after, crash_point};

#[cfg(feature = "faults")]
mod faults {
    use std::cell::Cell;

    thread_local! {
        static PLACES_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// What a thread unwinds with at the place that `crash_after` chose.
    #[derive(Debug)]
    pub struct Crashed;

    /// This thread unwinds with `Crashed` at the place that comes after so many others; `None` takes that back.
    pub fn crash_after(places: Option<u32>) {
        PLACES_LEFT.set(places);
    }

    /// A place between two steps.
    pub fn crash_point(name: &str) {
        if std::env::var("COUNTERSIGN_CRASH_AT").is_ok_and(|at| at == name) {
            std::process::abort();
        }
        match PLACES_LEFT.get() {
            None => {}
            Some(0) => {
                PLACES_LEFT.set(None);
                std::panic::resume_unwind(Box::new(Crashed));
            }
            Some(left) => PLACES_LEFT.set(Some(left - 1)),
        }
    }
}
