//! Decompresses pages with one context of zstd a thread, which lasts, into a buffer that does too.
//!
//! What a page says of its size is a claim: it makes room for no more than [`PAGE_BYTES_MAX`], and what is larger is refused.
//! A thread keeps no more than [`KEPT_BYTES_MAX`].

use std::cell::RefCell;

use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

use super::Broken;

/// The most bytes of a page. Those of [`super::PAGE_ROWS_MAX`] numbers take half a mebibyte; dictionaries may take more.
const PAGE_BYTES_MAX: usize = 16 << 20;

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

impl Inflater {
    fn inflate(&mut self, page: &[u8]) -> Option<()> {
        let claimed = get_frame_content_size(page).ok()?;
        let bytes = claimed.map_or(Some(KEPT_BYTES_MAX), |claimed| usize::try_from(claimed).ok())?;
        if bytes > PAGE_BYTES_MAX {
            return None;
        }
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(Decompressor::new().ok()?),
        };
        self.bytes.clear();
        self.bytes.reserve(bytes);
        zstd.decompress_to_buffer(page, &mut self.bytes).ok().map(drop)
    }
}
