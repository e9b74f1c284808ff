//! OpenTelemetry profiles (OTLP): a request of many profiles that share one dictionary, decoded profile by profile.
//!
//! ```text
//! ExportProfilesServiceRequest
//! ├─ dictionary         strings, functions, locations, mappings, stacks, attributes, links
//! └─ resource*          attributes
//!    └─ scope*          name, version, attributes
//!       └─ profile*     one sample type; samples: stack, attributes, link, values and/or timestamps
//! ```
//!
//! [`decode_otlp`] finds the layout and decodes the dictionary: what is wrong there is wrong with the whole request.
//! [`OtlpRequest::profiles`] then decodes one profile at a time, each with the rows of the dictionary that it refers to; what
//! is wrong with one leaves the others whole. JSON is rewritten as protobuf first.
//!
//! Each observation of a sample becomes a row of its own. Attributes, links and times become labels of the row: see
//! [`TIMESTAMP`], [`TRACE_ID`], [`SPAN_ID`].
//!
//! A few bytes may refer to much: a stack, a list of attributes, a location of many lines. So the limits count what the
//! profiles of a request refer to together, and the profile that goes over one fails, as do those after it that need more.

mod any_value;
mod clocks;
mod dictionary;
mod json;
mod json_fields;
mod labels;
mod layout;
mod profiles;
mod request;
mod sample;

pub use layout::OtlpLayout;
pub use profiles::{OtlpProfile, OtlpProfiles};
pub use request::{OtlpRequest, decode_otlp, decode_otlp_file, decode_otlp_json};

/// The label of a row that holds when it was observed: nanoseconds since 1970.
pub const TIMESTAMP: &str = "timestamp_ns";
/// The label of a row that holds the trace it belongs to: 32 hexadecimal digits.
pub const TRACE_ID: &str = "trace_id";
/// The label of a row that holds the span it belongs to: 16 hexadecimal digits.
pub const SPAN_ID: &str = "span_id";

/// The bytes as lowercase hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
