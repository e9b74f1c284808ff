//! The files of the page as they were built.

use std::collections::BTreeMap;

use bytes::Bytes;
use flamestore_formats::{Limits, decompress};
use flamestore_page::{INDEX, asset, paths};

#[test]
fn every_built_file_has_a_type_and_a_tag_of_its_content() {
    let mut by_tag: BTreeMap<&str, Bytes> = BTreeMap::new();
    for path in paths() {
        let asset = asset(path).unwrap();
        assert_ne!(asset.content_type(), "application/octet-stream", "{path}");
        assert_eq!(asset.tag().len(), 32, "{path}");
        let same = by_tag.entry(asset.tag()).or_insert_with(|| asset.bytes()).clone();
        assert_eq!(same, asset.bytes(), "{path}");
    }
    assert!(!asset(INDEX).unwrap().is_immutable());
    assert!(asset("").is_none() && asset("../Cargo.toml").is_none());
}

#[test]
fn what_is_compressed_is_smaller_and_the_same() {
    let mut compressed = 0;
    for path in paths() {
        let asset = asset(path).unwrap();
        let Some(gzip) = asset.gzip() else { continue };
        compressed += 1;
        assert!(gzip.len() < asset.bytes().len(), "{path}");
        assert_eq!(decompress(gzip, &Limits::default()).unwrap(), asset.bytes(), "{path}");
    }
    assert!(compressed > 0);
}
