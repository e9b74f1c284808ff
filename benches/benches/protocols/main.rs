//! What does each protocol cost, against the same samples pushed as pprof?
//!
//! The profiles of a fleet are written in every format that is taken, as its profilers send it: OTLP and JFR gzipped, records of
//! Arrow with LZ4, text and trees as they are. One way decodes and stores
//! these; the other decodes and stores pprof (gzip) that holds what was decoded: the same stacks, values and labels. Both run
//! in turns, into a store in memory without a log. What is around a payload, HTTP and gRPC, is not measured: it is the same for
//! all. `FLAMESTORE_BENCH_PROTOCOL` picks those whose name has it. Pyroscope's push, Parca's `WriteRaw`, Datadog's intake, forms of `/ingest` and scraped targets hand over pprof as it is.

#[expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]
#[allow(dead_code, reason = "the decoder's tests use the rest")]
#[path = "../../../crates/formats/tests/parca/record.rs"]
mod record;
#[expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]
#[allow(dead_code, reason = "the decoder's tests use the rest")]
#[path = "../../../crates/formats/tests/jfr/recording.rs"]
mod recording;
#[path = "../../../crates/formats/tests/wire/mod.rs"]
mod wire;
mod written;

use std::sync::Arc;

use bytes::Bytes;
use flamestore_benches::{Goal, Report, Turns, fleet, rounds};
use flamestore_formats::{
    FoldedOptions, JfrOptions, Limits, ParcaRecords, decode_folded, decode_jfr, decode_lines, decode_otlp,
    decode_pprof, decode_speedscope, decode_tree, decode_trie, gzip,
};
use flamestore_model::{Labels, ProfileBatch, Result as ModelResult, Tenant};
use flamestore_store::{Background, Bucket, PushProfile, Store, StoreOptions};
use flamestore_testkit::pack_pprof;
use object_store::memory::InMemory;
use written::Observed;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A format: its name, what writes a profile in it, what reads it.
struct Protocol {
    name: &'static str,
    write: fn(&ProfileBatch) -> Outcome<Vec<u8>>,
    read: fn(Bytes, &Limits) -> ModelResult<Vec<ProfileBatch>>,
}

/// A payload and the labels of its service.
type Sent = (Labels, Bytes);

const PROTOCOLS: [Protocol; 10] = [
    Protocol {
        name: "OTLP 1.10, values by stack",
        write: |batch| zipped(written::otlp(batch, Observed::No)),
        read: read_otlp,
    },
    Protocol {
        name: "OTLP 1.10, a time for each observation",
        write: |batch| zipped(written::otlp(batch, Observed::Times)),
        read: read_otlp,
    },
    Protocol {
        name: "OTLP 1.10, a time and a span for each",
        write: |batch| zipped(written::otlp(batch, Observed::TimesAndSpans)),
        read: read_otlp,
    },
    Protocol {
        name: "Parca, records of Arrow (v2, LZ4)",
        write: |batch| Ok(written::record(batch)),
        read: read_record,
    },
    Protocol {
        name: "JFR, an event for each sample that was taken",
        write: |batch| zipped(written::recording(batch)),
        read: read_recording,
    },
    Protocol {
        name: "folded text",
        write: |batch| Ok(written::folded(batch)),
        read: |bytes, limits| one(decode_folded(bytes, &FoldedOptions::default(), limits)),
    },
    Protocol {
        name: "lines",
        write: |batch| Ok(written::lines(batch)),
        read: |bytes, limits| one(decode_lines(bytes, &FoldedOptions::default(), limits)),
    },
    Protocol {
        name: "tree",
        write: |batch| Ok(written::tree(batch)),
        read: |bytes, limits| one(decode_tree(bytes, &FoldedOptions::default(), limits)),
    },
    Protocol {
        name: "trie",
        write: |batch| Ok(written::trie(batch)),
        read: |bytes, limits| one(decode_trie(bytes, &FoldedOptions::default(), limits)),
    },
    Protocol {
        name: "speedscope",
        write: |batch| Ok(written::speedscope(batch)),
        read: |bytes, limits| {
            let profiles = decode_speedscope(bytes, &FoldedOptions::default(), limits)?;
            Ok(profiles.into_iter().map(|profile| profile.batch).collect())
        },
    },
];

fn main() -> Outcome<()> {
    let fleet = fleet();
    let report = Report::new("What does each protocol cost, against the same samples pushed as pprof?");
    let mut profiles = Vec::new();
    for service in fleet.services() {
        profiles.extend(service.run().map(|scrape| (service.labels(), service.batch(&scrape))));
    }
    report.note(format!("{} profiles, real stacks: {}", profiles.len(), fleet.is_real()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let wanted = std::env::var("FLAMESTORE_BENCH_PROTOCOL").unwrap_or_default();
    for protocol in PROTOCOLS.iter().filter(|protocol| protocol.name.contains(&wanted)) {
        measure(&report, &runtime, protocol, &profiles)?;
    }
    Ok(())
}

fn measure(
    report: &Report,
    runtime: &tokio::runtime::Runtime,
    protocol: &Protocol,
    profiles: &[(Labels, ProfileBatch)],
) -> Outcome<()> {
    let limits = Limits::default();
    let (mut sent, mut pprofs): (Vec<Sent>, Vec<Sent>) = (Vec::new(), Vec::new());
    let mut samples = 0;
    for (labels, batch) in profiles {
        let bytes = Bytes::from((protocol.write)(batch)?);
        for read in (protocol.read)(bytes.clone(), &limits)? {
            samples += read.samples.len();
            pprofs.push((labels.clone(), pack_pprof(&read).into()));
        }
        sent.push((labels.clone(), bytes));
    }
    let mut turns = Turns::default();
    for _ in 0..rounds() {
        turns.run_threads(0, || runtime.block_on(store_all(&sent, protocol.read)))?;
        turns.run_threads(1, || runtime.block_on(store_all(&pprofs, read_pprof)))?;
    }
    let nanos = |way: usize| turns.median(way) / samples as f64 * 1e9;
    let size = |all: &[Sent]| all.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() as f64 / samples as f64;
    report.note(format!(
        "{}: {samples} samples, {:.1} B each; as pprof {:.1}",
        protocol.name,
        size(&sent),
        size(&pprofs)
    ));
    report.figure("  decoded and stored", nanos(0), "ns/sample");
    report.figure("  the same samples as pprof", nanos(1), "ns/sample");
    report.goal("  ratio", turns.median(0) / turns.median(1), "×", Goal::AtMost(2.0));
    Ok(())
}

/// Decodes and stores all of `sent`, into a store of its own.
async fn store_all(sent: &[Sent], read: fn(Bytes, &Limits) -> ModelResult<Vec<ProfileBatch>>) -> Outcome<()> {
    let mut options = StoreOptions::new(Bucket::new(Arc::new(InMemory::new()), "", "memory:"));
    options.background = Background::Off;
    options.head_bytes_max = 8 << 30;
    options.wal.durability = flamestore_store::Durability::None;
    let (store, limits) = (Store::open(options).await?, Limits::default());
    for (at, (labels, bytes)) in (0..).zip(sent) {
        for batch in read(bytes.clone(), &limits)? {
            let (tenant, labels) = (Tenant::default(), labels.clone());
            store
                .push(PushProfile { tenant, labels, batch, received: None, id: None, time_unix_nano: Some(at) })
                .await?;
        }
    }
    Ok(())
}

fn zipped(bytes: Vec<u8>) -> Outcome<Vec<u8>> {
    Ok(gzip(&bytes)?)
}

fn one(batch: ModelResult<ProfileBatch>) -> ModelResult<Vec<ProfileBatch>> {
    batch.map(|batch| vec![batch])
}

fn read_pprof(bytes: Bytes, limits: &Limits) -> ModelResult<Vec<ProfileBatch>> {
    one(decode_pprof(bytes, limits))
}

fn read_otlp(bytes: Bytes, limits: &Limits) -> ModelResult<Vec<ProfileBatch>> {
    // a request is decompressed before it is decoded
    let bytes = flamestore_formats::decompress(bytes, limits)?;
    decode_otlp(bytes, limits)?.profiles().map(|profile| profile.map(|profile| profile.batch)).collect()
}

fn read_record(bytes: Bytes, limits: &Limits) -> ModelResult<Vec<ProfileBatch>> {
    let mut records = ParcaRecords::new(limits.clone());
    records.add(bytes)?;
    records.finish()?.profiles().map(|profile| profile.map(|profile| profile.batch)).collect()
}

fn read_recording(bytes: Bytes, limits: &Limits) -> ModelResult<Vec<ProfileBatch>> {
    let profiles = decode_jfr(bytes, &JfrOptions::default(), limits)?;
    Ok(profiles.into_iter().map(|profile| profile.batch).collect())
}
