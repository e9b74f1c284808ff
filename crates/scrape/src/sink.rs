//! Where scraped profiles go.

use async_trait::async_trait;
use bytes::Bytes;
use flamestore_model::{Labels, ProfileBatch, Result, Tenant};

/// A profile that was scraped.
#[derive(Clone, Debug)]
pub struct ScrapedProfile {
    /// Whose it is.
    pub tenant: Tenant,
    /// The labels of its series, `__name__` among them.
    pub labels: Labels,
    /// What was decoded.
    pub batch: ProfileBatch,
    /// The pprof that was sent, if the batch is exactly what it says.
    pub received: Option<Bytes>,
}

/// Takes scraped profiles.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Stores one.
    ///
    /// # Errors
    /// Those of storing it. The profile is then lost; the next scrape is tried all the same.
    async fn push(&self, profile: ScrapedProfile) -> Result<()>;
}
