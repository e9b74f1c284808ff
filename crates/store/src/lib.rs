//! The store: object store, manifest, head and flush.
//!
//! ```text
//! push ──▶ log ──▶ head (open) ──freeze──▶ head (frozen) ──seal──▶ tables ──upload──▶ bucket ──commit──▶ manifest version
//!             │                        │                                                            │
//!             └────────────────────────┴──────────── snapshot: each profile once ───────────────────┘
//! ```
//!
//! Holds always: an object is created once and never changed; what a manifest names was uploaded before; a profile is in
//! an open head, in a frozen one or in a segment, and moves from one to the next in one step that no snapshot can see
//! half of. No lock is held across an await. Wall time and randomness are arguments ([`StoreOptions`]).
//!
//! A push is durable before it is acknowledged, if the [`WalOptions`] say so: its record is in the write-ahead log until the
//! manifest holds its segment.

mod bucket;
mod cache;
mod clock;
mod collect;
mod commit;
mod compact;
mod debuginfo;
mod flush;
mod gate;
mod head;
mod ids;
mod key;
mod manifest;
mod metric;
mod options;
mod probe;
mod push;
mod retain;
mod roll_up;
mod snapshot;
mod source;
mod state;
mod store;
mod tools;
mod upload;
mod url;
mod view;
mod wal;

pub use bucket::{Bucket, ObjectEntry};
pub use cache::CacheOptions;
pub use clock::{Clock, Entropy, ManualClock, SystemClock};
pub use collect::{CollectReport, CollectorPolicy, Mode};
pub use compact::{
    Busy, CompactionPlan, CompactionPolicy, Compactor, CompactorOptions, DeleteReport, Deletion, LEVEL_MAX,
    RewriteReport, Scope, plan, plan_all,
};
pub use debuginfo::{
    Begun, BuildName, Debuginfo, DebuginfoClaim, DebuginfoKey, DebuginfoKind, DebuginfoState, DebuginfoUpload, Ended,
    Opened, UPLOAD_TIME_MAX,
};
pub use flush::FlushReport;
pub use key::{Day, DebuginfoPart, ObjectKey};
pub use manifest::{
    DayCover, EarlierWal, MANIFEST_FORMAT, Manifest, SegmentEntry, SegmentSource, TableEntry, WriterState,
};
pub use metric::names as metric_names;
pub use options::{Access, Background, SeriesMax, StoreOptions};
pub use push::{PushProfile, retry_id};
pub use retain::{Keep, RetentionOverride, RetentionPolicy, RetentionTimes};
pub use roll_up::{RollUpPlan, RollUpPolicy, RollUpReport, RolledUp, StandIns, plan_roll_ups, plan_years};
pub use snapshot::{DamagedSegment, Snapshot, StoredSegment};
pub use store::{HeadStatus, Store};
pub use tools::{
    CheckReport, Depth, ExportFormat, ExportOptions, ExportReport, Found, Listing, Problem, Progress, RepairOptions,
    RepairReport, Usage, UsageCell, Verdict, check, check_at, export, ls, repair, usage,
};
pub use url::{BucketOptions, StoreUrl};
pub use view::{HeadSamples, HeadSelection, HeadView};
pub use wal::{Durability, OsFiles, ProfileFormat, WalFile, WalFiles, WalOptions};
