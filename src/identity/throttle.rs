//! Slows down those who guess. Never locks anybody out for ever: whoever waits may try again.
//! Read `directory.rs` for what a guess would open.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How fast guesses get slower, and how soon they are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Behind the first failure; doubled by each one after it.
    pub first: Duration,
    pub max: Duration,
    /// Without a failure for so long, one starts anew.
    pub forget_after: Duration,
}

/// Of secrets that nobody guesses at this pace, so that a mistake costs little.
pub const LOG_INS: Pace = Pace {
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
    forget_after: Duration::from_secs(60),
};

/// Keys remembered; beyond it the stale ones go, and then those that have failed least.
const KEYS_MAX: usize = 10_000;

/// Failures by whoever they are counted for.
pub struct Throttle<K> {
    pace: Pace,
    failures: Mutex<HashMap<K, (u32, Instant)>>,
}

impl<K> Default for Throttle<K> {
    fn default() -> Self {
        Self::new(LOG_INS)
    }
}

impl<K> Throttle<K> {
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            failures: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash> Throttle<K> {
    /// Notes a failure; gives how long its answer is held back.
    pub fn failed(&self, key: K, now: Instant) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        self.note(&mut failures, key, now)
    }

    /// Takes the next attempt, which counts as a failure until `succeeded` says otherwise: so attempts that run side by
    /// side count as well. An error says how long to wait first.
    pub fn begin(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, last)) = failures.get(&key) {
            let since = now.saturating_duration_since(*last);
            let open = self.delay(count.saturating_sub(1));
            if since < self.pace.forget_after && since < open {
                return Err(open - since);
            }
        }
        self.note(&mut failures, key, now);
        Ok(())
    }

    pub fn succeeded(&self, key: &K) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }

    fn note(&self, failures: &mut HashMap<K, (u32, Instant)>, key: K, now: Instant) -> Duration {
        let forget_after = self.pace.forget_after;
        if failures.len() >= KEYS_MAX {
            failures.retain(|_, (_, last)| now.saturating_duration_since(*last) < forget_after);
        }
        // Whoever has failed least goes first: a flood of keys that fail once makes nobody forget who fails often.
        let mut spared = 1;
        while failures.len() >= KEYS_MAX {
            failures.retain(|_, (count, _)| *count > spared);
            spared = spared.saturating_mul(2);
        }
        let (count, last) = failures.entry(key).or_insert((0, now));
        if now.saturating_duration_since(*last) >= forget_after {
            *count = 0;
        }
        *last = now;
        let delay = self.delay(*count);
        *count += 1;
        delay
    }

    fn delay(&self, failures: u32) -> Duration {
        self.pace
            .first
            .saturating_mul(1 << failures.min(16))
            .min(self.pace.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_get_slower_and_a_success_forgives() {
        let throttle = Throttle::default();
        let now = Instant::now();
        assert_eq!(throttle.failed("a", now), LOG_INS.first);
        assert_eq!(throttle.failed("a", now), LOG_INS.first * 2);
        for _ in 0..20 {
            throttle.failed("a", now);
        }
        assert_eq!(throttle.failed("a", now), LOG_INS.max);
        throttle.succeeded(&"a");
        assert_eq!(throttle.failed("a", now), LOG_INS.first);
    }

    #[test]
    fn a_flood_of_keys_makes_nobody_forget_who_guesses() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..20 {
            throttle.failed(0, now);
        }
        for key in 1..=3 * KEYS_MAX {
            throttle.failed(key, now);
        }
        assert_eq!(throttle.failed(0, now), LOG_INS.max);
    }

    #[test]
    fn attempts_side_by_side_count_and_time_opens_the_door_again() {
        let throttle = Throttle::default();
        let now = Instant::now();
        assert_eq!(throttle.begin("a", now), Ok(()));
        assert_eq!(throttle.begin("a", now), Err(LOG_INS.first));
        assert_eq!(throttle.begin("b", now), Ok(()));
        let later = now + LOG_INS.first;
        assert_eq!(throttle.begin("a", later), Ok(()));
        assert_eq!(throttle.begin("a", later), Err(LOG_INS.first * 2));
        // However often somebody fails, the wait has an end that does not grow.
        let mut at = later;
        for _ in 0..30 {
            at += LOG_INS.max;
            assert_eq!(throttle.begin("a", at), Ok(()));
        }
        throttle.succeeded(&"a");
        assert_eq!(throttle.begin("a", at), Ok(()));
        assert_eq!(throttle.begin("a", at + LOG_INS.forget_after), Ok(()));
    }
}
