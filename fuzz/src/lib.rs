//! What fuzzing does with bytes from outside: one plain function a target, to be called by libFuzzer and by tests alike.
//! Each panics when a property does not hold.

use std::sync::Once;

use bytes::Bytes;
use flamestore_formats::{
    FoldedOptions, JfrOptions, Limits, OtlpRequest, ParcaRecords, SampledEvery, decode_folded, decode_jfr,
    decode_lines, decode_otlp, decode_otlp_json, decode_pprof, decode_speedscope, decode_tree, decode_trie,
    encode_pprof, pprof_equal,
};
use flamestore_model::{ErrorKind, ProfileBatch, Result, Selector};
use flamestore_segment::{Table, read_everything};

/// Limits small enough that a fuzzer reaches them.
fn limits() -> Limits {
    Limits { decompressed_bytes_max: 1 << 20, stack_depth_max: 512, string_bytes_max: 4096, ..Limits::default() }
}

/// A profile that is read passes its own check, and is equal when written and read again.
pub fn pprof(bytes: &[u8]) {
    let Ok(batch) = decode_pprof(Bytes::copy_from_slice(bytes), &limits()) else {
        return;
    };
    batch.check().expect("a decoded profile passes its check");
    let encoded = Bytes::from(encode_pprof(&batch));
    // What is written may be larger than what was read, so it is not read under the same limits.
    let again = decode_pprof(encoded, &Limits::default()).expect("an encoded profile is read");
    again.check().expect("a decoded profile passes its check");
    assert_eq!(batch.samples.len(), again.samples.len(), "samples are neither lost nor made");
    if let Err(difference) = pprof_equal(&batch, &again) {
        panic!("a profile changed on the way out and back in: {difference}");
    }
}

/// Every profile of a request passes its own check, and all together stay under the limits.
pub fn otlp(bytes: &[u8]) {
    if let Ok(request) = decode_otlp(Bytes::copy_from_slice(bytes), &limits()) {
        otlp_profiles(&request);
    }
}

/// [`otlp`] of the JSON form.
pub fn otlp_json(bytes: &[u8]) {
    if let Ok(request) = decode_otlp_json(Bytes::copy_from_slice(bytes), &limits()) {
        otlp_profiles(&request);
    }
}

fn otlp_profiles(request: &OtlpRequest) {
    let (mut profiles, mut samples) = (0, 0);
    for profile in request.profiles() {
        profiles += 1;
        let Ok(profile) = profile else { continue };
        profile.batch.check().expect("a decoded profile passes its check");
        samples += profile.batch.samples.len();
    }
    assert_eq!(profiles, request.len(), "every profile is an answer or an error");
    assert!(samples <= limits().samples_max, "profiles share the limits of their request");
}

/// Folded text, lines, a tree or a trie (the first byte tells which), with or without a period: what is read passes its check.
pub fn stacks(bytes: &[u8]) {
    type Decode = fn(Bytes, &FoldedOptions, &Limits) -> Result<ProfileBatch>;
    const DECODERS: [Decode; 4] = [decode_folded, decode_lines, decode_tree, decode_trie];
    let [which, rest @ ..] = bytes else { return };
    let every = SampledEvery { ty: "cpu".to_owned(), unit: "nanoseconds".to_owned(), period: 10_000_000 };
    let sampled_every = (*which >= 128).then_some(every);
    let options = FoldedOptions { sampled_every, ..FoldedOptions::default() };
    let decode = DECODERS[usize::from(*which) % DECODERS.len()];
    if let Ok(batch) = decode(Bytes::copy_from_slice(rest), &options, &limits()) {
        batch.check().expect("a decoded profile passes its check");
    }
}

/// Every profile of a file passes its own check, and all together stay under the limits.
pub fn speedscope(bytes: &[u8]) {
    let Ok(profiles) = decode_speedscope(Bytes::copy_from_slice(bytes), &FoldedOptions::default(), &limits()) else {
        return;
    };
    profiles.iter().for_each(|profile| profile.batch.check().expect("a decoded profile passes its check"));
    let samples: usize = profiles.iter().map(|profile| profile.batch.samples.len()).sum();
    assert!(samples <= limits().samples_max, "profiles share the limits of their file");
}

/// Every profile of a recording passes its own check, and all together stay under the limits. The first two bytes tell how
/// many of the others are the labels beside it.
pub fn jfr(bytes: &[u8]) {
    let Some(([low, high], rest)) = bytes.split_first_chunk::<2>() else { return };
    let (labels, recording) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()));
    let labels = (!labels.is_empty()).then(|| Bytes::copy_from_slice(labels));
    let options = JfrOptions { labels, ..JfrOptions::default() };
    let Ok(profiles) = decode_jfr(Bytes::copy_from_slice(recording), &options, &limits()) else {
        return;
    };
    profiles.iter().for_each(|profile| profile.batch.check().expect("a decoded profile passes its check"));
    let samples: usize = profiles.iter().map(|profile| profile.batch.samples.len()).sum();
    assert!(samples <= limits().samples_max, "profiles share the limits of their recording");
}

/// Every profile of a request passes its own check, and all together stay under the limits. The first two bytes tell how many of
/// the others are the first stream; the second one is read into the same request.
pub fn parca(bytes: &[u8]) {
    // The Arrow library panics on some damage, which the decoder catches: only what escapes it counts.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let Some(([low, high], rest)) = bytes.split_first_chunk::<2>() else { return };
    let (first, second) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()));
    let mut records = ParcaRecords::new(limits());
    for stream in [first, second] {
        if records.add(Bytes::copy_from_slice(stream)).is_ok() {
            records.ask().expect("the ids of stacks can be written");
        }
    }
    let Ok(request) = records.finish() else { return };
    let mut samples = 0;
    for profile in request.profiles() {
        let Ok(profile) = profile else { continue };
        profile.batch.check().expect("a decoded profile passes its check");
        samples += profile.batch.samples.len();
    }
    assert!(samples <= limits().samples_max, "profiles share the limits of their request");
}

/// A selector that is read prints as a text that is read as the same selector.
pub fn selector(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(selector) = text.parse::<Selector>() else {
        return;
    };
    let printed = selector.to_string();
    let again: Selector = printed.parse().expect("a printed selector is read");
    assert_eq!(selector, again, "a selector changed when printed as {printed}");
    selector.matches(|_| "value");
}

macro_rules! fixture {
    ($($table:literal),*) => {
        [$(($table, include_bytes!(concat!("../../crates/segment/fixtures/v1/", $table, ".parquet")).as_slice())),*]
    };
}

/// A sound segment, table by table.
const SEGMENT: [(&str, &[u8]); 12] = fixture!(
    "samples",
    "profiles",
    "series",
    "postings",
    "stacks",
    "call_sites",
    "locations",
    "functions",
    "mappings",
    "strings",
    "label_sets",
    "dictionaries"
);

/// A segment with a damaged table is read or is `Corrupt`. The first byte tells which table; the second whether the rest
/// takes its place or is a list of changes to it, each an offset of two bytes and the byte that then stands there.
pub fn segment(bytes: &[u8]) {
    // The Parquet reader panics on some damage, which the segment reader catches: only what escapes it counts.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let [which, replaces, rest @ ..] = bytes else { return };
    let damaged = usize::from(*which) % SEGMENT.len();
    let tables = SEGMENT.iter().enumerate().map(|(at, (name, sound))| {
        let table = Table::from_name(name).expect("a fixture is named after its table");
        (table, Bytes::from(if at == damaged { damage(sound, *replaces % 2 == 0, rest) } else { sound.to_vec() }))
    });
    if let Err(error) = read_everything(tables.collect()) {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

fn damage(sound: &[u8], replaces: bool, rest: &[u8]) -> Vec<u8> {
    if replaces {
        return rest.to_vec();
    }
    let mut table = sound.to_vec();
    for change in rest.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % table.len();
        table[at] = change[2];
    }
    table
}
