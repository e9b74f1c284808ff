//! How long do ten questions about a million samples take in SQL, against DataFusion on the same rows as nested Parquet?
//!
//! The rows have the schema, the cardinalities and the order of the "polarsignals" suite of the Vortex project: a sample each 0.5 ms,
//! ten labels in 1000 sets, a value of 1; a stack of 5 to 49 locations of 1 to 4 lines each. There every stack is another one; here
//! they are drawn from 20 000, since programs repeat themselves (Zipf, s = 0.8). The questions are that suite's.
//!
//! Here, rows that agree in type and labels are a profile, as they are when an agent sends them: `cpu` and `thread_name` are labels
//! of samples, the others of the series, each row has its time; the producer is the service. The floor is one file with the
//! writer's defaults and Snappy, read by a plain `SessionContext` of as many partitions, with `pushdown_filters` on and
//! off: the faster one counts. All are asked warm, in turns of a fifth of a second: a question that takes less is asked more
//! often. The figures are medians. What both answer is compared: rows, sums of numbers, bytes of text, frames.
//!
//! | variable | default | published figures |
//! |---|---|---|
//! | `FLAMESTORE_BENCH_ROWS` | 20000 | 1000000 |
//! | `FLAMESTORE_BENCH_STACKS` | 2000 | 20000 |
//! | `FLAMESTORE_BENCH_ROUNDS` | 5 | 5 |
//! | `FLAMESTORE_BENCH_QUESTIONS` | all | those to ask: `Q0,Q3` |

mod floor;
mod ours;
mod rows;

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use flamestore_benches::{Goal, Report, rounds, size};

use floor::Floor;
use ours::Ours;
use rows::Rows;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const PARTITIONS: usize = 2;

/// How long a question is asked of one, time and again, before it is the other's turn.
const TURN: Duration = Duration::from_millis(200);

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(PARTITIONS).enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Outcome<()> {
    let report = Report::new("How long do ten questions take in SQL, against DataFusion on nested Parquet?");
    let rows = Rows::new(size("FLAMESTORE_BENCH_ROWS", 20_000), size("FLAMESTORE_BENCH_STACKS", 2_000));
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().ok_or("a path is not UTF-8")?;
    let floor = Floor::write(&rows, &format!("{path}/stacktraces.parquet")).await?;
    let ours = Ours::fill(&rows, &format!("{path}/store")).await?;
    report.note(format!(
        "{} samples of {} stacks, {} rounds, {PARTITIONS} threads",
        rows.len(),
        rows.stacks.len(),
        rounds()
    ));
    report.figure("nested Parquet", floor.bytes as f64 / 1e6, "MB");
    report.figure("segment", ours.bytes as f64 / 1e6, "MB");
    let asked = std::env::var("FLAMESTORE_BENCH_QUESTIONS").unwrap_or_default();
    let is_asked = |name: &str| asked.is_empty() || asked.split(',').any(|asked| name.starts_with(asked));
    for question in Question::all(&rows).into_iter().filter(|question| is_asked(question.name)) {
        answer(&report, &question, &ours, &floor).await?;
    }
    ours.store.shutdown().await?;
    Ok(())
}

/// A question, as it is asked of both.
struct Question {
    name: &'static str,
    ours: String,
    floor: String,
    /// The part of the floor's time that ours may take at most.
    goal: f64,
}

impl Question {
    fn all(rows: &Rows) -> Vec<Self> {
        let window = |share: usize| rows.time(rows.len() / share);
        let (narrow, wide) = (window(10), window(2));
        // A profile's time is that of its first row.
        let ours = |end: i64| {
            format!(
                "profile_name = 'parca_agent' AND sample_type = 'samples' AND sample_unit = 'count' AND period_type = 'cpu' \
                 AND period_unit = 'nanoseconds' AND temporality = 'delta' AND {} AND {}",
                between("time", rows.time(0), end),
                between("observed_time", rows.time(0), end),
            )
        };
        let floor = |end: i64| {
            format!(
                "producer = 'parca_agent' AND sample_type = 'samples' AND sample_unit = 'count' AND period_type = 'cpu' AND \
                 period_unit = 'nanoseconds' AND temporality = 'delta' AND {}",
                between("time_nanos", rows.time(0), end),
            )
        };
        let question = |name, ours: String, floor: String, goal| Self { name, ours, floor, goal };
        let samples = |end, and: &str| {
            let columns = "stack, value, period, observed_time, labels['comm'] AS comm";
            format!("SELECT {columns} FROM samples WHERE {}{and}", ours(end))
        };
        let traces = |end, and: &str| {
            let columns = "locations, value, period, time_nanos, labels.comm AS comm";
            format!("SELECT {columns} FROM stacktraces WHERE {}{and}", floor(end))
        };
        let sums = |time: &str, duration: &str, more: &str| {
            format!(
                "date_bin(INTERVAL '1 second', {time}) AS bucket, sum(value) AS value, sum({duration}) AS duration{more}"
            )
        };
        let (our_sums, floor_sums) =
            (|more| sums("observed_time", "duration_nano", more), |more| sums("time_nanos", "duration", more));
        let merge = format!(
            "SELECT DISTINCT mapping FROM merge('parca_agent:samples:count:cpu:nanoseconds', {}, {}) WHERE mapping <> ''",
            rows.time(0),
            wide + 1
        );
        let ours_types = "profile_name, sample_type, sample_unit, period_type, period_unit, temporality";
        let floor_types = "producer, sample_type, sample_unit, period_type, period_unit, temporality";
        vec![
            question("Q0: a narrow window", samples(narrow, ""), traces(narrow, ""), 0.2),
            question("Q1: a wide window", samples(wide, ""), traces(wide, ""), 0.2),
            question(
                "Q2: one command",
                samples(wide, " AND labels['comm'] = 'comm_0'"),
                traces(wide, " AND labels.comm = 'comm_0'"),
                0.1,
            ),
            question(
                "Q3: the same by a regular expression",
                samples(wide, " AND labels['comm'] ~ '^comm_0$'"),
                traces(wide, " AND labels.comm ~ '^comm_0$'"),
                0.1,
            ),
            question(
                "Q4: sums by second",
                format!("SELECT {} FROM samples WHERE {} GROUP BY bucket", our_sums(""), ours(wide)),
                format!("SELECT {} FROM stacktraces WHERE {} GROUP BY bucket", floor_sums(""), floor(wide)),
                1.0,
            ),
            question(
                "Q5: sums by second and command",
                format!(
                    "SELECT {} FROM samples WHERE {} GROUP BY bucket, comm",
                    our_sums(", labels['comm'] AS comm"),
                    ours(wide)
                ),
                format!(
                    "SELECT {} FROM stacktraces WHERE {} GROUP BY bucket, labels.comm",
                    floor_sums(", labels.comm AS comm"),
                    floor(wide)
                ),
                1.0,
            ),
            question(
                "Q6: distinct sets of labels",
                format!("SELECT DISTINCT labels, sample_labels FROM samples WHERE {}", ours(wide)),
                format!("SELECT DISTINCT labels FROM stacktraces WHERE {}", floor(wide)),
                1.0,
            ),
            question(
                "Q7: distinct commands",
                format!(
                    "SELECT DISTINCT labels['comm'] AS comm FROM samples WHERE {} AND labels['comm'] IS NOT NULL",
                    ours(wide)
                ),
                format!(
                    "SELECT DISTINCT labels.comm AS comm FROM stacktraces WHERE {} AND labels.comm IS NOT NULL",
                    floor(wide)
                ),
                1.0,
            ),
            question(
                "Q8: distinct mapped files",
                merge,
                format!(
                    "SELECT DISTINCT location.mapping_file AS mapping FROM (SELECT unnest(locations) AS location FROM \
                     stacktraces WHERE {})",
                    floor(wide)
                ),
                0.1,
            ),
            question(
                "Q9: distinct types",
                format!(
                    "SELECT DISTINCT {ours_types} FROM samples WHERE {} AND {}",
                    between("time", rows.time(0), wide),
                    between("observed_time", rows.time(0), wide)
                ),
                format!(
                    "SELECT DISTINCT {floor_types} FROM stacktraces WHERE {}",
                    between("time_nanos", rows.time(0), wide)
                ),
                1.0,
            ),
        ]
    }
}

fn between(column: &str, first: i64, last: i64) -> String {
    let time = |nanos: i64| format!("arrow_cast({nanos}, 'Timestamp(Nanosecond, Some(\"UTC\"))')");
    format!("{column} >= {} AND {column} <= {}", time(first), time(last))
}

/// Asks one question of both, in turns, and prints what it took.
async fn answer(report: &Report, question: &Question, ours: &Ours, floor: &Floor) -> Outcome<()> {
    let is_of_labels = question.name.starts_with("Q6");
    let of_ours = Summary::of(&ours.coded(&question.ours).await?, is_of_labels)?;
    for pushes_down in [true, false] {
        let of_floor = Summary::of(&floor.ask(&question.floor, pushes_down).await?, is_of_labels)?;
        if of_ours != of_floor {
            return Err(format!("{}: {of_ours:?} is not {of_floor:?}", question.name).into());
        }
    }
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..rounds() {
        for (way, times) in times.iter_mut().enumerate() {
            let turn = Instant::now();
            // Asked once before it is timed: what was asked before, of the other one, is not to decide what the caches hold.
            let mut asked = 0;
            while asked < 2 || turn.elapsed() < TURN {
                let started = Instant::now();
                match way {
                    0 => ours.coded(&question.ours).await?,
                    1 => ours.plain(&question.ours).await?,
                    way => floor.ask(&question.floor, way == 2).await?,
                };
                if asked > 0 {
                    times.push(started.elapsed().as_secs_f64() * 1e3);
                }
                asked += 1;
            }
        }
    }
    let [coded, plain, pushed, whole] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    report.note(format!("{}: {} rows, equal", question.name, of_ours.rows));
    report.figure("  ours, names as dictionaries", coded, "ms");
    report.figure("  ours, plain", plain, "ms");
    report.figure("  floor, filters pushed down", pushed, "ms");
    report.figure("  floor, filters above the scan", whole, "ms");
    report.goal("  ours to the faster floor", coded / pushed.min(whole), "×", Goal::AtMost(question.goal));
    Ok(())
}

/// What two answers have in common if they are equal.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    rows: usize,
    /// Of numbers and times the sum, of text the bytes, of lists the frames.
    columns: Vec<i128>,
}

impl Summary {
    fn of(batches: &[RecordBatch], has_rows_only: bool) -> Outcome<Self> {
        let mut summary = Self { rows: 0, columns: Vec::new() };
        for batch in batches {
            summary.rows += batch.num_rows();
            if has_rows_only {
                continue;
            }
            summary.columns.resize(batch.num_columns(), 0);
            for (sum, column) in summary.columns.iter_mut().zip(batch.columns()) {
                *sum += rows::checksum(column)?;
            }
        }
        Ok(summary)
    }
}
