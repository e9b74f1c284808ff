//! Wall time and randomness, as arguments: the only place of the crate that asks the system for either.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// A source of wall time.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since 1970.
    fn now_unix_nano(&self) -> i64;

    /// Returns once `time` has passed on this clock.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_unix_nano(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(time).boxed()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<i64>,
}

impl ManualClock {
    /// A clock that shows `unix_nano`.
    pub fn new(unix_nano: i64) -> Self {
        Self { now: watch::Sender::new(unix_nano) }
    }

    /// Moves the clock forward by `time` and wakes those whose sleep is over.
    pub fn advance(&self, time: Duration) {
        let nanos = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.now.send_modify(|now| *now = now.saturating_add(nanos));
    }
}

impl Clock for ManualClock {
    fn now_unix_nano(&self) -> i64 {
        *self.now.borrow()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        let nanos = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let until = self.now_unix_nano().saturating_add(nanos);
        async move {
            if now.wait_for(|now| *now >= until).await.is_err() {
                futures::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

/// A seeded source of random bits for ids, nonces and jitter. Not for secrets.
#[derive(Debug)]
pub struct Entropy {
    seed: u128,
    drawn: Mutex<u64>,
}

impl Entropy {
    /// The sequence of `seed`: equal seeds give equal sequences.
    pub fn from_seed(seed: u128) -> Self {
        Self { seed, drawn: Mutex::new(0) }
    }

    /// A sequence that no other process draws.
    pub fn from_system() -> Self {
        let half = || u128::from(RandomState::new().hash_one(SystemClock.now_unix_nano()));
        Self::from_seed((half() << 64) ^ half() ^ (u128::from(std::process::id()) << 32))
    }

    /// The next 128 bits.
    pub fn next_u128(&self) -> u128 {
        let at = {
            let mut drawn = self.drawn.lock();
            *drawn += 1;
            *drawn
        };
        xxh3_128_with_seed(&self.seed.to_le_bytes(), at)
    }

    /// A random duration below `limit`.
    pub(crate) fn jitter(&self, limit: Duration) -> Duration {
        let millis = limit.as_millis().max(1);
        Duration::from_millis(u64::try_from(self.next_u128() % millis).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_sequences_of_distinct_numbers() {
        let (a, b) = (Entropy::from_seed(7), Entropy::from_seed(7));
        let drawn: Vec<u128> = (0..100).map(|_| a.next_u128()).collect();
        assert_eq!(drawn, (0..100).map(|_| b.next_u128()).collect::<Vec<_>>());
        assert_eq!(drawn.iter().collect::<std::collections::HashSet<_>>().len(), 100);
        assert_ne!(Entropy::from_system().next_u128(), Entropy::from_system().next_u128());
    }

    #[tokio::test]
    async fn a_sleep_ends_when_the_clock_has_moved() {
        let clock = ManualClock::new(0);
        let mut sleep = clock.sleep(Duration::from_secs(2));
        clock.advance(Duration::from_secs(1));
        assert!((&mut sleep).now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        sleep.await;
        assert_eq!(clock.now_unix_nano(), 2_000_000_000);
    }
}
