//! Slows down those who guess. Never locks anybody out for ever: whoever waits may try again.
//! Read `directory.rs` for what a guess would open.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How fast guesses get slower, and how soon they are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Failures that cost nothing yet: many people may stand behind one key.
    pub free: u32,
    /// Behind the first failure after those; doubled by each one after it.
    pub first: Duration,
    pub max: Duration,
    /// Without a failure for so long, one starts anew.
    pub forget_after: Duration,
}

/// Of secrets that nobody guesses at this pace, so that a mistake costs little.
pub const LOG_INS: Pace = Pace {
    free: 0,
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
    forget_after: Duration::from_secs(60),
};

/// Leading bits of an IPv6 address that one subscriber has at least: the others are theirs to choose.
const NETWORK_BITS: u32 = 64;

/// Whose an address is, as far as it tells: of IPv6 the network, for anybody has 2^64 addresses in their own.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

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
        self.is_open(&failures, &key, now)?;
        self.note(&mut failures, key, now);
        Ok(())
    }

    /// Whether the next attempt would be taken now; counts nothing.
    pub fn look(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_open(&failures, key, now)
    }

    fn is_open(&self, failures: &HashMap<K, (u32, Instant)>, key: &K, now: Instant) -> Result<(), Duration> {
        let Some((count, last)) = failures.get(key) else {
            return Ok(());
        };
        let since = now.saturating_duration_since(*last);
        let open = count
            .checked_sub(1)
            .map_or(Duration::ZERO, |before| self.delay(before));
        if since < self.pace.forget_after && since < open {
            return Err(open - since);
        }
        Ok(())
    }

    pub fn succeeded(&self, key: &K) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }

    /// Takes one attempt back, and no other: what somebody may do is no excuse for what others behind the key have tried.
    pub fn forgive_one(&self, key: &K) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, _)) = failures.get_mut(key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                failures.remove(key);
            }
        }
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

    /// Behind a failure, of how many that came before it.
    fn delay(&self, before: u32) -> Duration {
        match before.checked_sub(self.pace.free) {
            None => Duration::ZERO,
            Some(counted) => self
                .pace
                .first
                .saturating_mul(1 << counted.min(16))
                .min(self.pace.max),
        }
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
    fn some_failures_are_free_and_one_success_takes_back_one_attempt() {
        let throttle = Throttle::new(Pace { free: 3, ..LOG_INS });
        let now = Instant::now();
        for _ in 0..4 {
            assert_eq!(throttle.begin("a", now), Ok(()));
        }
        assert_eq!(throttle.begin("a", now), Err(LOG_INS.first));
        throttle.forgive_one(&"a");
        assert_eq!(throttle.begin("a", now), Ok(()));
        assert_eq!(throttle.begin("a", now), Err(LOG_INS.first));
    }

    #[test]
    fn an_address_of_ipv6_stands_for_its_network() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:3::1"), of("2001:db8:1:2::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.8"), of("192.0.2.7"));
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
