//! Which events become samples of which profiles, and which of their fields are read.

/// The profiles that a recording may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    Execution,
    CpuTime,
    Wall,
    Native,
    AllocInNewTlab,
    AllocOutsideTlab,
    AllocSample,
    Live,
    Malloc,
    Mutex,
    Block,
}

/// What is said of a profile: its name, its sample types, its period type.
pub(super) struct ProfileSpec {
    pub(super) profile: Profile,
    pub(super) name: &'static str,
    pub(super) types: [(&'static str, &'static str); 2],
    pub(super) period: (&'static str, &'static str),
}

const fn spec(
    profile: Profile,
    name: &'static str,
    types: [(&'static str, &'static str); 2],
    period: (&'static str, &'static str),
) -> ProfileSpec {
    ProfileSpec { profile, name, types, period }
}

const CPU: (&str, &str) = ("cpu", "nanoseconds");
const SAMPLES: (&str, &str) = ("samples", "count");
const CONTENTIONS: [(&str, &str); 2] = [("contentions", "count"), ("delay", "nanoseconds")];
const SPACE: (&str, &str) = ("space", "bytes");

/// In the order of [`Profile`].
pub(super) static PROFILES: [ProfileSpec; 11] = [
    spec(Profile::Execution, "process_cpu", [SAMPLES, CPU], CPU),
    spec(Profile::CpuTime, "process_cpu", [SAMPLES, CPU], CPU),
    spec(Profile::Wall, "wall", [SAMPLES, ("wall", "nanoseconds")], ("wall", "nanoseconds")),
    spec(Profile::Native, "native", [SAMPLES, ("native", "nanoseconds")], ("native", "nanoseconds")),
    spec(
        Profile::AllocInNewTlab,
        "memory",
        [("alloc_in_new_tlab_objects", "count"), ("alloc_in_new_tlab_bytes", "bytes")],
        SPACE,
    ),
    spec(
        Profile::AllocOutsideTlab,
        "memory",
        [("alloc_outside_tlab_objects", "count"), ("alloc_outside_tlab_bytes", "bytes")],
        SPACE,
    ),
    spec(Profile::AllocSample, "memory", [("alloc_sample_objects", "count"), ("alloc_sample_bytes", "bytes")], SPACE),
    spec(Profile::Live, "memory", [("live", "count"), ("inuse_space", "bytes")], ("objects", "count")),
    spec(Profile::Malloc, "memory", [("malloc_objects", "count"), ("malloc_bytes", "bytes")], ("malloc", "bytes")),
    spec(Profile::Mutex, "mutex", CONTENTIONS, ("mutex", "count")),
    spec(Profile::Block, "block", CONTENTIONS, ("block", "count")),
];

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Setting,
    Execution,
    WallClock,
    CpuTime,
    Native,
    AllocInNewTlab,
    AllocOutsideTlab,
    AllocSample,
    Live,
    Malloc,
    MonitorEnter,
    Park,
    /// Datadog's samples have a weight: how many they stand for.
    WeightedExecution,
    WeightedWall,
}

impl Event {
    /// The event of the class `name`, if it is read.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "jdk.ActiveSetting" => Self::Setting,
            "jdk.ExecutionSample" => Self::Execution,
            "profiler.WallClockSample" => Self::WallClock,
            "jdk.CPUTimeSample" => Self::CpuTime,
            "jdk.NativeMethodSample" => Self::Native,
            "jdk.ObjectAllocationInNewTLAB" => Self::AllocInNewTlab,
            "jdk.ObjectAllocationOutsideTLAB" => Self::AllocOutsideTlab,
            "jdk.ObjectAllocationSample" => Self::AllocSample,
            "profiler.LiveObject" => Self::Live,
            "profiler.Malloc" => Self::Malloc,
            "jdk.JavaMonitorEnter" => Self::MonitorEnter,
            "jdk.ThreadPark" => Self::Park,
            "datadog.ExecutionSample" => Self::WeightedExecution,
            "datadog.MethodSample" => Self::WeightedWall,
            _ => return None,
        })
    }
}

/// The fields of events that are read, whatever an event calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    StartTime,
    Duration,
    Thread,
    State,
    StackTrace,
    /// The class of what was allocated, entered or waited for.
    Class,
    /// The bytes of an object; what an allocation stands for.
    Size,
    TlabSize,
    Weight,
    Samples,
    SamplingPeriod,
    ContextId,
    SpanId,
    SpanName,
    LocalRootSpanId,
    SettingOf,
    SettingName,
    SettingValue,
}

/// How many there are.
pub(super) const SLOTS: usize = Slot::SettingValue as usize + 1;

impl Slot {
    /// The slot of the field `name` of `event`.
    pub(super) fn named(event: Event, name: &str) -> Option<Self> {
        Some(match (name, event) {
            ("id", Event::Setting) => Self::SettingOf,
            ("name", Event::Setting) => Self::SettingName,
            ("value", Event::Setting) => Self::SettingValue,
            ("startTime", _) => Self::StartTime,
            ("duration", _) => Self::Duration,
            ("sampledThread" | "eventThread", _) => Self::Thread,
            ("state", _) => Self::State,
            ("stackTrace", _) => Self::StackTrace,
            ("objectClass" | "monitorClass" | "parkedClass", _) => Self::Class,
            ("allocationSize" | "size", _) => Self::Size,
            ("tlabSize", _) => Self::TlabSize,
            ("weight", _) => Self::Weight,
            ("samples", _) => Self::Samples,
            ("samplingPeriod", _) => Self::SamplingPeriod,
            ("contextId", _) => Self::ContextId,
            ("spanId", _) => Self::SpanId,
            ("spanName", _) => Self::SpanName,
            ("localRootSpanId", _) => Self::LocalRootSpanId,
            _ => return None,
        })
    }
}
