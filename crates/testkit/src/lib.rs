//! What tests and benches share: profiles from text, random profiles, the oracle store, the fleet generator, an object store
//! in memory with faults (feature `objects`), an S3 server with faults (feature `s3`), and a TCP line that can be cut.

mod arbitrary;
mod fixture;
mod fleet;
#[cfg(feature = "objects")]
mod objects;
mod oracle;
#[cfg(feature = "s3")]
mod s3;
mod wire;

pub use arbitrary::{ArbitraryShape, arbitrary_profile, arbitrary_profile_of};
pub use fixture::{Fixture, profile};
pub use fleet::{Fleet, FleetMode, FleetOptions, FleetRun, FleetService, FleetStats, Scrape, pack_pprof, write_pprof};
#[cfg(feature = "objects")]
pub use objects::{Counts, Fate, FaultyObjects, ObjectRequest, RequestKind, Strikes, Traffic, Weather};
pub use oracle::{Oracle, OracleProfile, OracleSample, OracleTop, folded, profile_types};
#[cfg(feature = "s3")]
pub use s3::{Fault, FaultRule, Faults, S3Access, S3Place, S3Server};
pub use wire::Wire;
