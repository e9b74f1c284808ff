//! Records of Parca's agents: both versions, every encoding of columns, streams that lie.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod corpus;
mod hostile;
mod record;
#[path = "../wire/mod.rs"]
mod wire;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_ipc::CompressionType;
use bytes::Bytes;
use expect_test::{Expect, expect};
use flamestore_formats::{Limits, ParcaRecords, ParcaRequest};
use flamestore_model::Result;

use record::{Record, stack_id, stream};

/// The profiles of a request as text.
fn show(request: &ParcaRequest) -> String {
    let mut out = String::new();
    for profile in request.profiles() {
        match profile {
            Ok(profile) => {
                profile.batch.check().unwrap();
                let header = &profile.batch.header;
                let types = wire::types(&profile.batch);
                let time = format!("{}+{}", header.time_unix_nano, header.duration_nano);
                out += &format!("{} {types} at {time}\n{}", profile.labels, wire::rows(&profile.batch));
            }
            Err(error) => out += &format!("{:?}: {error}\n", error.kind()),
        }
    }
    out
}

fn read(streams: &[Vec<u8>], limits: &Limits) -> Result<ParcaRequest> {
    let mut records = ParcaRecords::new(limits.clone());
    for stream in streams {
        records.add(Bytes::copy_from_slice(stream))?;
    }
    records.finish()
}

fn shown(streams: &[Vec<u8>], limits: &Limits) -> String {
    match read(streams, limits) {
        Ok(request) => show(&request),
        Err(error) => format!("{:?}: {error}\n", error.kind()),
    }
}

fn check(batches: &[RecordBatch], expected: Expect) {
    let plain = shown(&[stream(batches, None)], &Limits::default());
    expected.assert_eq(&plain);
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        assert_eq!(shown(&[stream(batches, Some(compression))], &Limits::default()), plain);
    }
}

#[test]
fn a_record_of_version_2_is_a_profile_for_each_type_and_process() {
    check(
        &[Record::example().v2()],
        expect![[r#"
        {__name__="parca_agent", comm="api", node="n1"} samples/count per 52631578 cpu/nanoseconds at 1772366400000000000+1000000000
        main:9;serve:30;read:7 [1] thread_id="7" timestamp_ns=1772366400000000000nanoseconds
        main:9;serve:30;read:7 [1] thread_id="7" timestamp_ns=1772366400000000005nanoseconds
        main:9;serve:30;read:7;sys_read [1] thread_id="8" timestamp_ns=1772366400000000003nanoseconds
        {__name__="parca_agent", comm="web", node="n1"} samples/count per 52631578 cpu/nanoseconds at 1772366399999999999+1000000000
        0x30 [1] timestamp_ns=1772366399999999999nanoseconds
        {__name__="parca_agent", comm="api", node="n1"} wallclock/nanoseconds per 1 samples/count at 1772366400000000009+1000000000
         [250] thread_id="7" timestamp_ns=1772366400000000009nanoseconds
    "#]],
    );
}

#[test]
fn a_record_of_version_1_gives_the_same_profiles_once_its_stacks_are_there() {
    let record = Record::example();
    let samples = stream(&[record.v1_samples()], None);
    let stacks = stream(&[record.v1_stacks(None)], None);
    let expected = shown(&[stream(&[record.v2()], None)], &Limits::default());
    assert_eq!(shown(&[samples.clone(), stacks.clone()], &Limits::default()), expected);
    // nothing says that samples come first
    assert_eq!(shown(&[stacks, samples], &Limits::default()), expected);
}

/// `pyarrow.py` makes the stream: its dictionaries, runs and views lie otherwise in it than those of the builder here.
#[test]
fn a_record_of_another_writer_gives_the_same_profiles() {
    let expected = shown(&[stream(&[Record::example().v2()], None)], &Limits::default());
    assert_eq!(shown(&[include_bytes!("pyarrow.arrows").to_vec()], &Limits::default()), expected);
}

#[test]
fn stacks_that_are_not_there_are_asked_for_and_a_stack_that_never_comes_is_empty() {
    let record = Record::example();
    let mut records = ParcaRecords::new(Limits::default());
    records.add(stream(&[record.v1_samples()], None).into()).unwrap();
    let mut asked: Vec<Vec<u8>> = Vec::new();
    let answer = records.ask().unwrap().unwrap();
    for batch in arrow_ipc::reader::StreamReader::try_new(answer.as_slice(), None).unwrap() {
        let batch = batch.unwrap();
        let ids = batch.column_by_name("stacktrace_id").unwrap().as_binary::<i32>();
        asked.extend(ids.iter().map(|id| id.unwrap().to_vec()));
    }
    let mut expected: Vec<Vec<u8>> =
        [vec![0, 1], vec![3, 0, 1], vec![2], vec![]].map(|stack| stack_id(&stack).to_vec()).into();
    expected.sort();
    assert_eq!(asked, expected);

    records.add(stream(&[record.v1_stacks(Some(&[2]))], None).into()).unwrap();
    assert!(records.ask().unwrap().is_some());
    let request = records.finish().unwrap();
    assert_eq!(request.missing_stacks(), 1);
    expect![[r#"
        {__name__="parca_agent", comm="api", node="n1"} samples/count per 52631578 cpu/nanoseconds at 1772366400000000000+1000000000
        main:9;serve:30;read:7 [1] thread_id="7" timestamp_ns=1772366400000000000nanoseconds
        main:9;serve:30;read:7 [1] thread_id="7" timestamp_ns=1772366400000000005nanoseconds
        main:9;serve:30;read:7;sys_read [1] thread_id="8" timestamp_ns=1772366400000000003nanoseconds
        {__name__="parca_agent", comm="web", node="n1"} samples/count per 52631578 cpu/nanoseconds at 1772366399999999999+1000000000
         [1] timestamp_ns=1772366399999999999nanoseconds
        {__name__="parca_agent", comm="api", node="n1"} wallclock/nanoseconds per 1 samples/count at 1772366400000000009+1000000000
         [250] thread_id="7" timestamp_ns=1772366400000000009nanoseconds
    "#]].assert_eq(&show(&request));
}

#[test]
fn records_of_one_stream_share_their_profiles() {
    let record = Record::example();
    let both = shown(&[stream(&[record.v2(), record.v2()], Some(CompressionType::LZ4_FRAME))], &Limits::default());
    let one = shown(&[stream(&[record.v2()], None)], &Limits::default());
    let rows = |shown: &str| shown.lines().filter(|line| !line.starts_with('{')).count();
    let profiles =
        |shown: &str| shown.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((profiles(&both), rows(&both)), (profiles(&one), 2 * rows(&one)));
}

#[test]
fn a_record_without_rows_is_no_profile() {
    let record = Record { samples: Vec::new(), ..Record::example() };
    check(&[record.v2()], expect![[""]]);
}

#[test]
fn columns_that_are_missing_are_empty_or_named() {
    let without = |names: &[&str]| {
        let batch = Record::example().v2();
        let kept: Vec<usize> =
            (0..batch.num_columns()).filter(|at| !names.contains(&batch.schema().field(*at).name().as_str())).collect();
        batch.project(&kept).unwrap()
    };
    check(
        &[without(&["labels", "timestamp", "period", "duration", "period_type"])],
        expect![[r#"
        {__name__="parca_agent"} samples/count per 0 /nanoseconds at 0+0
        main:9;serve:30;read:7 [1]
        main:9;serve:30;read:7 [1]
        main:9;serve:30;read:7;sys_read [1]
        0x30 [1]
        {__name__="parca_agent"} wallclock/nanoseconds per 0 /count at 0+0
         [250]
    "#]],
    );
    check(
        &[without(&["producer"])],
        expect![[r#"
        Invalid: the record has no column producer
    "#]],
    );
    check(
        &[without(&["stacktrace", "stacktrace_id"])],
        expect![[r#"
        Invalid: the record has no column stacktrace and none stacktrace_id
    "#]],
    );
    check(
        &[without(&["value"])],
        expect![[r#"
        Invalid: the record has neither samples nor locations
    "#]],
    );
}
