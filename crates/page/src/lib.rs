//! The web page as it was built from `web/`, inside of the program: what is at a path, of what type, under which tag.
//!
//! ```text
//! web/ ─ vite ─▶ dist/, committed ─ rust-embed ─▶ this crate ─ path ─▶ bytes, type, tag ─▶ server
//! ```
//!
//! Building the program needs no Node.js, and running it needs no files. Nothing here knows HTTP; what is compressed is so
//! when it is first asked for, and kept.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{LazyLock, OnceLock};

use bytes::Bytes;
use rust_embed::{Embed, EmbeddedFile};

/// The path of the page itself. All others are relative to it.
pub const INDEX: &str = "index.html";
/// Files in this folder have a hash of what they hold in their names.
const HASHED: &str = "assets/";

#[derive(Embed)]
#[folder = "dist"]
struct Built;

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    bytes: Bytes,
    content_type: &'static str,
    tag: String,
    is_immutable: bool,
    gzip: OnceLock<Option<Bytes>>,
}

static ASSETS: LazyLock<BTreeMap<String, Asset>> = LazyLock::new(|| {
    let read = |path: &str| Some((path.to_owned(), Asset::new(path, Built::get(path)?)));
    Built::iter().filter_map(|path| read(&path)).collect()
});

/// The file at `path`, which begins without a slash.
pub fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.get(path)
}

/// The paths of all files.
pub fn paths() -> impl Iterator<Item = &'static str> {
    ASSETS.keys().map(String::as_str)
}

impl Asset {
    fn new(path: &str, file: EmbeddedFile) -> Self {
        let hash = file.metadata.sha256_hash();
        Self {
            bytes: match file.data {
                Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                Cow::Owned(bytes) => bytes.into(),
            },
            content_type: content_type(path),
            tag: hash[..16].iter().fold(String::new(), |mut text, byte| {
                // writing to a string cannot fail
                let _ = write!(text, "{byte:02x}");
                text
            }),
            is_immutable: path.starts_with(HASHED),
            gzip: OnceLock::new(),
        }
    }

    /// What the file holds.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The same as gzip, where that makes it smaller.
    pub fn gzip(&self) -> Option<Bytes> {
        let compress = || {
            let gzip = is_text(self.content_type).then(|| flamestore_formats::gzip(&self.bytes).ok()).flatten()?;
            (gzip.len() < self.bytes.len()).then(|| gzip.into())
        };
        self.gzip.get_or_init(compress).clone()
    }

    /// Its media type.
    pub fn content_type(&self) -> &'static str {
        self.content_type
    }

    /// A hash of what it holds, as hexadecimal digits.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether another content would have another path.
    pub fn is_immutable(&self) -> bool {
        self.is_immutable
    }
}

/// The media type of the files that the page is built of.
fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// Whether gzip is worth its while.
fn is_text(content_type: &str) -> bool {
    content_type.starts_with("text/") || matches!(content_type, "application/json" | "image/svg+xml")
}
