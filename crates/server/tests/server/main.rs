//! A real server on a free port, asked by real clients.

mod bad_input;
mod harness;
mod lifecycle;
mod protocol;
mod queries;
