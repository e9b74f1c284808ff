//! Decompresses pages with one context of zstd a thread, which lasts, into a buffer that does too.
//!
//! What a page says of its size is a claim: it makes room for no more than [`PAGE_BYTES_MAX`], or [`OWNED_BYTES_MAX`] where
//! strings may be in it, and what is larger is refused. A thread keeps no more than [`KEPT_BYTES_MAX`].

use std::cell::RefCell;
use std::io::Cursor;

use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

use super::Broken;

/// The most bytes of a page. Those of [`super::PAGE_ROWS_MAX`] numbers take half a mebibyte; dictionaries may take more.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// The most bytes of a page that is kept by whoever asked for it: as Parquet's headers count.
const OWNED_BYTES_MAX: usize = i32::MAX as usize;

/// The most bytes that are kept for the next page, and that a page may take which does not say how many.
const KEPT_BYTES_MAX: usize = 2 << 20;

#[derive(Default)]
struct Inflater {
    zstd: Option<Decompressor<'static>>,
    bytes: Vec<u8>,
}

thread_local! {
    static INFLATER: RefCell<Inflater> = RefCell::default();
}

/// What `read` makes of a page once it is decompressed.
pub(super) fn with<R>(page: &[u8], read: impl FnOnce(&[u8]) -> Result<R, Broken>) -> Result<R, Broken> {
    if page.is_empty() {
        return read(page);
    }
    INFLATER.with_borrow_mut(|inflater| {
        inflater.inflate(page).ok_or(Broken::Compressed)?;
        let read = read(&inflater.bytes);
        if inflater.bytes.capacity() > KEPT_BYTES_MAX {
            inflater.bytes = Vec::new();
        }
        read
    })
}

/// `before`, and a page decompressed behind it.
pub(super) fn owned(before: &[u8], page: &[u8]) -> Result<Vec<u8>, Broken> {
    if page.is_empty() {
        return Ok(before.to_vec());
    }
    let bytes = room(page, OWNED_BYTES_MAX).ok_or(Broken::Compressed)?;
    let mut inflated = Vec::with_capacity(before.len() + bytes);
    inflated.extend_from_slice(before);
    let mut rest = Cursor::new(inflated);
    rest.set_position(before.len() as u64);
    INFLATER
        .with_borrow_mut(|inflater| inflater.zstd()?.decompress_to_buffer(page, &mut rest).ok())
        .ok_or(Broken::Compressed)?;
    Ok(rest.into_inner())
}

/// The room that a page takes when it is decompressed; none where that is more than `bytes_max`.
fn room(page: &[u8], bytes_max: usize) -> Option<usize> {
    let claimed = get_frame_content_size(page).ok()?;
    let bytes = claimed.map_or(Some(KEPT_BYTES_MAX), |claimed| usize::try_from(claimed).ok())?;
    (bytes <= bytes_max).then_some(bytes)
}

impl Inflater {
    fn zstd(&mut self) -> Option<&mut Decompressor<'static>> {
        match &mut self.zstd {
            Some(zstd) => Some(zstd),
            none => Some(none.insert(Decompressor::new().ok()?)),
        }
    }

    fn inflate(&mut self, page: &[u8]) -> Option<()> {
        let bytes = room(page, PAGE_BYTES_MAX)?;
        self.bytes.clear();
        self.bytes.reserve(bytes);
        let mut inflated = std::mem::take(&mut self.bytes);
        let done = self.zstd()?.decompress_to_buffer(page, &mut inflated);
        self.bytes = inflated;
        done.ok().map(drop)
    }
}
