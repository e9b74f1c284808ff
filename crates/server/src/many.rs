//! Many profiles of one request: decoded one after another, stored several at the same time.
//!
//! Bounds: [`DECODED_MAX`] decoded profiles wait, [`STORED_AT_ONCE_MAX`] are being stored.

use flamestore_model::{ProfileId, Result};
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::push::Rejections;

/// How many decoded profiles wait to be stored.
pub(crate) const DECODED_MAX: usize = 4;
/// How many profiles of one request are stored at the same time, so that they share a write of the log.
const STORED_AT_ONCE_MAX: usize = 16;

/// Stores what `receiver` hands over, each with its place in the request, and says what became of them.
pub(crate) async fn store_all<P, F>(
    receiver: mpsc::Receiver<Result<P>>,
    store: impl Fn(u64, Result<P>) -> F,
) -> Rejections
where
    F: Future<Output = Result<ProfileId>>,
{
    store_each(receiver, store).await.1
}

/// The same; also the ids of those that were stored, in order.
pub(crate) async fn store_each<P, F>(
    receiver: mpsc::Receiver<Result<P>>,
    store: impl Fn(u64, Result<P>) -> F,
) -> (Vec<ProfileId>, Rejections)
where
    F: Future<Output = Result<ProfileId>>,
{
    let profiles = futures::stream::unfold((receiver, 0), async |(mut receiver, at)| {
        let profile = receiver.recv().await?;
        Some(((at, profile), (receiver, at + 1)))
    });
    let stored = profiles.map(|(at, profile)| {
        let stored = store(at, profile);
        async move { (at, stored.await) }
    });
    let mut stored = std::pin::pin!(stored.buffered(STORED_AT_ONCE_MAX));
    let (mut ids, mut rejections) = (Vec::new(), Rejections::default());
    while let Some((at, stored)) = stored.next().await {
        ids.extend(stored.as_ref().ok());
        rejections.add(|| format!("profile {at}"), stored);
    }
    (ids, rejections)
}
