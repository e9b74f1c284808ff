//! Work that keeps a core busy, kept off the threads that answer the network.

use std::sync::Arc;

use flamestore_model::{Error, Result};
use tokio::sync::Semaphore;

/// Work on fewer bytes takes less time than handing it to another thread.
const INLINE_BYTES_MAX: usize = 4 << 10;

/// A bounded share of the runtime's blocking threads: decoding, folding and encoding run here.
///
/// Work that waits for its turn is dropped with its future; work that runs is run to its end, and holds its place until then.
#[derive(Clone, Debug)]
pub(crate) struct Compute {
    places: Arc<Semaphore>,
}

impl Compute {
    /// A share of `threads` threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(threads.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Runs `work` on a thread where it may block.
    ///
    /// # Errors
    /// Those of `work`; `Internal` when it panics.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let closed = |_| Error::unavailable("the server is shutting down");
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(closed)?;
        let span = tracing::Span::current();
        let running = tokio::task::spawn_blocking(move || {
            let _place = place;
            span.in_scope(work)
        });
        running.await.map_err(|e| Error::internal("a computation did not end").because(e))?
    }

    /// Runs `work` on `bytes` bytes: here when they are few, else as [`Compute::run`] does.
    ///
    /// # Errors
    /// As [`Compute::run`].
    pub(crate) async fn run_on<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if bytes <= INLINE_BYTES_MAX { work() } else { self.run(work).await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flamestore_model::ErrorKind;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_and_gives_its_place_back() {
        let compute = Compute::new(1);
        let panics: Result<()> = compute.run(|| panic!("as the test wants")).await;
        assert_eq!(panics.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(compute.run(|| Ok(7)).await.unwrap(), 7);
    }
}
