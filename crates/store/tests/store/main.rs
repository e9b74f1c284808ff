//! The store from outside: against the oracle on every kind of bucket, through crashes, races and lost answers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests; clippy knows only functions marked as such")]

mod caching;
mod collecting;
mod compacting;
mod conformance;
mod cuts;
mod damage;
mod debuginfo;
mod deleting;
mod faults;
mod flushing;
mod limits;
mod opening;
mod outage;
mod parts;
mod planning;
mod repairing;
mod steps;
mod support;
mod tools;
mod wal;
mod wal_files;
mod writers;
