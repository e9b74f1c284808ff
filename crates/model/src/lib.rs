//! Domain values of a profile store: labels, selectors, profile types, time ranges, ids, decoded profiles and the error
//! type. No I/O, no Arrow, no clock: every value here can be built, compared and printed anywhere.

mod error;
mod ids;
mod labels;
mod place;
mod profile;
mod profile_type;
mod selector;
mod time;
mod typed_time;

pub use error::{Error, ErrorKind, Result};
pub use ids::{ProfileId, SegmentId, Tenant, UploadId};
pub use labels::{Labels, LabelsBuilder, names};
pub use place::place_name;
pub use profile::{
    Function, Label, LabelValue, Line, Location, Mapping, NONE, ProfileBatch, ProfileHeader, Samples, Strings, Symbols,
    ValueType,
};
pub use profile_type::{ProfileType, Temporality};
pub use selector::{MatchOp, Matcher, Selector};
pub use time::TimeRange;
pub use typed_time::Time;
