//! Is the generated fleet like the one whose figures are published?

use flamestore_benches::{Report, fleet};
use flamestore_testkit::{FleetStats, pack_pprof};

fn main() {
    let fleet = fleet();
    let report = Report::new("Is the generated fleet like the one whose figures are published?");
    let options = fleet.options();
    report.note(format!(
        "{} services × {} scrapes, real stacks: {}",
        options.services,
        options.scrapes,
        fleet.is_real()
    ));
    report.note(format!("stacks of the templates: {:?}", fleet.template_stacks()));
    let stats = FleetStats::of(&fleet);
    report.figure("profiles", stats.profiles as f64, "");
    report.figure("samples", stats.rows as f64, "");
    report.figure("samples per profile", stats.rows as f64 / stats.profiles as f64, "");
    report.figure("distinct stacks", stats.distinct_stacks as f64, "");
    report.figure("locations per stack", stats.depth, "");
    report.figure("stacks seen before, all scrapes", 100.0 * stats.reuse, "%");
    report.figure("stacks seen before, second half", 100.0 * stats.reuse_second_half, "%");
    report.figure("samples of the smallest value", 100.0 * stats.single, "%");
    report.figure("source entropy", stats.entropy_bytes_per_row, "B/sample");
    let (mut packed, mut rows) = (0, 0);
    for service in fleet.services() {
        for scrape in service.run().step_by(24) {
            packed += pack_pprof(&service.batch(&scrape)).len();
            rows += scrape.stacks.len();
        }
    }
    report.figure("gzip pprof, every 24th profile", packed as f64 / rows as f64, "B/sample");
}
