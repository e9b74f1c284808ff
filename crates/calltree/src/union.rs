//! The union of sorted runs, whatever they hold: the one k-way merge behind every table of a dictionary.

use std::cmp::Ordering;

use crate::byte_strings::index;

/// A row of one of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) run: usize,
    pub(crate) row: u32,
}

/// Visits the rows of all runs in order, and says of each whether it differs from the one before. The runs rise strictly
/// under `compare`. Takes one or two comparisons a row for two runs, and a logarithm of their number for many.
pub(crate) fn union(lengths: &[usize], compare: impl Fn(Row, Row) -> Ordering, mut visit: impl FnMut(Row, bool)) {
    let started = lengths.iter().enumerate().filter(|(_, length)| **length > 0);
    let mut heap: Vec<Row> = started.map(|(run, _)| Row { run, row: 0 }).collect();
    for at in (0..heap.len() / 2).rev() {
        sift_down(&mut heap, at, &compare);
    }
    let mut last: Option<Row> = None;
    while let Some(&top) = heap.first() {
        let is_new = last.is_none_or(|last| last.run == top.run || compare(last, top) != Ordering::Equal);
        visit(top, is_new);
        if is_new {
            last = Some(top);
        }
        match (top.row as usize) + 1 < lengths[top.run] {
            true => heap[0].row += 1,
            false => drop(heap.swap_remove(0)),
        }
        sift_down(&mut heap, 0, &compare);
    }
}

/// New ids by old id, one map per run: filled while a union is visited.
pub(crate) struct Remaps {
    pub(crate) maps: Vec<Vec<u32>>,
    pub(crate) rows: usize,
}

impl Remaps {
    pub(crate) fn new(lengths: &[usize]) -> Self {
        Self { maps: lengths.iter().map(|length| Vec::with_capacity(*length)).collect(), rows: 0 }
    }

    /// Notes the next row of the union.
    pub(crate) fn note(&mut self, row: Row, is_new: bool) {
        self.rows += usize::from(is_new);
        self.maps[row.run].push(index(self.rows - 1));
    }
}

fn sift_down(heap: &mut [Row], mut at: usize, compare: &impl Fn(Row, Row) -> Ordering) {
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        if left >= heap.len() {
            return;
        }
        let child = match right < heap.len() && compare(heap[right], heap[left]) == Ordering::Less {
            true => right,
            false => left,
        };
        if compare(heap[child], heap[at]) != Ordering::Less {
            return;
        }
        heap.swap(child, at);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runs: &[&[u32]], expected: &[u32]) {
        let lengths: Vec<usize> = runs.iter().map(|run| run.len()).collect();
        let value = |row: Row| runs[row.run][row.row as usize];
        let (mut merged, mut remaps) = (Vec::new(), Remaps::new(&lengths));
        union(
            &lengths,
            |a, b| value(a).cmp(&value(b)),
            |row, is_new| {
                remaps.note(row, is_new);
                merged.extend(is_new.then(|| value(row)));
            },
        );
        assert_eq!(merged, expected);
        for (run, map) in runs.iter().zip(&remaps.maps) {
            let back: Vec<u32> = map.iter().map(|id| merged[*id as usize]).collect();
            assert_eq!(back, *run);
        }
    }

    #[test]
    fn a_union_holds_every_row_once_in_order() {
        check(&[], &[]);
        check(&[&[], &[3]], &[3]);
        check(&[&[1, 4, 7], &[1, 2, 7, 8]], &[1, 2, 4, 7, 8]);
        check(&[&[5], &[5], &[1, 5, 9], &[0, 9], &[2]], &[0, 1, 2, 5, 9]);
    }
}
