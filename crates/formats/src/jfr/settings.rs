//! How often the recording sampled: what `jdk.ActiveSetting` says, of the profiler as a whole or of one class of events.

use hashbrown::HashMap;

/// What lies between two samples where neither the recording nor the caller says it: async-profiler's own default.
const PERIOD_NANOS: i64 = 10_000_000;
/// Settings of one chunk.
const SETTINGS_MAX: usize = 4096;

/// The clocks that a sample was taken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clocks {
    pub(super) cpu: bool,
    pub(super) wall: bool,
}

/// What a thread did when a sample of it was taken, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadState {
    Sleeping,
    Runnable,
    /// The profiler did not look.
    Default,
    Other,
}

impl ThreadState {
    pub(super) fn named(name: &[u8]) -> Self {
        match name {
            b"STATE_SLEEPING" => Self::Sleeping,
            b"STATE_RUNNABLE" => Self::Runnable,
            b"STATE_DEFAULT" => Self::Default,
            _ => Self::Other,
        }
    }
}

/// The settings of a chunk that matter to its samples.
#[derive(Default)]
pub(super) struct Settings {
    /// What the caller knows.
    given_period_nanos: Option<i64>,
    /// Whether samples of the clock on the wall are events of their own.
    has_wall_clock: bool,
    engine: Vec<u8>,
    interval: Option<i64>,
    wall: Option<i64>,
    /// The periods of classes of events, by id.
    periods: HashMap<i64, i64>,
}

impl Settings {
    /// The settings where the recording says nothing.
    pub(super) fn new(given_period_nanos: Option<i64>, has_wall_clock: bool) -> Self {
        Self { given_period_nanos, has_wall_clock, ..Self::default() }
    }

    /// Takes a setting of the class of events `of`.
    pub(super) fn take(&mut self, of: i64, name: &[u8], value: &[u8]) {
        match name {
            b"event" => self.engine = value[..value.len().min(64)].to_vec(),
            b"interval" => self.interval = nanos_of(value).or(self.interval),
            b"wall" => self.wall = nanos_of(value).or(self.wall),
            b"period" if self.periods.len() < SETTINGS_MAX => {
                if let Some(period) = nanos_of(value) {
                    self.periods.insert(of, period);
                }
            }
            _ => {}
        }
    }

    /// Whether the samples of execution are taken by the clock on the wall.
    pub(super) fn is_wall(&self) -> bool {
        self.engine == b"wall"
    }

    /// Which clocks a sample of execution in `state` was taken by.
    ///
    /// The clock on the wall samples threads that sleep as well, so those never ran. A profiler that ran by both clocks
    /// and has no event for the second one leaves the state open where the first one's timer struck.
    pub(super) fn clocks(&self, state: ThreadState) -> Clocks {
        let sleeps = state == ThreadState::Sleeping;
        if self.is_wall() {
            return Clocks { cpu: !sleeps, wall: true };
        }
        let by_both = self.wall.is_some() && !self.has_wall_clock;
        let wall = sleeps || (by_both && state != ThreadState::Default);
        Clocks { cpu: !wall, wall }
    }

    /// What lies between two samples of the class of events `of`.
    pub(super) fn period_nanos(&self, of: i64) -> i64 {
        let known = self.periods.get(&of).copied().or(self.interval).or(self.given_period_nanos);
        known.unwrap_or(PERIOD_NANOS)
    }

    /// What lies between two samples of the clock on the wall.
    pub(super) fn wall_nanos(&self) -> i64 {
        let interval = self.interval.filter(|_| self.is_wall());
        self.wall.or(interval).or(self.given_period_nanos).unwrap_or(PERIOD_NANOS)
    }
}

/// A span of time such as `10000000` (nanoseconds), `10 ms` or `20us`, if it is one of more than nothing.
fn nanos_of(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor).filter(|nanos| *nanos > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_with_and_without_a_unit() {
        let cases = [
            ("10000000", Some(10_000_000)),
            ("10 ms", Some(10_000_000)),
            ("20us", Some(20_000)),
            ("1 s", Some(1_000_000_000)),
        ];
        for (text, expected) in cases
            .into_iter()
            .chain(["", "0", "-1", "everyChunk", "9223372036854775807 s", "5 h"].map(|text| (text, None)))
        {
            assert_eq!(nanos_of(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn sleeping_threads_did_not_run() {
        let check = |settings: &Settings, state: &str, cpu: bool, wall: bool| {
            assert_eq!(settings.clocks(ThreadState::named(state.as_bytes())), Clocks { cpu, wall }, "{state}");
        };
        let mut settings = Settings::new(None, false);
        check(&settings, "STATE_RUNNABLE", true, false);
        check(&settings, "STATE_SLEEPING", false, true);
        settings.take(0, b"wall", b"200000000");
        check(&settings, "STATE_RUNNABLE", false, true);
        check(&settings, "STATE_DEFAULT", true, false);
        settings.has_wall_clock = true;
        check(&settings, "STATE_RUNNABLE", true, false);
        settings.take(0, b"event", b"wall");
        check(&settings, "STATE_RUNNABLE", true, true);
        check(&settings, "STATE_SLEEPING", false, true);
    }

    #[test]
    fn the_recording_knows_its_period_better_than_the_caller() {
        let mut settings = Settings::new(Some(7), false);
        assert_eq!((settings.period_nanos(1), settings.wall_nanos()), (7, 7));
        settings.take(0, b"interval", b"5000");
        settings.take(0, b"event", b"cpu");
        assert_eq!((settings.period_nanos(1), settings.wall_nanos()), (5000, 7));
        settings.take(0, b"event", b"wall");
        assert_eq!((settings.is_wall(), settings.wall_nanos()), (true, 5000));
        settings.take(1, b"period", b"20 ms");
        settings.take(0, b"wall", b"200000000");
        assert_eq!((settings.period_nanos(1), settings.period_nanos(2)), (20_000_000, 5000));
        assert_eq!(settings.wall_nanos(), 200_000_000);
        assert_eq!(Settings::default().period_nanos(1), PERIOD_NANOS);
    }
}
