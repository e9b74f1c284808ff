//! How many bytes does a stored sample take, and how many a stack?

use flamestore_benches::{FleetSegment, Goal, Report, fleet, observations_segment, thread_cpu};
use flamestore_model::Result;
use flamestore_segment::{SealedSegment, SegmentOptions, Table};
use flamestore_testkit::pack_pprof;

fn main() -> Result<()> {
    let fleet = fleet();
    let report = Report::new("How many bytes does a stored sample take, and how many a stack?");
    let start = thread_cpu();
    let segment = FleetSegment::build(&fleet, &SegmentOptions::default())?;
    let spent = (thread_cpu() - start).as_secs_f64();
    let (rows, stacks) = (segment.rows as f64, segment.stacks as f64);
    report.note(format!(
        "{} profiles of {} services, {rows} samples, {stacks} stacks, real stacks: {}",
        segment.profiles,
        fleet.options().services,
        fleet.is_real()
    ));
    let bytes = |table: Table| segment.sealed.table(table).map_or(0.0, |sealed| sealed.bytes.len() as f64);
    for sealed in &segment.sealed.tables {
        report.figure(&format!("{}: {} rows", sealed.table, sealed.rows), bytes(sealed.table), "B");
    }
    let symbols = [
        Table::Stacks,
        Table::CallSites,
        Table::Locations,
        Table::Functions,
        Table::Mappings,
        Table::Strings,
        Table::LabelSets,
        Table::Dictionaries,
    ];
    let dictionary: f64 = symbols.into_iter().map(bytes).sum();
    let all = segment.sealed.bytes() as f64;
    let packed = packed_bytes_per_sample(&fleet);
    report.goal("samples", bytes(Table::Samples) / rows, "B/sample", Goal::AtMost(1.3));
    report.goal("dictionaries", dictionary / stacks, "B/stack", Goal::AtMost(20.0));
    report.figure(
        "profiles, series, postings",
        (all - dictionary - bytes(Table::Samples)) / segment.profiles as f64,
        "B/profile",
    );
    report.figure("everything", all / rows, "B/sample");
    report.figure("peer: gzip pprof, every 24th profile", packed, "B/sample");
    report.figure("times smaller than gzip pprof", packed * rows / all, "×");
    report.figure("generate, intern, build and seal", spent / rows * 1e9, "ns/sample");
    observations(&report, &fleet)
}

/// What a thread, a time, a trace and a span add to each sample of a service.
fn observations(report: &Report, fleet: &flamestore_testkit::Fleet) -> Result<()> {
    let Some(service) = fleet.services().next() else { return Ok(()) };
    let (plain, observing) = (observations_segment(&service, false)?, observations_segment(&service, true)?);
    let rows = plain.meta.sample_rows as f64;
    let bytes =
        |sealed: &SealedSegment, table: Table| sealed.table(table).map_or(0.0, |table| table.bytes.len() as f64);
    let figure = |name: &str, of: &dyn Fn(&SealedSegment) -> f64| {
        report.figure(name, (of(&observing) - of(&plain)) / rows, "B/observation");
    };
    report.note(format!("{rows} samples of one service, each with a thread of 8, a time, a trace of 4 and a span"));
    figure("that adds to samples", &|sealed| bytes(sealed, Table::Samples));
    figure("to strings and label_sets", &|sealed| bytes(sealed, Table::Strings) + bytes(sealed, Table::LabelSets));
    figure("to everything", &|sealed| sealed.bytes() as f64);
    Ok(())
}

fn packed_bytes_per_sample(fleet: &flamestore_testkit::Fleet) -> f64 {
    let (mut packed, mut rows) = (0, 0);
    for service in fleet.services() {
        for scrape in service.run().step_by(24) {
            packed += pack_pprof(&service.batch(&scrape)).len();
            rows += scrape.stacks.len();
        }
    }
    packed as f64 / rows as f64
}
