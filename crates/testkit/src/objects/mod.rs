//! An object store in memory that has bad days, as told.
//!
//! ```text
//! client ──▶ arrive: wait, then a fate ──▶ memory ──▶ answer: wait ──▶ client
//!            (weather)   refused, throttled: ✗         (weather)   lost, told twice, cut short
//! ```
//!
//! What goes wrong is decided by a [`Weather`]: rules of a test ([`Strikes`]), or the seed of a simulation. Holds always:
//! a request is carried out in one step, whole or not at all, and goes on when the client that made it is gone, as a
//! request on the wire does. Times of objects are the weather's, not the machine's. Requests and bytes are counted by kind.

mod counts;
mod faulty;
mod strikes;
mod weather;

pub use counts::{Counts, Traffic};
pub use faulty::FaultyObjects;
pub use strikes::Strikes;
pub use weather::{Fate, ObjectRequest, RequestKind, Weather};
