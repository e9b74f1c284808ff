//! A sampling profiler of this process: CPU time, about 100 times a second, on threads of its own.
//!
//! ```text
//! thread "self-profiler":  ╟─ sample ─╢ resolve ╟─ sample ─╢ resolve ╟─ …     a pprof after each window
//! ```
//!
//! Sampling is a signal on CPU time, so it interrupts any thread. Two rules keep that safe: no stack is walked while the
//! interrupted code is inside of libc, the unwinder or the vdso; and names are resolved only while sampling is off.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use flamestore_formats::{LabelText, ProfileBuilder, encode_pprof, gzip};
use flamestore_model::{Error, Function, Line, NONE, Result};
use pprof::{Frames, ProfilerGuardBuilder, Symbol, UnresolvedReport};

use crate::time::now;

/// Samples a second; no divisor of common timer rates, so that periodic work is not sampled always or never.
const FREQUENCY: i32 = 99;
/// CPU nanoseconds between two samples.
const PERIOD_NANO: i64 = 1_000_000_000 / FREQUENCY as i64;
/// Libraries whose code must not be interrupted by the unwinder.
const NOT_WALKED: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// A profile of this process.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// The profile as gzip-compressed pprof.
    pub(crate) pprof: Vec<u8>,
    /// Samples taken.
    pub(crate) samples: u64,
}

/// One window's samples, resolved: stack (leaf first; inlined frames innermost first), thread, count.
struct Sample {
    frames: Frames,
    count: i64,
}

/// Takes windows of `first`, then `every`, until `stop` says so or its other end is gone, or `deliver` refuses one.
///
/// # Errors
/// `Unavailable` when the profiler cannot be started.
pub(crate) fn run(
    first: Duration,
    every: Duration,
    stop: &Receiver<()>,
    mut deliver: impl FnMut(Window) -> bool,
) -> Result<()> {
    let mut length = first;
    loop {
        let start = now();
        let (report, stopped) = sample(length, stop)?;
        let window = window(report, start, now())?;
        if !deliver(window) || stopped {
            return Ok(());
        }
        length = every;
    }
}

/// Samples for `length` or until told to stop; says whether it was.
fn sample(length: Duration, stop: &Receiver<()>) -> Result<(UnresolvedReport, bool)> {
    let failed =
        |e: pprof::Error| Error::unavailable("the profiler of this process cannot be started").because(e.to_string());
    let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&NOT_WALKED).build().map_err(failed)?;
    let stopped = !matches!(stop.recv_timeout(length), Err(RecvTimeoutError::Timeout));
    let report = guard.report().build_unresolved().map_err(failed)?;
    drop(guard);
    Ok((report, stopped))
}

fn window(report: UnresolvedReport, start: i64, end: i64) -> Result<Window> {
    let resolve =
        |(frames, count)| Sample { frames: Frames::from(frames), count: i64::try_from(count).unwrap_or(i64::MAX) };
    let samples: Vec<Sample> = report.data.into_iter().map(resolve).collect();
    let taken = samples.iter().map(|sample| u64::try_from(sample.count).unwrap_or(0)).sum();
    Ok(Window { pprof: pprof(&samples, start, end - start)?, samples: taken })
}

fn pprof(samples: &[Sample], start: i64, duration: i64) -> Result<Vec<u8>> {
    let mut builder = ProfileBuilder::new();
    builder.sample_type("samples", "count").sample_type("cpu", "nanoseconds");
    builder.period("cpu", "nanoseconds", PERIOD_NANO).time(start, duration);
    for Sample { frames, count } in samples {
        let walked = frames.frames.iter().skip_while(|symbols| symbols.iter().any(is_profiler));
        let stack: Vec<u32> = walked.map(|symbols| location(&mut builder, symbols)).collect();
        let thread = builder.label("thread", LabelText::Str(&thread_name(frames)));
        builder.add_row(&stack, &[*count, count.saturating_mul(PERIOD_NANO)], &[thread]);
    }
    gzip(&encode_pprof(&builder.finish()?))
}

/// Whether a frame is the profiler's own: those lie on top of every stack, below them the code that was interrupted.
fn is_profiler(symbol: &Symbol) -> bool {
    let name = symbol.name();
    ["backtrace::", "<backtrace::", "pprof::", "<pprof::", "perf_signal_handler"]
        .iter()
        .any(|own| name.starts_with(own))
}

/// The location of one frame and what was inlined into it, innermost first.
fn location(builder: &mut ProfileBuilder, symbols: &[Symbol]) -> u32 {
    let mut lines = Vec::with_capacity(symbols.len());
    for symbol in symbols {
        let filename = symbol.filename.as_ref().map(|file| file.to_string_lossy());
        let function = Function {
            name: builder.string(symbol.name()),
            system_name: builder.string(symbol.sys_name().as_ref()),
            filename: builder.string(filename.as_deref().unwrap_or_default()),
            start_line: 0,
        };
        let function = builder.function(function);
        lines.push(Line { function, line: i64::from(symbol.lineno()), column: 0 });
    }
    builder.location(NONE, 0, false, &lines)
}

/// The name of a pool's thread without its number, so that equal threads make equal labels.
fn thread_name(frames: &Frames) -> String {
    let name = frames.thread_name_or_id();
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use flamestore_formats::{Limits, decode_pprof};

    use super::*;

    fn busy(until: &std::sync::atomic::AtomicBool) -> u64 {
        let mut sum = 0u64;
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            for i in 0..10_000u64 {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(i));
            }
        }
        sum
    }

    #[test]
    fn a_busy_thread_is_found_in_the_profile_of_this_process() {
        let (stop, stopped) = mpsc::channel();
        let done = std::sync::atomic::AtomicBool::new(false);
        let mut windows = Vec::new();
        std::thread::scope(|scope| {
            std::thread::Builder::new().name("busy".to_owned()).spawn_scoped(scope, || busy(&done)).unwrap();
            let short = Duration::from_millis(400);
            run(short, short, &stopped, |window| {
                windows.push(window);
                windows.len() < 2
            })
            .unwrap();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        drop(stop);
        assert!(windows.iter().any(|window| window.samples > 0));
        let batch = decode_pprof(windows.swap_remove(0).pprof.into(), &Limits::default()).unwrap();
        assert_eq!(batch.header.sample_types.len(), 2);
        assert_eq!(batch.header.period, PERIOD_NANO);
        for stack in flamestore_testkit::folded(&batch, 0).keys() {
            assert!(!stack.contains("trace_unsynchronized") && !stack.contains("pprof::backtrace"), "{stack}");
        }
    }
}
