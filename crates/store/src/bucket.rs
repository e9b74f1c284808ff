//! A bucket below one prefix: the few calls of an object store that Flamestore makes, with errors that name the setting.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use flamestore_model::{Error, ErrorKind, Result};
use futures::{Stream, TryStreamExt};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    GetOptions, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

/// The objects of one store, below its prefix. Clones share it.
#[derive(Clone)]
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    shown: Arc<str>,
}

/// What became of an object that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    /// It was created by this call.
    New,
    /// There was one already; it was left as it is.
    Exists,
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its path below the bucket's prefix.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the bucket's clock, in nanoseconds since 1970.
    pub modified_unix_nano: i64,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.shown)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Bucket {
    /// The objects of `objects` whose keys start with `prefix/`; `shown` names the place in messages.
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: &str, shown: impl Into<String>) -> Self {
        let objects = match prefix {
            "" => objects,
            prefix => Arc::new(PrefixStore::new(objects, prefix)) as Arc<dyn ObjectStore>,
        };
        Self { objects, shown: Arc::from(shown.into()) }
    }

    /// Creates an object unless there is one at `path`.
    pub(crate) async fn create(&self, path: &str, bytes: Bytes) -> Result<Created> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(&Path::from(path), PutPayload::from_bytes(bytes), options).await {
            Ok(_) => Ok(Created::New),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Created::Exists)
            }
            Err(error) => Err(self.explain(error, "create", path)),
        }
    }

    /// Starts an object that comes part by part and exists once it is complete.
    pub(crate) async fn start(&self, path: &str) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart(&Path::from(path)).await.map_err(|e| self.explain(e, "start", path))
    }

    /// The whole object; `NotFound` when there is none.
    pub(crate) async fn read(&self, path: &str) -> Result<Bytes> {
        let answer = self.objects.get_opts(&Path::from(path), GetOptions::default()).await;
        let answer = answer.map_err(|e| self.explain(e, "read", path))?;
        answer.bytes().await.map_err(|e| self.explain(e, "read", path))
    }

    /// Bytes `range` of an object, all of them.
    pub(crate) async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        self.objects.get_range(&Path::from(path), range).await.map_err(|e| self.explain(e, "read", path))
    }

    /// Several ranges of an object; neighbours are fetched together.
    pub(crate) async fn read_ranges(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.objects.get_ranges(&Path::from(path), ranges).await.map_err(|e| self.explain(e, "read", path))
    }

    /// An object's size; `None` when there is none.
    pub(crate) async fn size(&self, path: &str) -> Result<Option<u64>> {
        match self.objects.head(&Path::from(path)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.explain(error, "look up", path)),
        }
    }

    /// Deletes an object: one that no manifest names, or a manifest that nobody needs. It is no error if it is gone.
    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        match self.objects.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.explain(error, "delete", path)),
        }
    }

    /// The objects below folder `folder` (all when empty) whose path sorts after `after`, in no order.
    pub(crate) async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<ObjectEntry>> {
        let prefix = (!folder.is_empty()).then(|| Path::from(folder));
        let listing = match after {
            Some(after) => self.objects.list_with_offset(prefix.as_ref(), &Path::from(after)),
            None => self.objects.list(prefix.as_ref()),
        };
        let entries = listing.map_ok(entry).try_collect().await;
        entries.map_err(|e| self.explain(e, "list", folder))
    }

    /// Every object, as they are listed.
    pub(crate) fn walk(&self) -> impl Stream<Item = Result<ObjectEntry>> + '_ {
        self.objects.list(None).map_ok(entry).map_err(|e| self.explain(e, "list", ""))
    }

    /// The objects directly in folder `folder`, in no order.
    pub(crate) async fn list_folder(&self, folder: &str) -> Result<Vec<ObjectEntry>> {
        let listing = self.objects.list_with_delimiter(Some(&Path::from(folder))).await;
        let listing = listing.map_err(|e| self.explain(e, "list", folder))?;
        Ok(listing.objects.into_iter().map(entry).collect())
    }

    /// What went wrong when the object at `path` was to be read, created or whatever `verb` says.
    pub(crate) fn explain(&self, error: object_store::Error, verb: &str, path: &str) -> Error {
        let (kind, hint) = diagnose(&error);
        let message = match hint {
            Some(hint) => format!("store: cannot {verb} an object: {hint}"),
            None => format!("store: cannot {verb} an object"),
        };
        Error::new(kind, message).with("store", &self.shown).with("object", path).because(error)
    }
}

fn entry(meta: ObjectMeta) -> ObjectEntry {
    ObjectEntry {
        path: meta.location.to_string(),
        bytes: meta.size,
        modified_unix_nano: meta.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX),
    }
}

const DENIED: &str = "access was denied; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and their rights to the bucket";

/// What a caller should do about an error, and which setting may be wrong.
fn diagnose(error: &object_store::Error) -> (ErrorKind, Option<&'static str>) {
    let text = error.to_string();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if says(&["NoSuchBucket", "bucket does not exist"]) {
        return (ErrorKind::Invalid, Some("the bucket does not exist; check the bucket's name and the endpoint"));
    }
    if says(&["AuthorizationHeaderMalformed", "PermanentRedirect", "incorrectly configured region", "IllegalLocation"])
    {
        return (ErrorKind::Invalid, Some("the region is wrong; set region (AWS_REGION)"));
    }
    if says(&["SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidToken", "ExpiredToken"]) {
        let hint = "the credentials were refused; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN";
        return (ErrorKind::Invalid, Some(hint));
    }
    if says(&["Permission denied", "os error 13", "Read-only file system", "os error 30"]) {
        return (ErrorKind::Invalid, Some("the folder is not writable or readable by this user"));
    }
    if says(&["os error 20"]) {
        return (ErrorKind::Invalid, Some("a file stands where the store needs a folder"));
    }
    if says(&["os error 28"]) {
        return (ErrorKind::Unavailable, Some("the disk is full"));
    }
    if says(&["403 Forbidden", "401 Unauthorized", "AccessDenied"]) {
        return (ErrorKind::Invalid, Some(DENIED));
    }
    match error {
        object_store::Error::NotFound { .. } => (ErrorKind::NotFound, None),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            (ErrorKind::Invalid, Some(DENIED))
        }
        object_store::Error::InvalidPath { .. } => (ErrorKind::Internal, None),
        object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => {
            (ErrorKind::Invalid, None)
        }
        _ if says(&["instance-metadata", "169.254.169.254", "metadata endpoint"]) => {
            (ErrorKind::Invalid, Some("no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"))
        }
        _ if says(&["error sending request", "connect", "dns"]) => {
            (ErrorKind::Unavailable, Some("the service cannot be reached; check endpoint"))
        }
        _ => (ErrorKind::Unavailable, None),
    }
}
