//! Real folded text, trees and files of speedscope's, where `FLAMESTORE_CORPUS` has them.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::PathBuf;

use bytes::Bytes;
use expect_test::expect;
use flamestore_formats::{
    FoldedOptions, Limits, decode_folded, decode_speedscope, decode_tree, decode_trie, encode_folded, frame_name,
};
use flamestore_model::ProfileBatch;

fn file(name: &str) -> Option<Bytes> {
    let path = PathBuf::from(std::env::var_os("FLAMESTORE_CORPUS")?).join(name);
    Some(Bytes::from(std::fs::read(path).unwrap()))
}

fn total(batch: &ProfileBatch) -> i64 {
    batch.samples.values.iter().sum()
}

#[test]
fn real_folded_text_keeps_its_lines_and_their_sum() {
    for name in ["text/java_folded.txt", "text/dotnet_folded.txt"] {
        let Some(bytes) = file(name) else { return };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines = || text.lines().filter(|line| !line.is_empty());
        let sum: i64 = lines().map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()).sum();
        let batch = decode_folded(bytes, &FoldedOptions::default(), &Limits::default()).unwrap();
        assert_eq!((batch.samples.len(), total(&batch)), (lines().count(), sum), "{name}");
    }
}

/// The next number of a tree's bytes.
fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// Reads a tree the plain way: `root;child value` of each node with a value.
fn plain_lines(mut bytes: &[u8]) -> Vec<String> {
    let (mut lines, mut open) = (Vec::new(), Vec::<(String, u64)>::new());
    while !bytes.is_empty() {
        let length = usize::try_from(varint(&mut bytes)).unwrap();
        let (name, rest) = bytes.split_at(length);
        bytes = rest;
        let (value, children) = (varint(&mut bytes), varint(&mut bytes));
        let parent = open.last().map(|(stack, _)| stack.clone()).unwrap_or_default();
        let separator = if parent.is_empty() { "" } else { ";" };
        let stack = format!("{parent}{separator}{}", String::from_utf8_lossy(name));
        if value > 0 {
            lines.push(format!("{stack} {value}"));
        }
        if let Some((_, left)) = open.last_mut() {
            *left -= 1;
        }
        open.push((stack, children));
        while open.last().is_some_and(|(_, left)| *left == 0) {
            open.pop();
        }
    }
    lines
}

#[test]
fn large_trees_have_the_stacks_of_a_plain_reading() {
    for name in ["trees/diff_left_tree.bin", "trees/diff_right_tree.bin"] {
        let Some(bytes) = file(name) else { return };
        let lines = plain_lines(&bytes);
        let batch = decode_tree(bytes, &FoldedOptions::default(), &Limits::default()).unwrap();
        assert_eq!(batch.samples.len(), lines.len(), "{name}");
        for (row, line) in lines.iter().enumerate() {
            let names = batch.samples.stack(row).iter().rev().map(|location| frame_name(&batch, *location, 0));
            let stack = names.collect::<Vec<_>>().join(";");
            assert_eq!(format!("{stack} {}", batch.values(row)[0]), *line, "{name}: row {row}");
        }
    }
}

#[test]
fn stacks_of_real_folded_text_come_back_from_a_trie() {
    let Some(bytes) = file("text/java_folded.txt") else { return };
    let folded = decode_folded(bytes, &FoldedOptions::default(), &Limits::default()).unwrap();
    let text = encode_folded(&folded, 0);
    let lines: Vec<(&str, u64)> =
        text.lines().map(|line| line.rsplit_once(' ').unwrap()).map(|(k, v)| (k, v.parse().unwrap())).collect();
    let trie = Bytes::from(trie_of("", &lines));
    let decoded = decode_trie(trie, &FoldedOptions::default(), &Limits::default()).unwrap();
    assert_eq!(encode_folded(&decoded, 0), text);
}

/// A node of a trie for `lines`, which are sorted and begin with `prefix`; children differ in their first letter.
fn trie_of(prefix: &str, lines: &[(&str, u64)]) -> Vec<u8> {
    let common = lines.iter().fold(lines[0].0, |common, (line, _)| {
        let length = common.bytes().zip(line.bytes()).take_while(|(a, b)| a == b).count();
        &common[..(0..=length).rev().find(|at| common.is_char_boundary(*at)).unwrap()]
    });
    let (own, rest): (Vec<_>, Vec<_>) = lines.iter().partition(|(line, _)| line.len() == common.len());
    let rest: Vec<(&str, u64)> = rest;
    let groups: Vec<&[(&str, u64)]> =
        rest.chunk_by(|a, b| a.0.as_bytes()[common.len()] == b.0.as_bytes()[common.len()]).collect();
    let number = |mut value: u64| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push((value & 0x7f).to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        bytes.push(value.to_le_bytes()[0]);
        bytes
    };
    let name = &common.as_bytes()[prefix.len()..];
    let head = [
        number(name.len() as u64),
        name.to_vec(),
        number(own.iter().map(|(_, value)| value).sum()),
        number(groups.len() as u64),
    ];
    let children = groups.iter().flat_map(|group| trie_of(common, group));
    head.concat().into_iter().chain(children).collect()
}

#[test]
fn real_files_of_speedscope_are_read() {
    let mut shown = String::new();
    for name in ["simple", "two-sampled", "two-sampled-bytes", "duplicates"] {
        let Some(bytes) = file(&format!("text/{name}.speedscope.json")) else { return };
        for profile in decode_speedscope(bytes, &FoldedOptions::default(), &Limits::default()).unwrap() {
            let strings = &profile.batch.symbols.strings;
            let ty = profile.batch.header.sample_types[0];
            shown += &format!("{name} {:?} {}/{}\n", profile.name, strings.text(ty.ty), strings.text(ty.unit));
            shown += &encode_folded(&profile.batch, 0);
        }
    }
    expect![[r#"
        simple "simple.txt" samples/count
        a;b 5
        a;b;c 5
        a;b;d 4
        two-sampled "one" wall/nanoseconds
        a;b 5000000000
        a;b;c 5000000000
        a;b;d 4000000000
        two-sampled "two" wall/nanoseconds
        a;b 5000000000
        a;b;c 5000000000
        a;b;d 4000000000
        two-sampled-bytes "one" samples/bytes
        a;b 5
        a;b;c 5
        a;b;d 4
        two-sampled-bytes "two" samples/bytes
        a;b 5
        a;b;c 5
        a;b;d 4
        duplicates "one" wall/nanoseconds
        a;b 5000000000
        a;b;c 5000000000
        a;b;d 4000000000
        duplicates "one" wall/nanoseconds
        a;b 5000000000
        a;b;c 5000000000
        a;b;d 4000000000
        duplicates "one" wall/nanoseconds
        a;b 5000000000
        a;b;c 5000000000
        a;b;d 4000000000
    "#]]
    .assert_eq(&shown);
}
