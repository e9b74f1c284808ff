//! The JSON names of a request's fields, and the protobuf numbers they stand for: those of layout 1.10, with the names that
//! 1.8 and 1.9 gave some of them.

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Str,
    /// Bytes in base64.
    Base64,
    /// Bytes in hexadecimal digits: the ids of traces and spans alone.
    Hex,
    Bool,
    /// A number that becomes a varint, as a number or a string.
    Int,
    /// A number that becomes eight bytes, as a number or a string.
    Fixed64,
    Double,
    Message(&'static [Field]),
}

/// A field of a message.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) number: u64,
    pub(super) kind: Kind,
}

const fn field(name: &'static str, number: u64, kind: Kind) -> Field {
    Field { name, number, kind }
}

use Kind::{Base64, Bool, Double, Fixed64, Hex, Int, Message, Str};

/// `ExportProfilesServiceRequest`, which is `ProfilesData`.
pub(super) static REQUEST: &[Field] =
    &[field("resourceProfiles", 1, Message(RESOURCE_PROFILES)), field("dictionary", 2, Message(DICTIONARY))];

static DICTIONARY: &[Field] = &[
    field("mappingTable", 1, Message(MAPPING)),
    field("locationTable", 2, Message(LOCATION)),
    field("functionTable", 3, Message(FUNCTION)),
    field("linkTable", 4, Message(&[field("traceId", 1, Hex), field("spanId", 2, Hex)])),
    field("stringTable", 5, Str),
    field("attributeTable", 6, Message(ATTRIBUTE)),
    field("stackTable", 7, Message(&[field("locationIndices", 1, Int)])),
];

static MAPPING: &[Field] = &[
    field("memoryStart", 1, Int),
    field("memoryLimit", 2, Int),
    field("fileOffset", 3, Int),
    field("filenameStrindex", 4, Int),
    field("attributeIndices", 5, Int),
];

static LOCATION: &[Field] = &[
    field("mappingIndex", 1, Int),
    field("address", 2, Int),
    field("lines", 3, Message(LINE)),
    field("line", 3, Message(LINE)),
    field("attributeIndices", 4, Int),
];

static LINE: &[Field] = &[field("functionIndex", 1, Int), field("line", 2, Int), field("column", 3, Int)];

static FUNCTION: &[Field] = &[
    field("nameStrindex", 1, Int),
    field("systemNameStrindex", 2, Int),
    field("filenameStrindex", 3, Int),
    field("startLine", 4, Int),
];

static ATTRIBUTE: &[Field] =
    &[field("keyStrindex", 1, Int), field("value", 2, Message(&ANY_VALUE)), field("unitStrindex", 3, Int)];

static ANY_VALUE: [Field; 8] = [
    field("stringValue", 1, Str),
    field("boolValue", 2, Bool),
    field("intValue", 3, Int),
    field("doubleValue", 4, Double),
    field("arrayValue", 5, Message(&[field("values", 1, Message(&ANY_VALUE))])),
    field("kvlistValue", 6, Message(&[field("values", 1, Message(&KEY_VALUE))])),
    field("bytesValue", 7, Base64),
    field("stringValueStrindex", 8, Int),
];

static KEY_VALUE: [Field; 3] =
    [field("key", 1, Str), field("value", 2, Message(&ANY_VALUE)), field("keyStrindex", 3, Int)];

static RESOURCE_PROFILES: &[Field] = &[
    field("resource", 1, Message(&[field("attributes", 1, Message(&KEY_VALUE))])),
    field("scopeProfiles", 2, Message(SCOPE_PROFILES)),
];

static SCOPE_PROFILES: &[Field] = &[field("scope", 1, Message(SCOPE)), field("profiles", 2, Message(PROFILE))];

static SCOPE: &[Field] =
    &[field("name", 1, Str), field("version", 2, Str), field("attributes", 3, Message(&KEY_VALUE))];

static PROFILE: &[Field] = &[
    field("sampleType", 1, Message(VALUE_TYPE)),
    field("samples", 2, Message(SAMPLE)),
    field("sample", 2, Message(SAMPLE)),
    field("timeUnixNano", 3, Fixed64),
    field("durationNano", 4, Int),
    field("periodType", 5, Message(VALUE_TYPE)),
    field("period", 6, Int),
    field("profileId", 7, Base64),
    field("attributeIndices", 11, Int),
];

static VALUE_TYPE: &[Field] = &[field("typeStrindex", 1, Int), field("unitStrindex", 2, Int)];

static SAMPLE: &[Field] = &[
    field("stackIndex", 1, Int),
    field("attributeIndices", 2, Int),
    field("linkIndex", 3, Int),
    field("values", 4, Int),
    field("timestampsUnixNano", 5, Fixed64),
];
