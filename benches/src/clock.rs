//! CPU time, and turns.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// CPU time of all threads of the process.
pub fn process_cpu() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Times of several ways to do one thing, which take turns.
#[derive(Debug, Default)]
pub struct Turns {
    ways: Vec<Vec<Duration>>,
}

impl Turns {
    /// Runs way number `way` once and keeps its thread CPU time.
    pub fn run<T>(&mut self, way: usize, work: impl FnOnce() -> T) -> T {
        self.timed(way, thread_cpu, work)
    }

    /// Runs way number `way` once and keeps the CPU time of the whole process.
    pub fn run_threads<T>(&mut self, way: usize, work: impl FnOnce() -> T) -> T {
        self.timed(way, process_cpu, work)
    }

    /// The median time of a way, in seconds.
    pub fn median(&self, way: usize) -> f64 {
        let mut times = self.ways.get(way).cloned().unwrap_or_default();
        times.sort();
        times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
    }

    fn timed<T>(&mut self, way: usize, clock: impl Fn() -> Duration, work: impl FnOnce() -> T) -> T {
        let start = clock();
        let value = std::hint::black_box(work());
        let spent = clock() - start;
        if self.ways.len() <= way {
            self.ways.resize(way + 1, Vec::new());
        }
        self.ways[way].push(spent);
        value
    }
}
