//! S3 for tests: a server over HTTP inside the test's process, or one that the environment names ([`S3Place`]).
//!
//! ```text
//! client ── HTTP on 127.0.0.1 ──▶ faults ──▶ one lock ──▶ s3s (signatures, XML) ──▶ s3s-fs ──▶ a temporary folder
//! ```
//!
//! Always: one request runs at a time, its body read before it starts; so a conditional PUT is atomic, which s3s-fs alone
//! (it checks, then writes) is not. The server stops and its folder disappears when [`S3Server`] is dropped.

mod faults;
mod place;
mod server;

pub use faults::{Fault, FaultRule, Faults};
pub use place::{S3Access, S3Place};
pub use server::S3Server;
