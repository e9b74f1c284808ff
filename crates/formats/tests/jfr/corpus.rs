//! Recordings of the JDK, async-profiler and Datadog, where `FLAMESTORE_CORPUS` has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use expect_test::expect;
use flamestore_formats::{JfrOptions, JfrProfile, Limits, decode_jfr, decode_pprof};
use flamestore_model::{LabelValue, ProfileBatch};

use crate::wire;

fn folder() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("FLAMESTORE_CORPUS")?).join("jfr"))
}

fn read(path: &Path) -> Bytes {
    Bytes::from(std::fs::read(path).unwrap())
}

fn profiles(name: &str, options: &JfrOptions) -> Option<Vec<JfrProfile>> {
    Some(decode_jfr(read(&folder()?.join(name)), options, &Limits::default()).unwrap())
}

/// The counts and sums are those that the `jfr` command of JDK 25 prints, with `summary` and `print --json`: events of
/// each class, and their `tlabSize`, `allocationSize`, `weight`, `samples`, `duration` and `samplingPeriod` added up; so are the
/// times of the first and the last event, to the nanosecond. The first recording it counts, but cannot print.
#[test]
fn counts_sums_and_times_are_those_of_the_jdks_own_tool() {
    let recordings = [
        "FastSlow_2024_01_16_180855.jfr.gz",
        "async-profiler.jfr.gz",
        "cortex-dev-01__kafka-0__cpu_lock_alloc__0.jfr.gz",
        "dd-trace-java.jfr.gz",
        "dump1.jfr.gz",
        "wall.jfr.gz",
        "jdk17.jfr",
        "jdk25.jfr",
    ];
    let mut shown = String::new();
    for name in recordings {
        let Some(profiles) = profiles(name, &JfrOptions::default()) else { return };
        shown += &format!("{name}\n");
        for JfrProfile { name, batch } in profiles {
            batch.check().unwrap();
            let rows = batch.samples.len();
            let sums = [0, 1].map(|at| (0..rows).map(|row| batch.values(row)[at]).sum::<i64>());
            let types = wire::types(&batch);
            let types = types.split(" per ").next().unwrap();
            let times = (0..rows).filter_map(|row| match batch.samples.labels(row).last()?.value {
                LabelValue::Num(time, _) => Some(time),
                LabelValue::Str(_) => None,
            });
            let (first, last) = (times.clone().min().unwrap(), times.max().unwrap());
            shown += &format!("  {rows} {name} {types} {sums:?} {first}..{last}\n");
        }
    }
    expect![[r#"
        FastSlow_2024_01_16_180855.jfr.gz
          1012 process_cpu samples/count cpu/nanoseconds [1012, 10120000000] 1705403336088232167..1705403346080713711
          1012 wall samples/count wall/nanoseconds [1012, 10120000000] 1705403336088232167..1705403346080713711
          6 memory alloc_sample_objects/count alloc_sample_bytes/bytes [6, 4689568] 1705403336936374223..1705403340042103434
        async-profiler.jfr.gz
          110 process_cpu samples/count cpu/nanoseconds [110, 1100000000] 1691388514360989805..1691388573080501210
          199551 wall samples/count wall/nanoseconds [199551, 39910200000000] 1691388513072149892..1691388573083760131
          16 memory alloc_in_new_tlab_objects/count alloc_in_new_tlab_bytes/bytes [16, 21379904] 1691388529470264613..1691388542900928731
          1 memory alloc_outside_tlab_objects/count alloc_outside_tlab_bytes/bytes [1, 8208] 1691388558012694865..1691388558012694865
        cortex-dev-01__kafka-0__cpu_lock_alloc__0.jfr.gz
          554 process_cpu samples/count cpu/nanoseconds [554, 5540000000] 1691037381144711866..1691037390927409885
          766 memory alloc_in_new_tlab_objects/count alloc_in_new_tlab_bytes/bytes [766, 1606418432] 1691037380999657605..1691037390989881441
        dd-trace-java.jfr.gz
          113 process_cpu samples/count cpu/nanoseconds [113, 1017000000] 1723014521646599383..1723014528690074086
          3725 memory alloc_in_new_tlab_objects/count alloc_in_new_tlab_bytes/bytes [3725, 1263800208] 1723014521608459030..1723014533278663932
          93 memory alloc_outside_tlab_objects/count alloc_outside_tlab_bytes/bytes [93, 4040232] 1723014521622804244..1723014532713363371
          122 block contentions/count delay/nanoseconds [122, 53239880942] 1723014514251164069..1723014533147710390
        dump1.jfr.gz
          2188 process_cpu samples/count cpu/nanoseconds [2188, 21880000000] 1692095722940743795..1692095730000721351
        wall.jfr.gz
          834 process_cpu samples/count cpu/nanoseconds [834, 8340000000] 1771487260661270898..1771487268861430166
          1780 wall samples/count wall/nanoseconds [26246, 262460000000] 1771487260661250112..1771487268861455921
        jdk17.jfr
          22 process_cpu samples/count cpu/nanoseconds [22, 220000000] 1795340314467414743..1795340315550944111
          340 memory alloc_sample_objects/count alloc_sample_bytes/bytes [340, 94796352] 1795340314467649030..1795340322094414874
          15 mutex contentions/count delay/nanoseconds [15, 204614585] 1795340316959388981..1795340321758092548
          1 block contentions/count delay/nanoseconds [1, 15820425] 1795340317907106269..1795340317907106269
        jdk25.jfr
          23 execution samples/count cpu/nanoseconds [23, 230000000] 1795341223072698510..1795341231103009213
          44 process_cpu samples/count cpu/nanoseconds [44, 460000000] 1795341222454991550..1795341231538936564
          2 native samples/count native/nanoseconds [2, 40000000] 1795341222430919232..1795341222454922418
          280 memory alloc_sample_objects/count alloc_sample_bytes/bytes [280, 103783784] 1795341222434511799..1795341231729794269
          7 mutex contentions/count delay/nanoseconds [7, 123413148] 1795341222411395586..1795341231591695625
          2 block contentions/count delay/nanoseconds [2, 40001479] 1795341228276063499..1795341229401928671
    "#]]
    .assert_eq(&shown);
}

/// The values of the sample type `ty`, summed by the stack of names that Pyroscope makes of system names, leaf first.
fn sums(batch: &ProfileBatch, ty: &str) -> BTreeMap<String, i64> {
    let strings = &batch.symbols.strings;
    let at = batch.header.sample_types.iter().position(|found| strings.text(found.ty) == ty).unwrap();
    let mut sums = BTreeMap::new();
    for row in 0..batch.samples.len() {
        let names = batch.samples.stack(row).iter().flat_map(|location| batch.lines(*location)).map(|line| {
            let function = batch.symbols.functions[line.function as usize];
            let name = if function.system_name == 0 { function.name } else { function.system_name };
            // A function without a class keeps its dot there.
            pyroscope_name(strings.text(name).trim_start_matches('.'))
        });
        *sums.entry(names.collect::<Vec<_>>().join(";")).or_default() += batch.values(row)[at];
    }
    sums
}

/// `pkg/Class.method` without the numbers that generated classes have.
fn pyroscope_name(system_name: &str) -> String {
    let name = system_name.split('(').next().unwrap();
    let method = name.rfind('.').unwrap_or(name.len());
    let generated = ["$$Lambda", "GeneratedMethodAccessor", "GeneratedConstructorAccessor"];
    let end = generated.iter().find_map(|mark| Some(name.find(mark)? + mark.len()));
    end.map_or_else(|| name.to_owned(), |end| format!("{}_{}", &name[..end], &name[method..]))
}

/// The name of conversions that were made without labels.
const WITHOUT_LABELS: &str = ".17241709254077376921.pb.gz";

/// The conversion of `recording` whose name has `part`, of the sample type `ty`.
fn conversion(recording: &str, part: &str, ty: &str) -> Option<BTreeMap<String, i64>> {
    let path = folder()?.join(format!("{recording}.{part}{WITHOUT_LABELS}"));
    let batch = decode_pprof(read(&path), &Limits::default()).unwrap();
    Some(sums(&batch, ty))
}

#[test]
fn stacks_are_those_of_an_independent_conversion() {
    let kafka = "cortex-dev-01__kafka-0__cpu_lock_alloc__0.jfr.gz";
    for (recording, part, ty) in [
        (kafka, "process_cpu_cpu_nanoseconds_cpu_nanoseconds", "cpu"),
        (kafka, "memory_alloc_in_new_tlab_bytes_bytes_space_bytes", "alloc_in_new_tlab_bytes"),
        (kafka, "memory_alloc_in_new_tlab_objects_count_space_bytes", "alloc_in_new_tlab_objects"),
        ("dump1.jfr.gz", "process_cpu_cpu_nanoseconds_cpu_nanoseconds", "cpu"),
    ] {
        let Some(expected) = conversion(recording, part, ty) else { return };
        let profiles = profiles(recording, &JfrOptions::default()).unwrap();
        let has_type = |batch: &ProfileBatch| {
            batch.header.sample_types.iter().any(|found| batch.symbols.strings.text(found.ty) == ty)
        };
        let profile = profiles.iter().find(|profile| has_type(&profile.batch)).unwrap();
        let found = sums(&profile.batch, ty);
        let missing: Vec<_> = expected.iter().filter(|(stack, sum)| found.get(*stack) != Some(sum)).collect();
        assert!(missing.is_empty(), "{recording} {part}: {} of {}: {missing:?}", missing.len(), expected.len());
        assert_eq!(found.len(), expected.len(), "{recording} {part}");
    }
}

#[test]
fn labels_sent_beside_a_recording_are_those_of_its_rows() {
    let Some(folder) = folder() else { return };
    let labels = Some(read(&folder.join("dump1.labels.pb.gz")));
    let profiles = profiles("dump1.jfr.gz", &JfrOptions { labels, period_nanos: None }).unwrap();
    let batch = &profiles[0].batch;
    let strings = &batch.symbols.strings;
    let mut rows = BTreeMap::<String, usize>::new();
    for row in 0..batch.samples.len() {
        let texts = batch.samples.labels(row).iter().filter_map(|label| match label.value {
            LabelValue::Str(text) => Some((strings.text(label.key), strings.text(text))),
            LabelValue::Num(..) => None,
        });
        let context = texts.filter(|(key, _)| key != "thread_state");
        let shown: Vec<String> = context.map(|(key, text)| format!("{key}={text}")).collect();
        *rows.entry(shown.join(" ")).or_default() += 1;
    }
    let shown: String = rows.iter().map(|(labels, count)| format!("{count} {labels}\n")).collect();
    expect![[r#"
        471 thread_name=pool-2-thread-1
        338 thread_name=pool-2-thread-2
        168 thread_name=pool-2-thread-3
        601 thread_name=pool-2-thread-4
        104 thread_name=pool-2-thread-5
        132 thread_name=pool-2-thread-6
        215 thread_name=pool-2-thread-7
        159 thread_name=pool-2-thread-8
    "#]]
    .assert_eq(&shown);
}
