//! What the benchmarks share: a CPU clock, fair turns, a way to print figures, and the data they run on.
//!
//! A benchmark asks one question and answers it with a ratio to a floor (the least any implementation must do) or to a peer
//! (the usual way to do it), both measured in the same run, turn by turn, in CPU time, so that a busy machine disturbs
//! neither more than the other. Sizes come from the environment; the defaults are small, for a smoke run:
//!
//! | variable | default | published figures |
//! |---|---|---|
//! | `FLAMESTORE_BENCH_SERVICES` | 8 | 200 |
//! | `FLAMESTORE_BENCH_SCRAPES` | 16 | 240 (an hour) |
//! | `FLAMESTORE_BENCH_ROUNDS` | 5 | 5 |
//! | `FLAMESTORE_CORPUS` | – (synthetic stacks) | the folder of real profiles |

/// The allocator of the `flamestore` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod clock;
mod observing;
mod report;
mod rows;
#[cfg(feature = "segment")]
mod segment;

pub use clock::{Turns, process_cpu, thread_cpu};
pub use observing::observing;
pub use report::{Goal, Report};
pub use rows::{ServiceRows, fleet, fleet_of, rounds, size};
#[cfg(feature = "segment")]
pub use segment::{FleetSegment, observations_segment};
