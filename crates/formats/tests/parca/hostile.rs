//! Streams that lie.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_buffer::Buffer;
use arrow_ipc::CompressionType;
use expect_test::{Expect, expect};
use flamestore_formats::Limits;

use crate::record::{Record, batch, endless, stream};
use crate::{read, shown};

fn refused(bytes: Vec<u8>, expected: Expect) {
    expected.assert_eq(shown(&[bytes], &Limits::default()).trim_end());
}

fn example(compression: Option<CompressionType>) -> Vec<u8> {
    stream(&[Record::example().v2()], compression)
}

#[test]
fn streams_that_end_early_are_refused_or_hold_less() {
    let whole = example(Some(CompressionType::LZ4_FRAME));
    let all = shown(std::slice::from_ref(&whole), &Limits::default());
    for end in 0..whole.len() {
        let shown = shown(&[whole[..end].to_vec()], &Limits::default());
        assert!(shown.starts_with("Invalid: Arrow message ") || shown.is_empty() || shown == all, "{end}: {shown}");
    }
    refused(vec![], expect!["Invalid: Arrow message 0: the stream ends without a schema [bytes=0]"]);
    refused(
        b"GET / HTTP/1.1".to_vec(),
        expect!["Invalid: Arrow message 0: its description is longer than the stream [bytes=542393671, left=10]"],
    );
}

#[test]
fn no_bytes_make_it_panic() {
    // what the library panics of is caught, and not worth thousands of messages
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some("hostile::no_bytes_make_it_panic") {
            tell(panic);
        }
    }));
    let record = Record::example();
    let v1 = stream(&[record.v1_samples()], None);
    let stacks = stream(&[record.v1_stacks(None)], Some(CompressionType::LZ4_FRAME));
    let limits = Limits { decompressed_bytes_max: 1 << 20, ..Limits::default() };
    for whole in [example(None), example(Some(CompressionType::LZ4_FRAME)), v1, stacks] {
        let mut state = 13u64;
        for _ in 0..3000 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 20).to_le_bytes()[0];
            }
            shown(&[bytes], &limits);
        }
    }
}

#[test]
fn a_compressed_buffer_is_no_longer_than_it_claims_and_claims_no_more_than_it_may() {
    let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; 1 << 17]));
    let bomb = stream(&[batch(vec![("value", zeros, false)])], Some(CompressionType::LZ4_FRAME));
    assert!(bomb.len() < 16 << 10, "{}", bomb.len());
    let small = Limits { decompressed_bytes_max: 100_000, ..Limits::default() };
    expect![[r#"
        Exhausted: Arrow message 1: the profile is over the limit decompressed_bytes_max [limit=100000, found=1048576]
    "#]]
    .assert_eq(&shown(std::slice::from_ref(&bomb), &small));
    // the claim is eight bytes before the first frame
    let magic = bomb.windows(4).position(|bytes| bytes == [0x04, 0x22, 0x4d, 0x18]).unwrap();
    let claim = |bytes: i64| {
        let mut lying = bomb.clone();
        lying[magic - 8..magic].copy_from_slice(&bytes.to_le_bytes());
        lying
    };
    for wrong in [1000, -2, 2 << 20, 50 << 20] {
        let expected = "Invalid: Arrow message 1: a compressed buffer is not as long as it claims";
        assert_eq!(shown(&[claim(wrong)], &Limits::default()), format!("{expected} [bytes={wrong}]\n"));
    }
    refused(
        claim(1 << 40),
        expect![
            "Exhausted: Arrow message 1: the profile is over the limit decompressed_bytes_max [limit=67108864, found=1099511627776]"
        ],
    );
}

#[test]
fn rows_that_cost_nothing_are_not_believed() {
    let rows = i32::MAX;
    let columns = vec![
        ("value", endless(rows), false),
        ("producer", endless(rows), false),
        ("stacktrace_id", endless(rows), false),
    ];
    refused(stream(&[batch(columns)], None), expect!["Invalid: it is not text [type=Int64, column=stacktrace_id]"]);
}

/// Rows that are views of the same bytes cost sixteen bytes each, whatever they are long.
#[test]
fn views_of_the_same_text_are_counted_as_often_as_they_are_looked_up() {
    let rows = 200;
    let mut names = StringViewBuilder::new();
    let block = names.append_block(Buffer::from(vec![b'x'; 32 << 10]));
    (0..rows).for_each(|_| names.try_append_view(block, 0, 32 << 10).unwrap());
    let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; rows]));
    let producer: ArrayRef = Arc::new(StringArray::from(vec!["x"; rows]));
    let columns = vec![
        ("value", zeros, false),
        ("stacktrace_id", Arc::clone(&producer), false),
        ("producer", producer, false),
        ("labels.a", Arc::new(names.finish()) as ArrayRef, false),
    ];
    let bytes = stream(&[batch(columns)], None);
    let limits = Limits { decompressed_bytes_max: 64 << 10, ..Limits::default() };
    expect![[r#"
        Exhausted: the profile is over the limit bytes of Arrow text in all rows [limit=1048576, found=1048609]
    "#]]
    .assert_eq(&shown(&[bytes], &limits));
}

#[test]
fn lines_are_counted_as_often_as_they_are_looked_up() {
    let record = Record::example();
    let samples = stream(&[record.v1_samples()], None);
    let stacks = stream(&[record.v1_stacks(None)], None);
    let limits = Limits { stack_locations_max: 6, ..Limits::default() };
    expect![[r#"
        Exhausted: the profile is over the limit lines of Arrow in all rows [limit=6, found=7]
    "#]]
    .assert_eq(&shown(&[stacks, samples], &limits));
}

#[test]
fn an_id_of_a_stack_is_short() {
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let id: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(257)]));
    let columns = vec![("value", number, false), ("producer", Arc::clone(&id), false), ("stacktrace_id", id, false)];
    refused(
        stream(&[batch(columns)], None),
        expect!["Exhausted: the profile is over the limit bytes of a stack's id [limit=256, found=257]"],
    );
}

#[test]
fn columns_of_another_type_are_named() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let check = |name: &'static str, wrong: &ArrayRef, expected: Expect| {
        let mut columns = vec![("value", number.clone(), false), ("producer", text.clone(), false)];
        columns.push(("stacktrace_id", text.clone(), false));
        columns.retain(|(found, ..)| *found != name);
        columns.push((name, Arc::clone(wrong), true));
        refused(stream(&[batch(columns)], None), expected);
    };
    check("stacktrace", &text, expect!["Invalid: it is not a list [type=Utf8, column=stacktrace]"]);
    check("timestamp", &text, expect!["Invalid: it is not an integer [type=Utf8, column=timestamp]"]);
    check("producer", &number, expect!["Invalid: it is not text [type=Int64, column=producer]"]);
    check("value", &text, expect!["Invalid: the column value is not one of integers"]);
    check("labels", &number, expect!["Invalid: it is not a struct [type=Int64, column=labels]"]);
    check("labels.a", &number, expect!["Invalid: it is not text [type=Int64, label=a]"]);
}

#[test]
fn a_request_over_a_limit_is_refused() {
    let bytes = example(None);
    let check = |limits: Limits, name: &str| {
        let shown = shown(std::slice::from_ref(&bytes), &limits);
        let is_over = shown.starts_with("Exhausted") && shown.contains(&format!("over the limit {name} "));
        assert!(is_over, "{name}: {shown}");
    };
    let all = Limits::default;
    check(Limits { decompressed_bytes_max: 1000, ..all() }, "decompressed_bytes_max");
    check(Limits { profiles_max: 1, ..all() }, "profiles_max");
    check(Limits { samples_max: 4, ..all() }, "samples_max");
    check(Limits { strings_max: 5, ..all() }, "strings_max");
    check(Limits { string_bytes_max: 3, ..all() }, "string_bytes_max");
    check(Limits { stack_depth_max: 2, ..all() }, "stack_depth_max");
    check(Limits { stack_locations_max: 7, ..all() }, "stack_locations_max");
    check(Limits { functions_max: 2, ..all() }, "functions_max");
    check(Limits { locations_max: 3, ..all() }, "locations_max");
    check(Limits { mappings_max: 1, ..all() }, "mappings_max");
    check(Limits { lines_per_location_max: 1, ..all() }, "lines_per_location_max");
    check(Limits { lines_max: 2, ..all() }, "lines_max");
    check(Limits { labels_per_sample_max: 2, ..all() }, "labels_per_sample_max");
    check(Limits { labels_max: 2, ..all() }, "labels_max");
    assert_eq!(read(std::slice::from_ref(&bytes), &all()).unwrap().len(), 3);
}
