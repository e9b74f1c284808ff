//! Work for the demo's server: a made-up shop with an hour of history and two versions, and a reader that asks questions.
//!
//! ```text
//!  start          release            now
//!    ╟─ version 1.0 ─╫─ version 1.1 ───╫─ version 1.1, as time goes on
//!      a profile of each region for every step; what is at a time is the same in every run
//! ```
//!
//! Both versions spend the same in sum, so that totals do not tell them apart: what one function costs more, others cost
//! less.

use std::time::Duration;

use flamestore_formats::{ProfileBuilder, encode_pprof, gzip};
use flamestore_model::Result;
use flamestore_proto::v1::{AnswerFormat, LabelNamesRequest, MergeRequest, RawProfile, Selection, TopRequest};

use super::{CPU, push, raw};
use crate::client::Client;
use crate::failure::Outcome;
use crate::output::note;
use crate::time::now;

/// The made-up service.
pub(super) const SERVICE: &str = "demo-shop";
/// Its versions: what the first half of its history ran, and what runs since.
pub(super) const VERSIONS: [&str; 2] = ["1.0", "1.1"];
/// The function that costs twice as much in the second version.
pub(super) const DOUBLED: &str = "shop/checkout.applyDiscounts";

const SECOND: i64 = 1_000_000_000;
/// What one profile covers.
const STEP: i64 = 15 * SECOND;
/// How many steps there are at once.
const STEPS: i64 = 240;
/// How long the reader rests between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// Regions, and what part of the traffic is theirs, in percent.
const REGIONS: [(&str, i64); 3] = [("eu", 50), ("us", 35), ("asia", 15)];

/// What the shop does: stack, and milliseconds of CPU in a second of usual traffic in each version.
const WORK: [(&[&str], [i64; 2]); 10] = [
    (
        &["main.main", "net/http.serve", "shop/catalog.List", "shop/database.Query", "shop/database.decodeRows"],
        [300, 300],
    ),
    (&["main.main", "net/http.serve", "shop/catalog.List", "shop/catalog.renderPage", "html.EscapeString"], [180, 180]),
    (&["main.main", "net/http.serve", "shop/checkout.Checkout", "shop/checkout.priceCart", DOUBLED], [120, 240]),
    (&["main.main", "net/http.serve", "shop/checkout.Checkout", "shop/checkout.priceCart", "shop/rates.load"], [60, 0]),
    (
        &["main.main", "net/http.serve", "shop/checkout.Checkout", "shop/checkout.priceCart", "shop/rates.cached"],
        [0, 60],
    ),
    (
        &["main.main", "net/http.serve", "shop/checkout.Checkout", "shop/payment.Charge", "crypto/aes.encrypt"],
        [110, 110],
    ),
    (&["main.main", "net/http.serve", "shop/search.Search", "shop/search.rank", "shop/search.score"], [240, 120]),
    (&["main.main", "net/http.serve", "shop/search.Search", "shop/search.rank", "sort.Slice"], [60, 60]),
    (&["main.main", "shop/log.Write", "fmt.Sprintf"], [70, 70]),
    (&["runtime.gcBgMarkWorker", "runtime.scanobject"], [90, 90]),
];

/// The shop's history, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct History {
    /// When it begins, with the first version.
    pub(super) start: i64,
    /// When the second version is released.
    pub(super) release: i64,
    /// When it ends.
    pub(super) end: i64,
}

impl History {
    /// The history that ends with the last step before `now`.
    pub(super) fn until(now: i64) -> Self {
        let end = now - now.rem_euclid(STEP);
        Self { start: end - STEPS * STEP, release: end - STEPS / 2 * STEP, end }
    }

    fn version(&self, time: i64) -> usize {
        usize::from(time >= self.release)
    }
}

/// Pushes the history, then what follows, and asks until dropped. The first failure is told; later ones are not repeated.
pub(super) async fn run(client: Client, history: History) {
    let mut told = false;
    let mut pushed = history.start;
    for question in 0u64.. {
        let due = History::until(now()).end;
        if let Err(failure) = step(&client, &history, pushed..due, question).await
            && !std::mem::replace(&mut told, true)
        {
            note(&format!("warning: the made-up shop: {failure}"));
        }
        pushed = pushed.max(due);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn step(client: &Client, history: &History, due: std::ops::Range<i64>, question: u64) -> Outcome {
    let profiles = profiles(history, due)?;
    if !profiles.is_empty() {
        push(client, profiles).await?;
    }
    ask(client, question).await
}

/// A profile of each region for every step of `due`.
fn profiles(history: &History, due: std::ops::Range<i64>) -> Result<Vec<RawProfile>> {
    let mut profiles = Vec::new();
    for step in due.start / STEP..due.end / STEP {
        let version = history.version(step * STEP);
        for (region, share) in REGIONS {
            let pprof = profile(version, step * STEP, traffic(step) * share)?;
            profiles.push(raw(SERVICE, &[("region", region), ("version", VERSIONS[version])], pprof));
        }
    }
    Ok(profiles)
}

/// How much there is to do in a step, in percent of what is usual: it comes and goes with the quarters of an hour, and varies.
fn traffic(step: i64) -> i64 {
    let wave = (step.rem_euclid(60) - 30).abs();
    // the steps of splitmix64, so that neighbours have nothing to do with each other
    let seed = step.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let varied = (mixed ^ (mixed >> 27)) % 21;
    75 + wave + i64::try_from(varied).unwrap_or(0)
}

/// A profile of `version` as gzip-compressed pprof; `load` is in hundredths of a percent. The shares of functions are the same in
/// all of a version.
fn profile(version: usize, time: i64, load: i64) -> Result<Vec<u8>> {
    let mut builder = ProfileBuilder::new();
    builder.sample_type("cpu", "nanoseconds").period("cpu", "nanoseconds", 10_000_000);
    builder.time(time, STEP);
    for (stack, costs) in WORK.iter().filter(|(_, costs)| costs[version] > 0) {
        // milliseconds of a second, for as many seconds, in nanoseconds, by ten thousandths
        let value = costs[version] * (STEP / SECOND) * 1_000_000 / 10_000 * load;
        builder.add_sample(stack, &[value], &[]);
    }
    gzip(&encode_pprof(&builder.finish()?))
}

/// Asks one question of many; the answer is only for the profiler to see how it is made.
async fn ask(client: &Client, question: u64) -> Outcome {
    let end = now();
    let range = Selection { query: CPU.to_owned(), start_unix_nano: end - 900 * SECOND, end_unix_nano: end };
    let mut query = client.query();
    let done = match question % 4 {
        0 => query.label_names(client.request(LabelNamesRequest { selection: Some(range) })).await.map(|_| ()),
        1 => query.top(client.request(TopRequest { selection: Some(range), limit: 50, combine: 0 })).await.map(|_| ()),
        format => {
            let format = if format == 2 { AnswerFormat::FlameGraph } else { AnswerFormat::Pprof };
            let request =
                MergeRequest { selection: Some(range), format: format.into(), max_nodes: 0, resolution: 0, combine: 0 };
            query.merge(client.request(request)).await.map(|_| ())
        }
    };
    done.map_err(|e| client.failure(&e))
}

#[cfg(test)]
mod tests {
    use flamestore_formats::{Limits, decode_pprof};
    use flamestore_model::ProfileBatch;

    use super::*;

    const NOON: i64 = 1_777_636_800 * SECOND;

    fn decoded(pprof: Vec<u8>) -> ProfileBatch {
        decode_pprof(pprof.into(), &Limits::default()).unwrap()
    }

    #[test]
    fn a_version_doubles_one_function_and_the_sum_stays() {
        let costs = |version, name: &str| {
            let of_name = WORK.iter().filter(|(stack, _)| stack.last() == Some(&name));
            of_name.map(|(_, costs)| costs[version]).sum::<i64>()
        };
        assert_eq!(costs(1, DOUBLED), 2 * costs(0, DOUBLED));
        let sum = |version: usize| WORK.iter().map(|(_, costs)| costs[version]).sum::<i64>();
        assert_eq!(sum(0), sum(1));
        let total = |version| {
            let batch = decoded(profile(version, NOON, 5_000).unwrap());
            (0..batch.samples.len()).map(|sample| batch.values(sample)[0]).sum::<i64>()
        };
        // half of the usual traffic, for the seconds of a step
        assert_eq!(total(0), sum(0) * 1_000_000 * 15 / 2);
        assert_eq!(total(1), total(0));
    }

    #[test]
    fn history_is_an_hour_of_both_versions_and_goes_on_without_a_gap() {
        let history = History::until(NOON + 7 * SECOND);
        assert_eq!((history.end, history.end - history.start), (NOON, 3600 * SECOND));
        let profiles = |due| profiles(&history, due).unwrap();
        let past = profiles(history.start..history.end);
        let count =
            |version: &str| past.iter().filter(|raw| raw.labels.iter().any(|label| label.value == version)).count();
        assert_eq!((count("1.0"), count("1.1"), past.len()), (360, 360, 720));
        assert!(profiles(NOON..History::until(NOON + 14 * SECOND).end).is_empty());
        let next = profiles(NOON..History::until(NOON + 15 * SECOND).end);
        assert_eq!(next.len(), REGIONS.len());
        assert_eq!(decoded(next[0].profile.to_vec()).header.time_unix_nano, NOON);
    }
}
