//! The `flamestore` command: runs a server, and talks to one.
//!
//! ```text
//! args ─▶ serve, demo                    a server in this process; the demo profiles itself
//!      ─▶ push, replay                   files to a server
//!      ─▶ merge, diff, top, types, …     questions to a server; answers to standard output or a file
//!      ─▶ sql                            a server or a bucket; a prompt on a terminal
//!      ─▶ store check, du, compact, …    a bucket, without a server
//! ```
//!
//! Answers go to standard output, everything else to standard error. The exit code is 0, 1 for a failure, 2 for wrong usage.

mod allocator;
mod args;
mod client;
mod compare;
mod config;
mod demo;
mod failure;
mod flame;
mod list;
mod merge;
mod near;
mod output;
mod push;
mod replay;
mod scrape;
mod select;
mod serve;
mod sql;
mod store;
mod tend;
mod time;
mod upkeep;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

/// Gives freed memory back and takes it again without the kernel clearing each page anew. Built without huge pages: with
/// them a process holds up to twice what its limits count.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    allocator::configure();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_told() {
                output::note(&failure.to_string());
            }
            ExitCode::FAILURE
        }
    }
}
