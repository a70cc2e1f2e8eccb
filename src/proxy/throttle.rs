//! Slows down those who guess. Never locks anybody out: an agent behind the same address must still get in.
//! Read `login.rs` next.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);
/// Without a failure for so long, an address starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Addresses remembered; beyond it the stale ones go, and then all.
const ADDRESSES_MAX: usize = 10_000;

/// Failed log-ins by address.
#[derive(Default)]
pub struct Throttle {
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Throttle {
    /// Notes a failure; gives how long its answer is held back: 100 ms, doubled by each failure before, at most 5 s.
    pub fn failed(&self, source: IpAddr, now: Instant) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ADDRESSES_MAX {
            failures.retain(|_, (_, last)| now.duration_since(*last) < FORGET_AFTER);
        }
        if failures.len() >= ADDRESSES_MAX {
            failures.clear();
        }
        let (count, last) = failures.entry(source).or_insert((0, now));
        if now.duration_since(*last) >= FORGET_AFTER {
            *count = 0;
        }
        *last = now;
        let delay = FIRST_DELAY.saturating_mul(1 << (*count).min(16)).min(DELAY_MAX);
        *count += 1;
        delay
    }

    pub fn succeeded(&self, source: IpAddr) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_get_slower_and_a_success_forgives() {
        let throttle = Throttle::default();
        let source = IpAddr::from([127, 0, 0, 1]);
        let now = Instant::now();
        assert_eq!(throttle.failed(source, now), FIRST_DELAY);
        assert_eq!(throttle.failed(source, now), FIRST_DELAY * 2);
        for _ in 0..20 {
            throttle.failed(source, now);
        }
        assert_eq!(throttle.failed(source, now), DELAY_MAX);
        throttle.succeeded(source);
        assert_eq!(throttle.failed(source, now), FIRST_DELAY);
    }
}
