//! How much slower than merely unzipping them is taking profiles in, and how much faster than the usual libraries?

use std::collections::HashMap;
use std::io::Read;

use bytes::Bytes;
use flamestore_benches::{Goal, Report, Turns, fleet, rounds};
use flamestore_calltree::{Interned, Interner};
use flamestore_formats::{DecodeScratch, Limits, decode_pprof_with};
use flamestore_testkit::pack_pprof;
use libdeflater::Decompressor;
use prost::Message;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A profile as it arrives: its service and its bytes.
struct Arrived {
    service: usize,
    bytes: Bytes,
    samples: usize,
}

fn main() -> Outcome<()> {
    let fleet = fleet();
    let report =
        Report::new("How fast are profiles taken in, against unzipping alone and against the usual libraries?");
    let services: Vec<_> = fleet.services().collect();
    let mut native = vec![Vec::new(); fleet.options().scrapes];
    let mut managed = vec![Vec::new(); fleet.options().scrapes];
    for (number, service) in services.iter().enumerate() {
        for (at, scrape) in service.run().enumerate() {
            let bytes = Bytes::from(pack_pprof(&service.batch(&scrape)));
            let arrived = (number, bytes, scrape.stacks.len());
            if service.has_addresses() { native[at].push(arrived) } else { managed[at].push(arrived) }
        }
    }
    let flat = |all: Vec<Vec<(usize, Bytes, usize)>>| -> Vec<Arrived> {
        all.into_iter().flatten().map(|(service, bytes, samples)| Arrived { service, bytes, samples }).collect()
    };
    report.note(format!("real stacks: {}", fleet.is_real()));
    measure(&report, "native", &flat(native), services.len(), true)?;
    measure(&report, "JVM and Ruby, without addresses", &flat(managed), services.len(), false)
}

fn measure(report: &Report, what: &str, profiles: &[Arrived], services: usize, has_goals: bool) -> Outcome<()> {
    if profiles.is_empty() {
        return Ok(());
    }
    let mut turns = Turns::default();
    let mut warm = (0..services).map(|_| Interner::new(1)).collect::<Vec<_>>();
    let mut naive_warm = Naive::default();
    intern_all(profiles, &mut warm)?;
    naive_all(profiles, &mut naive_warm)?;
    let mut raw_bytes = 0;
    for _ in 0..rounds() {
        raw_bytes = turns.run(0, || gunzip_all(profiles))?;
        turns.run(1, || decode_all(profiles))?;
        turns.run(2, || intern_all(profiles, &mut warm))?;
        let mut cold = (0..services).map(|_| Interner::new(1)).collect::<Vec<_>>();
        turns.run(3, || intern_all(profiles, &mut cold))?;
        turns.run(4, || naive_all(profiles, &mut naive_warm))?;
    }
    let count = profiles.len() as f64;
    let samples: usize = profiles.iter().map(|profile| profile.samples).sum();
    let packed: usize = profiles.iter().map(|profile| profile.bytes.len()).sum();
    let stacks: usize = warm.iter().map(Interner::stacks).sum();
    report.note(format!(
        "{what}: {} profiles, {samples} samples, {stacks} stacks, {:.1} MB packed, {:.1} MB raw",
        profiles.len(),
        packed as f64 / 1e6,
        raw_bytes as f64 / 1e6
    ));
    let micros = |way: usize| turns.median(way) / count * 1e6;
    report.figure("floor: gunzip alone (libdeflate, buffer reused)", micros(0), "µs/profile");
    report.figure("gunzip + decode", micros(1), "µs/profile");
    report.figure("gunzip + decode + intern, stacks known", micros(2), "µs/profile");
    report.figure("gunzip + decode + intern, from nothing", micros(3), "µs/profile");
    report.figure("peer: flate2 + prost + HashMap, stacks known", micros(4), "µs/profile");
    let speed = 100.0 * turns.median(0) / turns.median(2);
    let cold = 100.0 * turns.median(0) / turns.median(3);
    let peer = turns.median(4) / turns.median(2);
    if has_goals {
        report.goal("speed relative to gunzip alone", speed, "%", Goal::AtLeast(45.0));
        report.goal("times as fast as flate2 + prost + HashMap", peer, "×", Goal::AtLeast(4.0));
    } else {
        report.figure("speed relative to gunzip alone", speed, "%");
        report.figure("times as fast as flate2 + prost + HashMap", peer, "×");
    }
    report.figure("speed relative to gunzip alone, from nothing", cold, "%");
    Ok(())
}

fn gunzip_all(profiles: &[Arrived]) -> Outcome<usize> {
    let mut decompressor = Decompressor::new();
    let mut raw = Vec::new();
    let mut bytes = 0;
    for profile in profiles {
        let tail = profile.bytes.last_chunk::<4>().ok_or("a gzip file ends in its size")?;
        raw.resize(u32::from_le_bytes(*tail) as usize, 0);
        bytes += decompressor.gzip_decompress(&profile.bytes, &mut raw)?;
    }
    Ok(bytes)
}

fn decode_all(profiles: &[Arrived]) -> Outcome<usize> {
    let (limits, mut scratch, mut samples) = (Limits::default(), DecodeScratch::default(), 0);
    for profile in profiles {
        let batch = decode_pprof_with(&mut scratch, profile.bytes.clone(), &limits)?;
        samples += batch.samples.len();
        scratch.recycle(batch);
    }
    Ok(samples)
}

fn intern_all(profiles: &[Arrived], interners: &mut [Interner]) -> Outcome<usize> {
    let (limits, mut scratch, mut interned) = (Limits::default(), DecodeScratch::default(), Interned::default());
    let mut samples = 0;
    for profile in profiles {
        let batch = decode_pprof_with(&mut scratch, profile.bytes.clone(), &limits)?;
        interners[profile.service].intern_into(&batch, &mut interned)?;
        samples += interned.stacks.len();
        scratch.recycle(batch);
    }
    Ok(samples)
}

fn naive_all(profiles: &[Arrived], naive: &mut Naive) -> Outcome<usize> {
    let mut samples = 0;
    for profile in profiles {
        let mut raw = Vec::new();
        flate2::read::GzDecoder::new(&profile.bytes[..]).read_to_end(&mut raw)?;
        samples += naive.intern(&pprof::Profile::decode(&raw[..])?).ok_or("an id refers to nothing")?;
    }
    Ok(samples)
}

/// Interning as one writes it first: a map per table.
#[derive(Default)]
struct Naive {
    strings: HashMap<String, u32>,
    functions: HashMap<(u32, u32, u32, i64), u32>,
    locations: HashMap<(u64, Vec<(u32, i64)>), u32>,
    stacks: HashMap<Vec<u32>, u32>,
}

impl Naive {
    fn intern(&mut self, profile: &pprof::Profile) -> Option<usize> {
        let strings: Vec<u32> = profile.string_table.iter().map(|text| id(&mut self.strings, text.clone())).collect();
        let string = |at: i64| usize::try_from(at).ok().and_then(|at| strings.get(at)).copied();
        let mut functions = HashMap::new();
        for f in &profile.function {
            let key = (string(f.name)?, string(f.system_name)?, string(f.filename)?, f.start_line);
            functions.insert(f.id, id(&mut self.functions, key));
        }
        let mut locations = HashMap::new();
        for location in &profile.location {
            let lines = location.line.iter().map(|line| Some((*functions.get(&line.function_id)?, line.line)));
            let key = (location.address, lines.collect::<Option<Vec<_>>>()?);
            locations.insert(location.id, id(&mut self.locations, key));
        }
        for sample in &profile.sample {
            let stack = sample.location_id.iter().map(|location| locations.get(location).copied());
            id(&mut self.stacks, stack.collect::<Option<Vec<_>>>()?);
        }
        Some(profile.sample.len())
    }
}

fn id<K: std::hash::Hash + Eq>(ids: &mut HashMap<K, u32>, key: K) -> u32 {
    let next = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    *ids.entry(key).or_insert(next)
}

/// pprof's messages as prost decodes them.
mod pprof {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub(crate) sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) sample: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) mapping: Vec<Mapping>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub(crate) function: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub(crate) string_table: Vec<String>,
        #[prost(int64, tag = "9")]
        pub(crate) time_nanos: i64,
        #[prost(int64, tag = "10")]
        pub(crate) duration_nanos: i64,
        #[prost(message, optional, tag = "11")]
        pub(crate) period_type: Option<ValueType>,
        #[prost(int64, tag = "12")]
        pub(crate) period: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ValueType {
        #[prost(int64, tag = "1")]
        pub(crate) ty: i64,
        #[prost(int64, tag = "2")]
        pub(crate) unit: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub(crate) location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub(crate) value: Vec<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Mapping {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) memory_start: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) memory_limit: u64,
        #[prost(int64, tag = "5")]
        pub(crate) filename: i64,
        #[prost(int64, tag = "6")]
        pub(crate) build_id: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Location {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) mapping_id: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) address: u64,
        #[prost(message, repeated, tag = "4")]
        pub(crate) line: Vec<Line>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Line {
        #[prost(uint64, tag = "1")]
        pub(crate) function_id: u64,
        #[prost(int64, tag = "2")]
        pub(crate) line: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Function {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(int64, tag = "2")]
        pub(crate) name: i64,
        #[prost(int64, tag = "3")]
        pub(crate) system_name: i64,
        #[prost(int64, tag = "4")]
        pub(crate) filename: i64,
        #[prost(int64, tag = "5")]
        pub(crate) start_line: i64,
    }
}
