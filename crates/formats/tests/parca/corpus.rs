//! Streams that another writer made, in the types of the columns of version 2: where a corpus is given.

use std::path::PathBuf;

use bytes::Bytes;
use flamestore_formats::{Limits, ParcaRecords};

/// No stream is a whole record; each is read to its end before that is found out.
#[test]
fn streams_of_another_writer_are_read_to_their_end() {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else { return };
    let mut streams = 0;
    for entry in std::fs::read_dir(PathBuf::from(corpus).join("arrow")).unwrap() {
        let path = entry.unwrap().path();
        let error = ParcaRecords::new(Limits::default()).add(Bytes::from(std::fs::read(&path).unwrap())).unwrap_err();
        let is_decoded = error.to_string().contains("the record has neither samples nor locations");
        assert!(is_decoded, "{}: {error}", path.display());
        streams += 1;
    }
    assert!(streams > 10, "{streams}");
}
