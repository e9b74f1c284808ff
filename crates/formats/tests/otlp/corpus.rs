//! Requests of real profilers, where `FLAMESTORE_CORPUS` has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use flamestore_formats::{Limits, OtlpLayout, OtlpRequest, TIMESTAMP, decode_otlp, decode_otlp_json};
use flamestore_model::{LabelValue, ProfileBatch};

use crate::{show, wire};

fn file(name: &str) -> Option<Bytes> {
    let path = PathBuf::from(std::env::var_os("FLAMESTORE_CORPUS")?).join("otlp").join(name);
    Some(Bytes::from(std::fs::read(path).unwrap()))
}

fn request(name: &str) -> Option<OtlpRequest> {
    Some(decode_otlp(file(name)?, &Limits::default()).unwrap())
}

fn has_type(batch: &ProfileBatch, ty: &str) -> bool {
    wire::types(batch).starts_with(ty)
}

/// Sums by stack, frames as the expected conversion writes them: `leaf;root`.
fn sums(request: &OtlpRequest, ty: &str, times: i64) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for profile in request.profiles() {
        let batch = profile.unwrap().batch;
        if !has_type(&batch, ty) {
            continue;
        }
        for row in 0..batch.samples.len() {
            let frames = batch.samples.stack(row).iter().map(|location| {
                let lines = batch.lines(*location).iter().map(|line| {
                    let function = batch.symbols.functions[line.function as usize];
                    batch.symbols.strings.text(function.name).into_owned()
                });
                lines.collect::<Vec<_>>().join(",")
            });
            *sums.entry(frames.collect::<Vec<_>>().join(";")).or_default() += batch.values(row)[0] * times;
        }
    }
    sums
}

/// The sums of an expected conversion, which leaves out what has no symbols.
fn expected(name: &str) -> Option<BTreeMap<String, i64>> {
    let json: serde_json::Value = serde_json::from_slice(&file(name)?).unwrap();
    let mut sums = BTreeMap::new();
    for sample in json["samples"].as_array().unwrap() {
        let frames = sample["locations"].as_array().unwrap().iter().map(|location| {
            let lines = location["lines"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
            let names = lines.map(|line| line.as_str().unwrap().split("[]@").next().unwrap().to_owned());
            names.collect::<Vec<_>>().join(",")
        });
        let value: i64 = sample["values"].as_str().unwrap().parse().unwrap();
        *sums.entry(frames.collect::<Vec<_>>().join(";")).or_default() += value;
    }
    Some(sums)
}

#[test]
fn a_request_of_the_ebpf_profiler_has_its_expected_stacks() {
    let Some(request) = request("otel-ebpf-profile.pb.bin") else { return };
    assert_eq!((request.layout(), request.len()), (OtlpLayout::V1_10, 82));
    for (ty, times, name) in
        [("off_cpu", 1, "otel-ebpf-profile-offcpu.out.json"), ("samples", 50_000_000, "otel-ebpf-profile-cpu.out.json")]
    {
        let (found, expected) = (sums(&request, ty, times), expected(name).unwrap());
        let missing: Vec<_> = expected.iter().filter(|(stack, sum)| found.get(*stack) != Some(sum)).collect();
        assert!(missing.is_empty(), "{ty}: {} of {}: {missing:?}", missing.len(), expected.len());
    }
}

#[test]
fn a_request_of_the_ebpf_profiler_is_the_same_in_json() {
    let Some(request) = request("otel-ebpf-profile.pb.bin") else { return };
    let json = decode_otlp_json(file("otel-ebpf-profile.pb.json").unwrap(), &Limits::default()).unwrap();
    assert_eq!(show(&request), show(&json));
}

#[test]
fn every_observation_of_the_ebpf_profiler_is_kept_with_its_time() {
    let Some(request) = request("otel-ebpf-profile.pb.bin") else { return };
    let mut off_cpu = 0;
    for profile in request.profiles() {
        let batch = profile.unwrap().batch;
        off_cpu += if has_type(&batch, "off_cpu") { batch.samples.len() } else { 0 };
        for row in 0..batch.samples.len() {
            let last = batch.samples.labels(row).last().unwrap();
            assert_eq!(batch.symbols.strings.text(last.key), TIMESTAMP);
            assert!(matches!(last.value, LabelValue::Num(time, _) if time > 1_774_910_000_000_000_000));
        }
    }
    assert_eq!(off_cpu, 5311);
}

#[test]
fn a_request_of_layout_1_8_is_read() {
    let Some(request) = request("v1_8_layout.otlp") else { return };
    assert_eq!(request.layout(), OtlpLayout::V1_8);
    for profile in request.profiles() {
        let batch = profile.unwrap().batch;
        batch.check().unwrap();
        assert!(!batch.samples.is_empty());
    }
}
