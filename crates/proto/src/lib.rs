//! Generated code of the APIs in `proto/`, and nothing else.

/// The API of Flamestore.
#[expect(missing_docs, clippy::all, reason = "generated from proto/flamestore/v1, where every message is described")]
pub mod v1 {
    tonic::include_proto!("flamestore.v1");
}

/// The encoded `FileDescriptorSet` of every API, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
