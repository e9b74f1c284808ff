//! The part of a call tree that lies below a call site.

use crate::ValueTree;
use crate::frame::FrameTable;

impl ValueTree {
    /// The stacks that begin with the frames called `call_site`, root first, whole as they are. A call site of no frames has
    /// all of them.
    #[must_use]
    pub fn below(self, call_site: &[impl AsRef<[u8]>]) -> Self {
        if call_site.is_empty() {
            return self;
        }
        let frames = FrameTable::new(&self.dictionary);
        let ranks: Option<Vec<u32>> = call_site.iter().map(|name| frames.rank(name.as_ref())).collect();
        // Where a name is unknown, nothing begins with it.
        let Some(ranks) = ranks else { return Self::empty(self.values.len()) };
        // Per node, how many frames of the call site its stack begins with, if it leaves it nowhere.
        let mut matched: Vec<Option<usize>> = Vec::with_capacity(self.tree.len());
        matched.push(Some(0));
        for node in 1..self.tree.len() {
            let before = matched[self.tree.parent[node] as usize];
            let own = frames.frames(self.tree.location[node]);
            matched.push(before.and_then(|before| {
                let rest = &ranks[before..];
                let both = rest.len().min(own.len());
                (rest[..both] == own[..both]).then_some(before + both)
            }));
        }
        let Self { dictionary, tree, mut values } = self;
        for column in &mut values {
            for (value, matched) in column.iter_mut().zip(&matched) {
                if *matched != Some(ranks.len()) {
                    *value = 0;
                }
            }
        }
        Self { dictionary, tree, values }.prune()
    }
}
