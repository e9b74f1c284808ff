//! The names that a statement has met: what is the same has one number in all rows of the statement, whatever dictionary,
//! segment or head it comes from.
//!
//! ```text
//! texts    bytes, ends                      number of a text
//! stacks   numbers of texts, root first     number of a stack
//! labels   numbers of texts, name, value    number of a set of labels
//! ```
//!
//! Two numbers of a kind are equal exactly if what they stand for is: texts and runs are compared, not their hashes alone.
//! What is held is accounted to the memory of queries, and goes with the statement.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use arrow::array::{Array, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use flamestore_model::{Error, Labels, Result};
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::budget::Budget;

/// Bytes of an entry beside its text or run, about.
const ENTRY_BYTES: usize = 28;

/// The names of one statement.
pub(super) struct Names {
    known: RwLock<Known>,
    /// All texts, as they were when a dictionary of them was last asked for.
    dictionary: Mutex<Arc<StringArray>>,
    budget: Budget,
}

impl Names {
    /// No names yet but the empty text; those to come are held by `budget`.
    ///
    /// # Errors
    /// As [`Known::add_text`].
    pub(super) fn new(budget: Budget) -> Result<Self> {
        let mut known = Known::default();
        known.add_text("")?;
        Ok(Self { known: RwLock::new(known), dictionary: Mutex::new(Arc::new(StringArray::new_null(0))), budget })
    }

    /// What is known, to look up.
    pub(super) fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read()
    }

    /// The texts of `known` by number; the same array until there are more of them. `None` where one array does not hold them.
    pub(super) fn dictionary(&self, known: &Known) -> Option<Arc<StringArray>> {
        let mut dictionary = self.dictionary.lock();
        if dictionary.len() != known.texts() {
            let ends = known.ends.iter().map(|end| i32::try_from(*end).ok());
            let offsets: Vec<i32> = std::iter::once(Some(0)).chain(ends).collect::<Option<_>>()?;
            let bytes = Buffer::from(known.bytes.as_bytes());
            let texts = StringArray::try_new(OffsetBuffer::new(offsets.into()), bytes, None).ok()?;
            *dictionary = Arc::new(texts);
        }
        Some(Arc::clone(&dictionary))
    }

    /// Has `add` give numbers to what may be new.
    ///
    /// # Errors
    /// What `add` says; `Exhausted` when there is no memory for the names.
    pub(super) fn add<T>(&self, add: impl FnOnce(&mut Known) -> Result<T>) -> Result<T> {
        let mut known = self.known.write();
        let added = add(&mut known)?;
        let bytes = known.memory_bytes();
        if bytes > self.budget.size() {
            // Room for as much again, so that few reservations are made.
            let more = bytes + bytes / 4;
            self.budget.resize(more).or_else(|_| self.budget.resize(bytes))?;
        }
        Ok(added)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.read();
        write!(
            f,
            "Names({} texts, {} stacks, {} sets of labels)",
            known.ends.len(),
            known.stacks.len(),
            known.labels.len()
        )
    }
}

/// Texts, stacks and labels by number.
#[derive(Default)]
pub(super) struct Known {
    bytes: String,
    ends: Vec<usize>,
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    stacks: Runs,
    labels: Runs,
}

impl Known {
    /// How many texts there are.
    pub(super) fn texts(&self) -> usize {
        self.ends.len()
    }

    /// The text `number`.
    pub(super) fn text(&self, number: u32) -> &str {
        text_of(&self.bytes, &self.ends, number)
    }

    /// The frames of the stack `number`, root first, as numbers of texts.
    pub(super) fn stack(&self, number: u32) -> &[u32] {
        self.stacks.get(number)
    }

    /// Name and value of each label of the set `number`, as numbers of texts.
    pub(super) fn labels(&self, number: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.labels.get(number).chunks_exact(2).map(|pair| (pair[0], pair[1]))
    }

    /// The number of a text, if it was met.
    pub(super) fn find_text(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        self.ids.find(hash, |number| self.text(*number) == text).copied()
    }

    /// The number of a text.
    ///
    /// # Errors
    /// `Exhausted` when there are 2³² of them.
    pub(super) fn add_text(&mut self, text: &str) -> Result<u32> {
        if let Some(number) = self.find_text(text) {
            return Ok(number);
        }
        let number = number(self.ends.len())?;
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
        let Self { bytes, ends, ids, hasher, .. } = self;
        let hash = |number: &u32| hasher.hash_one(text_of(bytes, ends, *number));
        ids.insert_unique(hash(&number), number, hash);
        Ok(number)
    }

    /// The number of a stack, whose frames are numbers of texts.
    ///
    /// # Errors
    /// `Exhausted` when there are 2³² of them.
    pub(super) fn add_stack(&mut self, frames: &[u32]) -> Result<u32> {
        self.stacks.add(frames, &self.hasher)
    }

    /// The number of a set of labels: numbers of texts, name and value in turn.
    ///
    /// # Errors
    /// `Exhausted` when there are 2³² of them.
    pub(super) fn add_pairs(&mut self, pairs: &[u32]) -> Result<u32> {
        self.labels.add(pairs, &self.hasher)
    }

    /// The number of `labels`.
    ///
    /// # Errors
    /// As [`Self::add_pairs`].
    pub(super) fn add_labels(&mut self, labels: &Labels) -> Result<u32> {
        let mut pairs = Vec::with_capacity(2 * labels.len());
        for (name, value) in labels.iter() {
            pairs.extend([self.add_text(name)?, self.add_text(value)?]);
        }
        self.add_pairs(&pairs)
    }

    fn memory_bytes(&self) -> usize {
        // The bytes and their ends a second time for the dictionary.
        2 * self.bytes.capacity()
            + self.ends.len() * ENTRY_BYTES
            + self.stacks.memory_bytes()
            + self.labels.memory_bytes()
    }
}

fn text_of<'a>(bytes: &'a str, ends: &[usize], number: u32) -> &'a str {
    let at = number as usize;
    let start = at.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[start..ends[at]]
}

/// Distinct runs of numbers.
#[derive(Default)]
struct Runs {
    numbers: Vec<u32>,
    ends: Vec<usize>,
    ids: HashTable<u32>,
}

impl Runs {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, number: u32) -> &[u32] {
        run_of(&self.numbers, &self.ends, number)
    }

    fn add(&mut self, run: &[u32], hasher: &DefaultHashBuilder) -> Result<u32> {
        let hash = hash_of(run, hasher);
        let Self { numbers, ends, ids } = self;
        if let Some(number) = ids.find(hash, |number| run_of(numbers, ends, *number) == run) {
            return Ok(*number);
        }
        let number = number(ends.len())?;
        numbers.extend_from_slice(run);
        ends.push(numbers.len());
        ids.insert_unique(hash, number, |number| hash_of(run_of(numbers, ends, *number), hasher));
        Ok(number)
    }

    fn memory_bytes(&self) -> usize {
        self.numbers.capacity() * size_of::<u32>() + self.ends.len() * ENTRY_BYTES
    }
}

fn hash_of<T: Hash + ?Sized>(of: &T, hasher: &DefaultHashBuilder) -> u64 {
    hasher.hash_one(of)
}

fn run_of<'a>(numbers: &'a [u32], ends: &[usize], number: u32) -> &'a [u32] {
    let at = number as usize;
    let start = at.checked_sub(1).map_or(0, |before| ends[before]);
    &numbers[start..ends[at]]
}

/// The next number of what there are `count` of.
fn number(count: usize) -> Result<u32> {
    u32::try_from(count).ok().filter(|number| *number < u32::MAX).ok_or_else(|| {
        Error::exhausted("a statement has met too many names; ask for fewer rows").with("limit", u32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_has_one_number() {
        let mut known = Known::default();
        let texts = ["", "main", "read", "main", ""].map(|text| known.add_text(text).unwrap());
        assert_eq!(texts, [0, 1, 2, 1, 0]);
        assert_eq!((known.text(0), known.text(2), known.find_text("poll")), ("", "read", None));
        let stacks = [&[1, 2][..], &[], &[1], &[2, 1], &[1, 2]].map(|frames| known.add_stack(frames).unwrap());
        assert_eq!(stacks, [0, 1, 2, 3, 0]);
        assert_eq!((known.stack(0), known.stack(1), known.stack(3)), (&[1, 2][..], &[][..], &[2, 1][..]));
        let labels = Labels::from_pairs([("b", "2"), ("a", "1")]).unwrap();
        let number = known.add_labels(&labels).unwrap();
        assert_eq!(known.add_labels(&labels).unwrap(), number);
        let pairs: Vec<_> = known.labels(number).map(|(name, value)| (known.text(name), known.text(value))).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "2")]);
    }

    #[test]
    fn many_are_told_apart() {
        let mut known = Known::default();
        for turn in 0..2 {
            for number in 0..5000_u32 {
                assert_eq!(known.add_text(&format!("f{number}")).unwrap(), number, "turn {turn}");
                assert_eq!(known.add_stack(&[number, number / 2]).unwrap(), number, "turn {turn}");
            }
        }
        assert_eq!(known.text(4321), "f4321");
        assert_eq!(known.stack(4321), [4321, 2160]);
    }
}
