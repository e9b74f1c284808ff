//! The demo: a server that is profiled by signals while it works, and ends cleanly.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use std::collections::HashMap;
use std::time::Instant;

use support::{PATIENCE, Running};

const OWN: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"flamestore-demo\"}";
const SHOP: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"demo-shop\"}";

/// The parameters of a link to the page of `address`.
fn parameters(address: &str, line: &str) -> HashMap<String, String> {
    let link = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let query = link.strip_prefix(address).unwrap().strip_prefix("/?").unwrap();
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), unescape(value)))
        .collect()
}

fn unescape(text: &str) -> String {
    let mut parts = text.split('%');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        text + &char::from(u8::from_str_radix(&part[..2], 16).unwrap()).to_string() + &part[2..]
    })
}

/// Milliseconds since 1970 as nanoseconds.
fn nanos(millis: &str) -> String {
    format!("{millis}000000")
}

#[test]
fn the_demo_profiles_itself_and_keeps_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("demo");
    let mut demo = Running::start(&["demo", "--listen", "127.0.0.1:0", "--store", store.to_str().unwrap()]);
    let view = parameters(&demo.address, &demo.first_line);
    assert_eq!((view["view"].as_str(), view["query"].as_str(), view["from"].as_str()), ("single", OWN, "now-1h"));
    demo.line_with("Try now, in another terminal:");
    assert!(demo.line_with(" merge ").contains(&demo.address));
    let svg = demo.ok(&["merge", "--query", OWN, "--format", "svg"]);
    assert!(svg.contains("<svg") && svg.contains("flamestore"), "{svg}");
    let services = demo.ok(&["labels", "--name", "service_name"]);
    assert_eq!(services, "demo-shop\nflamestore-demo\n");
    let done = demo.stop("INT");
    assert_eq!(done.code, Some(0), "{}", done.err);
    let again = Running::serve(&store);
    assert!(!again.ok(&["top", "--query", OWN]).is_empty());
}

#[test]
fn the_demo_has_an_hour_of_two_versions_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("demo");
    let mut demo = Running::start(&["demo", "--listen", "127.0.0.1:0", "--store", store.to_str().unwrap()]);
    let line = demo.line_with("view=diff");
    let view = parameters(&demo.address, &line);
    demo.line_with("Try now, in another terminal:");
    // the history is pushed meanwhile
    let hour = ["--query", SHOP, "--from", &nanos(&view["from"]), "--to", &nanos(&view["to"]), "--format", "json"];
    let begin = Instant::now();
    let profiles = loop {
        let list = demo.ok(&[&["profiles", "--limit", "1000"], &hour[..]].concat());
        let profiles: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
        if profiles.len() >= 720 || begin.elapsed() > PATIENCE {
            break profiles;
        }
    };
    assert_eq!(profiles.len(), 720);
    let sides = ["left", "right"].map(|side| {
        let of_side = |part: &str| view[&format!("{side}{part}")].clone();
        let (from, to) = (nanos(&of_side("From")), nanos(&of_side("To")));
        let top = demo.ok(&["top", "--query", &of_side("Query"), "--from", &from, "--to", &to, "--format", "json"]);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&top).unwrap();
        let of_name =
            |name: &str| rows.iter().find(|row| row["name"] == name).map_or(0, |row| row["self"].as_i64().unwrap());
        let total: i64 = rows.iter().map(|row| row["self"].as_i64().unwrap()).sum();
        (of_name("shop/checkout.applyDiscounts"), of_name("shop/rates.load"), of_name("shop/rates.cached"), total)
    });
    // in shares of all: traffic differs between the halves of the hour
    let share = |part: i64, total: i64| part as f64 / total as f64;
    let [(before, load, no_cache, total_before), (after, no_load, cached, total_after)] = sides;
    assert!((share(after, total_after) / share(before, total_before) - 2.0).abs() < 1e-9, "{sides:?}");
    assert!(load > 0 && cached > 0 && no_load == 0 && no_cache == 0, "{sides:?}");
    assert_eq!(demo.stop("TERM").code, Some(0));
}
