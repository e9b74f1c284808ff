//! Checks debug information: that what counts is there and as long as it should be, and in depth that its bytes are.

use std::collections::HashMap;

use flamestore_model::{ErrorKind, Result};
use xxhash_rust::xxh3::Xxh3;

use super::check::{Depth, Problem};
use crate::debuginfo::{DebuginfoKey, Record};
use crate::key::{DebuginfoPart, ObjectKey};
use crate::{Bucket, ObjectEntry};

/// Bytes of a file read at one time.
const READ_BYTES: u64 = 8 << 20;

/// Checks the files that count among `objects`, and takes those out of it.
///
/// # Errors
/// What the bucket says when it cannot be reached.
pub(super) async fn check_debuginfo(
    bucket: &Bucket,
    objects: &mut HashMap<String, ObjectEntry>,
    depth: Depth,
) -> Result<(u64, Vec<Problem>)> {
    let uploaded = |path: &String| match path.parse() {
        Ok(ObjectKey::Debuginfo { key, part: DebuginfoPart::Uploaded }) => Some((path.clone(), key)),
        _ => None,
    };
    let mut uploaded: Vec<(String, DebuginfoKey)> = objects.keys().filter_map(uploaded).collect();
    uploaded.sort();
    let (mut files, mut problems) = (0, Vec::new());
    for (path, key) in uploaded {
        objects.remove(&path);
        let read = bucket.read(&path).await;
        let record = match read.and_then(|bytes| Record::from_bytes(&path, &bytes)) {
            Ok(record) => record,
            // it was replaced since it was listed
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid) => {
                problems.push(Problem::new(path, error));
                continue;
            }
            Err(error) => return Err(error),
        };
        files += 1;
        let file = ObjectKey::Debuginfo { key, part: DebuginfoPart::File(record.upload()?) }.to_string();
        objects.remove(&file);
        problems.extend(check_file(bucket, &file, &record, depth).await?);
    }
    Ok((files, problems))
}

async fn check_file(bucket: &Bucket, path: &str, record: &Record, depth: Depth) -> Result<Option<Problem>> {
    let Some(bytes) = bucket.size(path).await? else { return Ok(Some(Problem::new(path, "the object is missing"))) };
    if bytes != record.bytes {
        return Ok(Some(Problem::differs(path, "the size differs", record.bytes, bytes)));
    }
    if depth == Depth::Plain {
        return Ok(None);
    }
    let mut checksum = Xxh3::new();
    for start in (0..bytes).step_by(usize::try_from(READ_BYTES).unwrap_or(usize::MAX)) {
        let end = start.saturating_add(READ_BYTES).min(bytes);
        checksum.update(&bucket.read_range(path, start..end).await?);
    }
    let (found, hex) = (checksum.digest(), |checksum: u64| format!("{checksum:016x}"));
    let differs = || Problem::differs(path, "the checksum differs", hex(record.checksum), hex(found));
    Ok((found != record.checksum).then(differs))
}
