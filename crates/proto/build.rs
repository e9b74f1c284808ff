//! Generates the types, clients and services of the APIs from `proto/`, without a protoc.

use std::path::{Path, PathBuf};

const FILES: [&str; 14] = [
    "capabilities/v1/capabilities.proto",
    "flamestore/v1/flamestore.proto",
    "opentelemetry/proto/collector/logs/v1/logs.proto",
    "opentelemetry/proto/collector/trace/v1/trace.proto",
    "parca/debuginfo/v1alpha1/debuginfo.proto",
    "parca/metastore/v1alpha1/metastore.proto",
    "parca/profilestore/v1alpha1/profilestore.proto",
    "parca/query/v1alpha1/query.proto",
    "parca/scrape/v1alpha1/scrape.proto",
    "parca/telemetry/v1alpha1/telemetry.proto",
    "push/v1/push.proto",
    "querier/v1/querier.proto",
    "settings/v1/settings.proto",
    "version/v1/version.proto",
];
/// Fields that hold whole profiles, parts of answers, or what nobody looks into: slices, not copies.
const BYTES: [&str; 9] = [
    ".flamestore.v1.RawProfile.profile",
    ".flamestore.v1.SqlResponse.arrow",
    ".opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest.resource_logs",
    ".opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest.resource_spans",
    ".parca.debuginfo.v1alpha1.UploadRequest.chunk_data",
    ".parca.profilestore.v1alpha1.RawSample.raw_profile",
    ".parca.profilestore.v1alpha1.WriteArrowRequest.ipc_buffer",
    ".parca.profilestore.v1alpha1.WriteRequest.record",
    ".push.v1.RawSample.raw_profile",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Not where this script was compiled: a target folder may be shared by several checkouts.
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed=../../proto");
    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost_bytes(&descriptors))?;
    BYTES.iter().fold(tonic_prost_build::configure(), |builder, path| builder.bytes(path)).compile_fds(descriptors)?;
    Ok(())
}

fn prost_bytes(descriptors: &prost_types::FileDescriptorSet) -> Vec<u8> {
    prost::Message::encode_to_vec(descriptors)
}
