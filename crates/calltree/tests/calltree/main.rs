//! Tests of the crate through its public face.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests; the helpers of tests are not seen as such")]

mod damage;
mod examples;
mod fixture;
mod interning;
mod observing;
mod properties;
