//! Generated code of the APIs in `proto/`, and nothing else.

/// The API of Flamestore.
#[expect(missing_docs, clippy::all, reason = "generated from proto/flamestore/v1, where every message is described")]
pub mod v1 {
    tonic::include_proto!("flamestore.v1");
}

/// What Pyroscope's clients ask a server about itself.
pub mod capabilities {
    /// Version 1.
    #[expect(missing_docs, reason = "generated from proto/capabilities/v1, where every message is described")]
    pub mod v1 {
        tonic::include_proto!("capabilities.v1");
    }
}

/// What OpenTelemetry's exporters send beside profiles.
pub mod otlp {
    /// Logs.
    #[expect(missing_docs, reason = "generated from proto/opentelemetry, where every message is described")]
    pub mod logs {
        tonic::include_proto!("opentelemetry.proto.collector.logs.v1");
    }

    /// Traces.
    #[expect(missing_docs, reason = "generated from proto/opentelemetry, where every message is described")]
    pub mod trace {
        tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
    }
}

/// How Parca's agents write, and its pages and tools read.
pub mod parca {
    /// Debug information of builds.
    #[expect(missing_docs, reason = "generated from proto/parca/debuginfo, where every message is described")]
    pub mod debuginfo {
        tonic::include_proto!("parca.debuginfo.v1alpha1");
    }

    /// Symbols.
    pub mod metastore {
        /// Version 1alpha1.
        #[expect(missing_docs, reason = "generated from proto/parca/metastore, where every message is described")]
        pub mod v1alpha1 {
            tonic::include_proto!("parca.metastore.v1alpha1");
        }
    }

    /// Profiles.
    #[expect(missing_docs, reason = "generated from proto/parca/profilestore, where every message is described")]
    pub mod profilestore {
        tonic::include_proto!("parca.profilestore.v1alpha1");

        /// Where the generated code of other packages looks for it.
        pub mod v1alpha1 {
            pub use super::{Label, LabelSet};
        }
    }

    /// Questions and reports.
    pub mod query {
        /// Version 1alpha1.
        #[expect(missing_docs, reason = "generated from proto/parca/query, where every message is described")]
        pub mod v1alpha1 {
            tonic::include_proto!("parca.query.v1alpha1");
        }
    }

    /// What is scraped.
    pub mod scrape {
        /// Version 1alpha1.
        #[expect(missing_docs, reason = "generated from proto/parca/scrape, where every message is described")]
        pub mod v1alpha1 {
            tonic::include_proto!("parca.scrape.v1alpha1");
        }
    }

    /// Reports of the agents on themselves.
    #[expect(missing_docs, reason = "generated from proto/parca/telemetry, where every message is described")]
    pub mod telemetry {
        tonic::include_proto!("parca.telemetry.v1alpha1");
    }
}

/// Profiles as pprof has them.
pub mod google {
    /// Version 1.
    #[expect(missing_docs, reason = "generated from proto/google/v1, where every message is described")]
    pub mod v1 {
        tonic::include_proto!("google.v1");
    }
}

/// How Pyroscope's clients push.
pub mod push {
    /// Version 1.
    #[expect(missing_docs, reason = "generated from proto/push/v1, where every message is described")]
    pub mod v1 {
        tonic::include_proto!("push.v1");
    }
}

/// How Pyroscope's clients read.
pub mod querier {
    /// Version 1.
    #[expect(missing_docs, reason = "generated from proto/querier/v1, where every message is described")]
    pub mod v1 {
        tonic::include_proto!("querier.v1");
    }
}

/// Settings that the pages of Pyroscope's clients keep.
pub mod settings {
    /// Version 1.
    #[expect(missing_docs, reason = "generated from proto/settings/v1, where every message is described")]
    pub mod v1 {
        tonic::include_proto!("settings.v1");
    }
}

/// What the APIs of Pyroscope's clients share.
pub mod types {
    /// Version 1.
    #[expect(missing_docs, reason = "generated from proto/types/v1, where every message is described")]
    pub mod v1 {
        tonic::include_proto!("types.v1");
    }
}

/// The version of Pyroscope's read API.
pub mod version {
    /// Version 1.
    #[expect(missing_docs, reason = "generated from proto/version/v1, where every message is described")]
    pub mod v1 {
        tonic::include_proto!("version.v1");
    }
}

/// The encoded `FileDescriptorSet` of every API, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
