//! What tests and benches share: oracle store, fleet generator, fixture builders, and an S3 server with faults.

#[cfg(feature = "s3")]
mod s3;

#[cfg(feature = "s3")]
pub use s3::{Fault, FaultRule, Faults, S3Server};
