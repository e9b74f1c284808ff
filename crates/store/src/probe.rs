//! The question asked of a bucket before it is trusted: does creating what exists fail?
//!
//! The commit protocol rests on it, and some services that speak S3 ignore the condition and overwrite. What the probe
//! leaves behind when it is cut short is one object of 16 bytes below `probe/`.

use bytes::Bytes;
use flamestore_model::{Error, Result};

use crate::bucket::{Bucket, Created};
use crate::key::ObjectKey;

/// Creates one object twice; the second time must be refused.
///
/// # Errors
/// `Invalid` when the bucket overwrites what exists or does not give back what was written, and what the bucket says.
pub(crate) async fn probe(bucket: &Bucket, nonce: u128) -> Result<()> {
    let path = ObjectKey::Probe(nonce).to_string();
    // a repeated request of the client itself may find the object that the first one made: both answers are right here
    bucket.create(&path, content(nonce)).await?;
    let second = bucket.create(&path, content(!nonce)).await;
    let found = bucket.read(&path).await;
    if let Err(error) = bucket.delete(&path).await {
        tracing::warn!(%error, "the probe's object stays behind");
    }
    let refuse = |what: &str| Error::invalid(format!("store: {what}, so commits would be lost")).with("store", bucket);
    match (second?, found?) {
        (Created::New, _) => Err(refuse("the bucket overwrites an object that was to be created only if absent")),
        (Created::Exists, found) if found != content(nonce) => {
            Err(refuse("the bucket gave back other bytes than were written"))
        }
        (Created::Exists, _) => Ok(()),
    }
}

fn content(nonce: u128) -> Bytes {
    Bytes::copy_from_slice(&nonce.to_be_bytes())
}
