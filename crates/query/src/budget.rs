//! Memory that an operator holds, reserved in the pool that all queries share.

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use flamestore_calltree::ValueTree;
use flamestore_model::Result;

use crate::error::memory_exhausted;
use crate::plan::tree_bytes;
use crate::sink::ReportSink;

/// Bytes reserved for one operator; given back when dropped.
#[derive(Debug)]
pub(crate) struct Budget {
    reservation: MemoryReservation,
    sink: Arc<ReportSink>,
    memory_bytes_max: usize,
}

impl Budget {
    /// Nothing reserved yet, for the operator `name`.
    pub(crate) fn new(name: &str, task: &TaskContext, sink: Arc<ReportSink>) -> Self {
        let pool = task.memory_pool();
        let memory_bytes_max = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            _ => usize::MAX,
        };
        Self { reservation: MemoryConsumer::new(name).register(pool), sink, memory_bytes_max }
    }

    /// Reserves `bytes` more.
    ///
    /// # Errors
    /// `Exhausted`, naming the limit, when the pool has no such room.
    pub(crate) fn grow(&self, bytes: usize) -> Result<()> {
        self.reservation.try_grow(bytes).map_err(|error| {
            let reason = error.to_string();
            memory_exhausted(self.memory_bytes_max).because(reason.lines().next().unwrap_or_default().to_owned())
        })?;
        self.sink.memory_moved(bytes, 0);
        Ok(())
    }

    /// Gives `bytes` back.
    pub(crate) fn shrink(&self, bytes: usize) {
        let bytes = bytes.min(self.reservation.size());
        self.reservation.shrink(bytes);
        self.sink.memory_moved(0, bytes);
    }

    /// Reserves `bytes` in all.
    ///
    /// # Errors
    /// As [`Budget::grow`].
    pub(crate) fn resize(&self, bytes: usize) -> Result<()> {
        match bytes.checked_sub(self.size()) {
            Some(more) => self.grow(more),
            None => {
                self.shrink(self.size() - bytes);
                Ok(())
            }
        }
    }

    /// The bytes that all queries may reserve together.
    pub(crate) fn limit(&self) -> usize {
        self.memory_bytes_max
    }

    /// Bytes reserved.
    pub(crate) fn size(&self) -> usize {
        self.reservation.size()
    }

    /// A budget of its own in the same pool, with nothing reserved.
    pub(crate) fn fresh(&self) -> Self {
        let (sink, memory_bytes_max) = (Arc::clone(&self.sink), self.memory_bytes_max);
        Self { reservation: self.reservation.new_empty(), sink, memory_bytes_max }
    }
}

/// Memory in which an answer is made further, of what all queries may hold together. Given back when dropped.
#[derive(Debug)]
pub struct Memory(Budget);

impl Memory {
    pub(crate) fn new(budget: Budget) -> Self {
        Self(budget)
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.0
    }

    /// Reserves `bytes` more.
    ///
    /// # Errors
    /// `Exhausted`, naming the limit, when there is no such room.
    pub fn grow(&self, bytes: usize) -> Result<()> {
        self.0.grow(bytes)
    }

    /// The same for many small things.
    pub fn in_steps(&self) -> InSteps<'_> {
        InSteps::of(&self.0)
    }

    /// Reserves what `tree` takes, while it is kept.
    ///
    /// # Errors
    /// As [`Memory::grow`].
    pub fn hold(&self, tree: &ValueTree) -> Result<()> {
        self.0.grow(tree_bytes(tree))
    }
}

/// Memory that is reserved a step ahead of what is kept, for things that are many and small.
#[derive(Debug)]
pub struct InSteps<'a> {
    budget: &'a Budget,
    /// Bytes that are reserved and not taken yet.
    left: usize,
}

impl<'a> InSteps<'a> {
    /// Bytes reserved at one time, at least.
    const STEP_BYTES: usize = 4 << 10;

    pub(crate) fn of(budget: &'a Budget) -> Self {
        Self { budget, left: 0 }
    }

    /// Takes `bytes` for what is to be kept.
    ///
    /// # Errors
    /// `Exhausted`, naming the limit, when there is no such room.
    pub fn grow(&mut self, bytes: usize) -> Result<()> {
        if bytes > self.left {
            let grow = |step: usize| self.budget.grow(step).map(|()| step);
            self.left += grow(bytes.max(Self::STEP_BYTES)).or_else(|_| grow(bytes))?;
        }
        self.left -= bytes;
        Ok(())
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.sink.memory_moved(0, self.reservation.free());
    }
}

#[cfg(test)]
impl Budget {
    /// A budget in a pool of its own.
    pub(crate) fn of_pool(name: &str, memory_bytes_max: usize) -> Self {
        use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(memory_bytes_max));
        let reservation = MemoryConsumer::new(name).register(&pool);
        Self { reservation, sink: ReportSink::new(), memory_bytes_max }
    }
}
