//! Generates the API's types, clients and services from `proto/`, without a protoc.

use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Not where this script was compiled: a target folder may be shared by several checkouts.
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed=../../proto");
    let descriptors = protox::compile(["flamestore/v1/flamestore.proto"], [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost_bytes(&descriptors))?;
    tonic_prost_build::configure().bytes(".flamestore.v1.RawProfile.profile").compile_fds(descriptors)?;
    Ok(())
}

fn prost_bytes(descriptors: &prost_types::FileDescriptorSet) -> Vec<u8> {
    prost::Message::encode_to_vec(descriptors)
}
