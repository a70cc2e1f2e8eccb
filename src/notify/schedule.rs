//! When a delivery that failed is tried again. Never sends. Read `outbox.rs` next.

use std::time::Duration;

use rand::RngExt as _;

/// From one try to the next: over three days in all. Source: Standard Webhooks, "Deliverability and reliability".
pub const PAUSES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// A receiver that asks for more patience than this is taken at less.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// A pause is up to this share longer, in percent, so that endpoints that failed together do not come back together.
const JITTER_PERCENT: u64 = 20;

/// After so many tries that failed; `None`: it is given up. `asked`: what the receiver asked for.
pub fn next_pause(failed: u32, asked: Option<Duration>) -> Option<Duration> {
    let place = usize::try_from(failed).unwrap_or(usize::MAX).checked_sub(1)?;
    let pause = PAUSES.get(place)?;
    let percent = 100 + rand::rng().random_range(0..=JITTER_PERCENT);
    let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX) * percent / 100;
    let asked = asked.unwrap_or_default().min(RETRY_AFTER_MAX);
    Some(Duration::from_millis(millis).max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_go_on_for_days_and_then_end() {
        let mut whole = Duration::ZERO;
        for failed in 1..=9 {
            let pause = next_pause(failed, None).expect("another try");
            let shortest = PAUSES[usize::try_from(failed).expect("small") - 1];
            assert!(
                pause >= shortest && pause <= shortest * 6 / 5,
                "{failed}: {pause:?}"
            );
            whole += pause;
        }
        assert!(whole > Duration::from_secs(3 * 86_400), "{whole:?}");
        assert_eq!(next_pause(10, None), None);
        let asked = next_pause(1, Some(Duration::from_secs(900)));
        assert_eq!(asked, Some(Duration::from_secs(900)));
        let asked = next_pause(1, Some(Duration::from_secs(900_000)));
        assert_eq!(asked, Some(RETRY_AFTER_MAX));
    }
}
