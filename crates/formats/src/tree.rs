//! The trees that Pyroscope's older clients send: of frames, and of letters.
//!
//! ```text
//! node   name length (varint)   name   value (varint)   number of children (varint)   the children
//! tree   a name is a frame; the root has none; a value is that of the stack down to the node
//! trie   a name is a piece of text; the pieces down to a node, put together, are a folded stack
//! ```
//!
//! A file is one node, the root. Nodes of value 0 are no samples. What lies open at a time is bounded by the depth of
//! stacks; what the stacks of all nodes come to, by `stack_locations_max` and `decompressed_bytes_max`.

use bytes::Bytes;
use flamestore_model::{Error, ProfileBatch, Result};

use crate::Limits;
use crate::limits::within;
use crate::stacks::{FoldedOptions, StackBuilder};
use crate::wire::Reader;

/// How many nodes of a trie one frame may be spread over, on average down a stack.
const PIECES_PER_FRAME_MAX: usize = 16;
/// How many times the bytes of a trie may be handled again as the text of longer names.
const HANDLED_TIMES_MAX: usize = 16;

/// Reads a tree of frames, compressed or not: a sample for each node with a value of its own.
///
/// # Errors
/// `Invalid` when the bytes are no tree, or more than one; `Exhausted` when the profile is over a limit.
pub fn decode_tree(bytes: Bytes, options: &FoldedOptions, limits: &Limits) -> Result<ProfileBatch> {
    let bytes = crate::decompress(bytes, limits)?;
    let mut stacks = StackBuilder::new(options, limits);
    let (mut path, mut stack) = (Vec::new(), Vec::new());
    walk(&bytes, limits.stack_depth_max.saturating_add(1), |node| {
        let Node { name, value, depth } = node;
        path.truncate(depth);
        path.push(if name.is_empty() { None } else { Some(stacks.frame(name)?) });
        if value != 0 {
            stack.clear();
            stack.extend(path.iter().flatten());
            stacks.push(&stack, value)?;
        }
        Ok(())
    })?;
    stacks.finish()
}

/// Reads a trie of folded stacks, compressed or not: a sample for each node with a value.
///
/// # Errors
/// As [`decode_tree`].
pub fn decode_trie(bytes: Bytes, options: &FoldedOptions, limits: &Limits) -> Result<ProfileBatch> {
    let bytes = crate::decompress(bytes, limits)?;
    let mut trie = Trie {
        stacks: StackBuilder::new(options, limits),
        limits,
        open: Vec::new(),
        frames: Vec::new(),
        text: Vec::new(),
        handled_bytes: 0,
    };
    let depth_max = limits.stack_depth_max.saturating_mul(PIECES_PER_FRAME_MAX);
    walk(&bytes, depth_max, |node| trie.node(node))?;
    trie.stacks.finish()
}

/// A node of a tree.
struct Node<'a> {
    name: &'a [u8],
    value: i64,
    depth: usize,
}

/// Calls `each` for every node, parents before children. At most `depth_max` nodes lie in each other.
fn walk<'a>(bytes: &'a [u8], depth_max: usize, mut each: impl FnMut(Node<'a>) -> Result<()>) -> Result<()> {
    let mut reader = Reader::new(bytes);
    // The children left of each node from the root on.
    let mut left: Vec<u64> = Vec::new();
    let mut at = 0u64;
    while at == 0 || !left.is_empty() {
        if left.last() == Some(&0) {
            left.pop();
            continue;
        }
        if let Some(children) = left.last_mut() {
            *children -= 1;
        }
        let name = reader.message().map_err(|_| wrong(at))?.rest();
        let value = reader.varint().map_err(|_| wrong(at))?;
        let value =
            i64::try_from(value).map_err(|_| Error::invalid(format!("node {at}: its value is beyond 63 bits")))?;
        let children = reader.varint().map_err(|_| wrong(at))?;
        each(Node { name, value, depth: left.len() })?;
        within("stack_depth_max", depth_max, left.len() + 1)?;
        left.push(children);
        at += 1;
    }
    match reader.left() {
        0 => Ok(()),
        left => Err(Error::invalid("not a tree: bytes follow its last node").with("nodes", at).with("bytes", left)),
    }
}

#[cold]
fn wrong(node: u64) -> Error {
    Error::invalid(format!("not a tree: the bytes end within node {node}"))
}

/// The text down to the current node: whole frames, and one that may go on in the children.
struct Trie<'a> {
    stacks: StackBuilder<'a>,
    limits: &'a Limits,
    /// What each open node ends with.
    open: Vec<Prefix>,
    /// The whole frames.
    frames: Vec<u32>,
    text: Vec<u8>,
    handled_bytes: usize,
}

/// How much of the path's frames and text belongs to a node, and where in the text the frame starts that is not whole.
#[derive(Clone, Copy, Default)]
struct Prefix {
    frames: usize,
    text: usize,
    frame_start: usize,
}

impl Trie<'_> {
    fn node(&mut self, node: Node<'_>) -> Result<()> {
        self.open.truncate(node.depth);
        let parent = self.open.last().copied().unwrap_or_default();
        self.frames.truncate(parent.frames);
        self.text.truncate(parent.text);
        self.text.extend_from_slice(node.name);
        let mut frame_start = parent.frame_start;
        for at in (parent.text..self.text.len()).filter(|at| self.text[*at] == b';').collect::<Vec<_>>() {
            self.whole_frame(frame_start, at)?;
            frame_start = at + 1;
        }
        self.open.push(Prefix { frames: self.frames.len(), text: self.text.len(), frame_start });
        if node.value != 0 {
            self.whole_frame(frame_start, self.text.len())?;
            self.stacks.push(&self.frames, node.value)?;
        }
        Ok(())
    }

    /// Adds the frame between two places of the text, unless it is empty.
    fn whole_frame(&mut self, start: usize, end: usize) -> Result<()> {
        if start < end {
            self.handled_bytes += end - start;
            let handled_max = self.limits.decompressed_bytes_max.saturating_mul(HANDLED_TIMES_MAX);
            within("decompressed_bytes_max", handled_max, self.handled_bytes)?;
            self.frames.push(self.stacks.frame(&self.text[start..end])?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode_folded;
    use expect_test::{Expect, expect};

    /// A node of a file: its name, its value, its children.
    fn node(name: &str, value: u64, children: &[Vec<u8>]) -> Vec<u8> {
        let varint = |mut value: u64| {
            let mut bytes = Vec::new();
            while value >= 0x80 {
                bytes.push((value & 0x7f).to_le_bytes()[0] | 0x80);
                value >>= 7;
            }
            bytes.push(value.to_le_bytes()[0]);
            bytes
        };
        let head = [varint(name.len() as u64), name.as_bytes().to_vec(), varint(value), varint(children.len() as u64)];
        [head.concat(), children.concat()].concat()
    }

    type Decode = fn(Bytes, &FoldedOptions, &Limits) -> Result<ProfileBatch>;

    fn check_under(decode: Decode, bytes: &[u8], limits: &Limits, expected: Expect) {
        let decoded = decode(Bytes::copy_from_slice(bytes), &FoldedOptions::default(), limits);
        expected.assert_eq(&decoded.map_or_else(|e| format!("{:?}: {e}", e.kind()), |batch| encode_folded(&batch, 0)));
    }

    fn check(decode: Decode, bytes: &[u8], expected: Expect) {
        check_under(decode, bytes, &Limits::default(), expected);
    }

    fn tree() -> Vec<u8> {
        let main = node("main", 300, &[node("read", 2, &[node("copy;it", 1, &[])]), node("write", 0, &[])]);
        node("", 0, &[main, node("idle", 7, &[])])
    }

    fn trie() -> Vec<u8> {
        let re = node("re", 0, &[node("ad", 2, &[node(";copy;", 1, &[])]), node("duce", 3, &[])]);
        node("", 0, &[node("mai", 0, &[node("n;", 5, &[re]), node("l", 4, &[])]), node("idle", 7, &[node("", 1, &[])])])
    }

    #[test]
    fn trees_give_a_stack_for_each_node_with_a_value() {
        check(
            decode_tree,
            &tree(),
            expect![[r#"
            idle 7
            main 300
            main;read 2
            main;read;copy;it 1
        "#]],
        );
        check(decode_tree, &node("", 0, &[]), expect![[""]]);
        let rootless = decode_tree(Bytes::from(node("", 9, &[])), &FoldedOptions::default(), &Limits::default());
        assert_eq!(rootless.map(|batch| encode_folded(&batch, 0)).ok().as_deref(), Some(" 9\n"));
    }

    #[test]
    fn the_pieces_of_a_trie_are_put_together() {
        check(
            decode_trie,
            &trie(),
            expect![[r#"
            idle 8
            mail 4
            main 5
            main;read 2
            main;read;copy 1
            main;reduce 3
        "#]],
        );
        check(
            decode_trie,
            &node("a;b", 3, &[]),
            expect![[r#"
            a;b 3
        "#]],
        );
    }

    #[test]
    fn trees_that_end_early_go_on_or_lie_are_refused() {
        for (decode, whole) in [(decode_tree as Decode, tree()), (decode_trie, trie())] {
            for end in 0..whole.len() {
                let decoded =
                    decode(Bytes::copy_from_slice(&whole[..end]), &FoldedOptions::default(), &Limits::default());
                assert_eq!(decoded.map(drop).map_err(|e| e.kind()), Err(flamestore_model::ErrorKind::Invalid), "{end}");
            }
        }
        check(decode_tree, &[], expect!["Invalid: not a tree: the bytes end within node 0"]);
        check(
            decode_tree,
            &[tree(), vec![0]].concat(),
            expect!["Invalid: not a tree: bytes follow its last node [nodes=6, bytes=1]"],
        );
        check(decode_tree, &[200, 1, b'a'], expect!["Invalid: not a tree: the bytes end within node 0"]);
        check(decode_tree, &node("a", u64::MAX, &[]), expect!["Invalid: node 0: its value is beyond 63 bits"]);
        // A billion children are claimed, none is there.
        check(
            decode_trie,
            &[0, 0, 0xff, 0xff, 0xff, 0xff, 7],
            expect!["Invalid: not a tree: the bytes end within node 1"],
        );
    }

    #[test]
    fn trees_are_under_the_limits() {
        let all = Limits::default;
        let chain = (0..9).fold(node("x", 1, &[]), |child, _| node("x", 1, &[child]));
        check_under(
            decode_tree,
            &chain,
            &Limits { stack_depth_max: 4, ..all() },
            expect!["Exhausted: the profile is over the limit stack_depth_max [limit=4, found=5]"],
        );
        check_under(
            decode_tree,
            &chain,
            &Limits { stack_locations_max: 30, ..all() },
            expect!["Exhausted: the profile is over the limit stack_locations_max [limit=30, found=36]"],
        );
        check_under(
            decode_tree,
            &chain,
            &Limits { samples_max: 5, ..all() },
            expect!["Exhausted: the profile is over the limit samples_max [limit=5, found=6]"],
        );
        // Four letters a node: each node's frame is longer than the one before.
        let pieces = (0..40).fold(node("xxxx", 1, &[]), |child, _| node("xxxx", 1, &[child]));
        check_under(
            decode_trie,
            &pieces,
            &Limits { decompressed_bytes_max: 400, ..all() },
            expect!["Exhausted: the profile is over the limit decompressed_bytes_max [limit=400, found=420]"],
        );
        check_under(
            decode_trie,
            &pieces,
            &Limits { stack_depth_max: 2, ..all() },
            expect!["Exhausted: the profile is over the limit stack_depth_max [limit=32, found=33]"],
        );
        check_under(
            decode_trie,
            &pieces,
            &Limits { string_bytes_max: 9, ..all() },
            expect!["Exhausted: the profile is over the limit string_bytes_max [limit=9, found=12]"],
        );
    }
}
