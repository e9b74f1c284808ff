//! Work for the demo's server: a made-up shop that pushes profiles of two of its releases, and a reader that asks questions.

use std::time::Duration;

use flamestore_formats::{ProfileBuilder, encode_pprof, gzip};
use flamestore_model::Result;
use flamestore_proto::v1::{AnswerFormat, LabelNamesRequest, MergeRequest, Selection, TopRequest};

use super::{CPU, push};
use crate::client::Client;
use crate::failure::Outcome;
use crate::output::note;
use crate::time::now;

/// The made-up service.
pub(super) const SERVICE: &str = "demo-shop";
const PAUSE: Duration = Duration::from_millis(100);
const REGIONS: [&str; 3] = ["eu", "us", "asia"];
const RELEASES: [&str; 2] = ["1.0", "1.1"];

/// What the shop does: stack, share of time in each release.
const WORK: [(&str, [i64; 2]); 9] = [
    ("main;serve;list_products;query_database;decode_rows", [30, 30]),
    ("main;serve;list_products;render_page;escape_html", [18, 18]),
    ("main;serve;checkout;price_cart;apply_discounts", [8, 42]),
    ("main;serve;checkout;price_cart;load_rates", [6, 7]),
    ("main;serve;checkout;charge_card;encrypt", [11, 11]),
    ("main;serve;search;rank;score", [21, 9]),
    ("main;serve;search;rank;sort", [6, 5]),
    ("main;log;format_line", [7, 7]),
    ("main;collect_garbage;mark", [9, 12]),
];

/// `selector` narrowed to one release.
pub(super) fn selector(selector: &str, release: &str) -> String {
    selector.replace("}'", &format!(",release=\"{release}\"}}'"))
}

/// Pushes and asks until dropped. The first failure is told; later ones are not repeated.
pub(super) async fn run(client: Client) {
    let mut told = false;
    for round in 0u64.. {
        if let Err(failure) = step(&client, round).await
            && !std::mem::replace(&mut told, true)
        {
            note(&format!("warning: the made-up shop: {failure}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn step(client: &Client, round: u64) -> Outcome {
    let pick = |names: &[&'static str], at: u64| names[usize::try_from(at).unwrap_or(0) % names.len()];
    let release = usize::try_from(round % 2).unwrap_or(0);
    let labels = [("region", pick(&REGIONS, round / 2)), ("release", RELEASES[release])];
    push(client, SERVICE, &labels, profile(release, round)?).await?;
    ask(client, round).await
}

/// Asks one question of many; the answer is only for the profiler to see how it is made.
async fn ask(client: &Client, question: u64) -> Outcome {
    let end = now();
    let range = Selection { query: CPU.to_owned(), start_unix_nano: end - 900_000_000_000, end_unix_nano: end };
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

/// A profile of `release` as gzip-compressed pprof: the same stacks each time, the values a little different.
fn profile(release: usize, round: u64) -> Result<Vec<u8>> {
    const MILLISECOND: i64 = 1_000_000;
    let mut builder = ProfileBuilder::new();
    builder.sample_type("cpu", "nanoseconds").period("cpu", "nanoseconds", 10 * MILLISECOND);
    builder.time(now(), i64::try_from(PAUSE.as_nanos()).unwrap_or(0));
    for (at, (stack, shares)) in (0u64..).zip(WORK) {
        let frames: Vec<&str> = stack.split(';').collect();
        let jitter = i64::try_from((round * 7 + at * 5) % 4).unwrap_or(0);
        builder.add_sample(&frames, &[(shares[release] + jitter) * MILLISECOND], &[]);
    }
    gzip(&encode_pprof(&builder.finish()?))
}

#[cfg(test)]
mod tests {
    use flamestore_formats::{Limits, decode_pprof};

    use super::*;

    #[test]
    fn a_release_changes_what_the_shop_spends_on_discounts() {
        let total = |release, row| {
            let batch = decode_pprof(profile(release, 0).unwrap().into(), &Limits::default()).unwrap();
            batch.values(row)[0]
        };
        assert!(total(1, 2) > 3 * total(0, 2));
        assert_eq!(total(1, 0), total(0, 0));
    }

    #[test]
    fn a_selector_is_narrowed_to_a_release() {
        assert_eq!(selector("'a{b=\"c\"}'", "1.0"), "'a{b=\"c\",release=\"1.0\"}'");
    }
}
