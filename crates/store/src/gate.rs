//! A gate: whoever is inside holds a pass; closing it turns later ones away and waits until those inside have left.
//!
//! Passes may be held across awaits, unlike the guards of a lock.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A gate that is open until it is closed, once and for all. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    inside: usize,
}

/// The right to be inside; given back when dropped.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Inner>);

impl Gate {
    /// A pass, unless the gate is closed.
    pub(crate) fn enter(&self) -> Option<Pass> {
        let mut state = self.0.state.lock();
        if state.is_closed {
            return None;
        }
        state.inside += 1;
        Some(Pass(Arc::clone(&self.0)))
    }

    /// Turns later ones away and waits for those inside.
    pub(crate) async fn close(&self) {
        self.0.state.lock().is_closed = true;
        loop {
            let left = self.0.left.notified();
            if self.0.state.lock().inside == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.inside -= 1;
        if state.inside == 0 {
            self.0.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_closed_gate_waits_for_those_inside_and_admits_nobody() {
        let gate = Gate::default();
        let (first, second) = (gate.enter(), gate.enter());
        assert!(first.is_some() && second.is_some());
        let mut closing = Box::pin(gate.close());
        assert!(closing.as_mut().now_or_never().is_none());
        assert!(gate.enter().is_none());
        drop(first);
        assert!(closing.as_mut().now_or_never().is_none());
        drop(second);
        closing.await;
        gate.close().await;
    }
}
