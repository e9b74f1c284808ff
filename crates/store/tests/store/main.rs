//! The store from outside: against the oracle on every kind of bucket, through crashes, races and lost answers.

mod conformance;
mod damage;
mod faults;
mod flushing;
mod limits;
mod opening;
mod support;
mod writers;
