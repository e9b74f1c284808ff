//! The command as people run it: a real server, real files, real signals.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flamestore_formats::{Limits, decode_pprof, pprof_equal};
use flamestore_model::{Labels, ProfileBatch, Selector, TimeRange};
use flamestore_testkit::{Fixture, Oracle, folded, profile_types};
use support::{Running, command, finish, ok, run, write_pprof};

const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
/// 2026-05-01T12:00:00Z.
const NOON: i64 = 1_777_636_800_000_000_000;
const AROUND: [&str; 4] = ["--from", "2026-05-01", "--to", "2026-05-02"];

/// A server with two profiles of service `api`, an hour apart, and one heap profile of `web`.
struct House {
    folder: tempfile::TempDir,
    server: Running,
}

impl House {
    fn new() -> Self {
        let house = Self::empty();
        house.push("a.pb.gz", "api", NOON, &Fixture::cpu().profile("main;read 3 | main;write 1"));
        house.push("b.pb.gz", "api", NOON + 3_600_000_000_000, &Fixture::cpu().profile("main;read 5 | main;seek 2"));
        house.push("c.pb.gz", "web", NOON, &Fixture::heap().profile("main;new 1,2,3,4"));
        house
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Running::serve(&folder.path().join("store"));
        Self { folder, server }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn push(&self, name: &str, service: &str, time: i64, batch: &ProfileBatch) -> String {
        let file = write_pprof(self.folder.path(), name, batch);
        let label = format!("service_name={service}");
        let args =
            ["push", file.to_str().unwrap(), "--label", &label, "--label", "region=eu", "--time", &time.to_string()];
        self.server.ok(&args).split_whitespace().next().unwrap().to_owned()
    }

    fn query(&self, args: &[&str]) -> String {
        self.server.ok(&[args, &AROUND].concat())
    }

    fn restart(self) -> Self {
        let done = self.server.stop("TERM");
        assert_eq!(done.code, Some(0), "{}", done.err);
        let server = Running::serve(&self.folder.path().join("store"));
        Self { folder: self.folder, server }
    }
}

fn api() -> String {
    format!("{CPU}{{service_name=\"api\"}}")
}

#[test]
fn what_is_pushed_is_merged_and_listed_before_and_after_a_restart() {
    let mut house = House::new();
    for _ in 0..2 {
        assert_eq!(house.query(&["merge", "--query", &api()]), "main;read 8\nmain;seek 2\nmain;write 1\n");
        assert_eq!(
            house.query(&["labels"]).lines().filter(|l| !l.starts_with("__")).collect::<Vec<_>>(),
            ["region", "service_name"]
        );
        assert_eq!(
            house.query(&["labels", "--name", "service_name", "--format", "json"]),
            "[\n  \"api\",\n  \"web\"\n]\n"
        );
        let types = house.query(&["types", "--format", "json"]);
        assert!(
            types.contains(&format!("\"{CPU}\"")) && types.contains("memory:inuse_space:bytes:space:bytes"),
            "{types}"
        );
        let series = house.query(&["series", "--query", "{service_name=\"api\"}", "--format", "json"]);
        assert!(series.contains(r#""labels":{"#) && series.lines().count() == 3, "{series}");
        house = house.restart();
    }
}

#[test]
fn callers_and_callees_of_a_function_are_listed() {
    let house = House::new();
    let expected = "[\n  {\"relation\":\"caller\",\"name\":\"main\",\"total\":8},\n  \
                    {\"relation\":\"function\",\"name\":\"read\",\"total\":8},\n  \
                    {\"relation\":\"self\",\"name\":\"read\",\"total\":8}\n]\n";
    assert_eq!(house.query(&["neighbours", "read", "--query", &api(), "--format", "json"]), expected);
    let table = house.query(&["neighbours", "main", "--query", &api()]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["relation", "total", "total%", "function"]);
    assert_eq!(lines[1], ["outermost", "11ns", "100.0%"]);
    assert_eq!(lines[2], ["function", "11ns", "100.0%", "main"]);
    assert_eq!(lines[3], ["self", "0", "0.0%", "main"]);
    assert_eq!(lines[4], ["callee", "8ns", "72.7%", "read"]);
    assert_eq!(lines.len(), 7);
    assert_eq!(house.query(&["neighbours", "gone", "--query", &api()]), "");
    let check = |function: &str, query: &str, said: &str| {
        let args = ["neighbours", function, "--query", query];
        let err = house.server.run(&[&args[..], &AROUND].concat()).err;
        assert!(err.contains(said), "{function}: {err}");
    };
    check("gone", &api(), "no function of what is selected is called \"gone\"\n");
    check("REA", &api(), "no function of what is selected is called \"REA\"; there are: read\n");
    check("read", &format!("{CPU}{{service_name=\"nobody\"}}"), "nothing found from");
}

#[test]
fn a_merge_comes_in_every_form() {
    let house = House::new();
    let merge =
        |format: &str| house.server.run(&[&["merge", "--query", &api(), "--format", format], &AROUND[..]].concat());
    let svg = merge("svg").out;
    assert!(svg.contains("<svg") && svg.contains("main") && svg.contains("seek"), "{svg}");
    let html = merge("html").out;
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("<svg"), "{html}");
    let expected = "[\n  {\"stack\":\"main;read\",\"value\":8},\n  {\"stack\":\"main;seek\",\"value\":2},\n  {\"stack\":\"main;write\",\"value\":1}\n]\n";
    assert_eq!(merge("json").out, expected);
    let table = merge("table").out;
    assert!(table.contains("call tree") && table.contains("72.7%") && table.contains("    read"), "{table}");
    let batch = decode_pprof(merge("pprof").bytes.into(), &Limits::default()).unwrap();
    assert_eq!(folded(&batch, 0).get("main;read"), Some(&8));
    assert!(merge("arrow").bytes.starts_with(&[0xff, 0xff, 0xff, 0xff]));
    let file = house.path("flame.svg");
    house.query(&["merge", "--query", &api(), "--format", "svg", "--output", &file]);
    assert_eq!(fs::read_to_string(file).unwrap().len(), svg.len());
}

#[test]
fn a_diff_keeps_what_exists_on_one_side_only() {
    let house = House::new();
    let diff = |format: &str| {
        let (before, after) = ("2026-05-01T11:00:00Z..2026-05-01T12:30:00Z", "1777638600..1777644000");
        house.server.ok(&["diff", "--query", &api(), "--before", before, "--after", after, "--format", format])
    };
    assert_eq!(diff("folded"), "main;read 3 5\nmain;seek 0 2\nmain;write 1 0\n");
    assert!(diff("json").contains(r#"{"stack":"main;seek","before":0,"after":2}"#));
    assert!(diff("table").contains("+2ns"));
    assert!(diff("svg").contains("seek"));
}

#[test]
fn functions_of_two_periods_are_compared() {
    let house = House::new();
    let compare = |more: &[&str]| {
        let (before, after) = ("2026-05-01T11:00:00Z..2026-05-01T12:30:00Z", "1777638600..1777644000");
        let (query, args) = (api(), ["--before", before, "--after", after]);
        house.server.run(&[&["compare", "--query", &query], &args[..], more].concat())
    };
    let json = compare(&["--format", "json", "--limit", "2"]).out;
    let expected = concat!(
        r#"{"name":"seek","self_before":0,"total_before":0,"self_after":2,"total_after":2,"#,
        r#""self_significance":null,"total_significance":null}"#
    );
    assert!(json.contains(expected) && json.lines().count() == 4, "{json}");
    let table = compare(&[]);
    assert!(table.out.contains("28.6%") && table.out.contains("function"), "{}", table.out);
    assert!(table.err.contains("less than two slices"), "{}", table.err);
}

#[test]
fn functions_are_listed_by_their_own_value() {
    let house = House::new();
    let top = house.query(&["top", "--query", &api(), "--format", "json"]);
    let expected = "[\n  {\"name\":\"read\",\"self\":8,\"total\":8},\n  {\"name\":\"seek\",\"self\":2,\"total\":2},\n  {\"name\":\"write\",\"self\":1,\"total\":1},\n  {\"name\":\"main\",\"self\":0,\"total\":11}\n]\n";
    assert_eq!(top, expected);
    let table = house.query(&["top", "--query", &api(), "--limit", "1"]);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("72.7%"), "{table}");
}

#[test]
fn a_single_profile_is_listed_and_fetched_as_it_was_pushed() {
    let house = House::new();
    let batch = Fixture::heap().time(NOON).profile("main;a 1,2,3,4 {thread=x} | main;b 0,0,-5,7");
    let id = house.push("one.pb.gz", "one", NOON, &batch);
    let listed = house.query(&["profiles", "--query", "{service_name=\"one\"}", "--format", "json"]);
    assert_eq!(listed.matches(&id).count(), 4, "{listed}");
    assert!(listed.contains(r#""time":"2026-05-01T12:00:00.000000000Z""#), "{listed}");
    assert!(listed.contains(r#""labels":{"region":"eu","service_name":"one"}"#), "{listed}");
    assert!(listed.contains(r#""total":11"#), "{listed}");
    let file = house.path("fetched.pb.gz");
    house.server.ok(&["profile", &id, "--output", &file]);
    let fetched = decode_pprof(fs::read(file).unwrap().into(), &Limits::default()).unwrap();
    pprof_equal(&batch, &fetched).unwrap();
    let missing = house.server.run(&["profile", "00000000000000000000000000000000"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.starts_with("error: "), "{}", missing.err);
}

#[test]
fn pushing_the_same_id_again_counts_once() {
    let house = House::new();
    let file = write_pprof(house.folder.path(), "again.pb.gz", &Fixture::cpu().profile("main 1"));
    let id = "0123456789abcdef0123456789abcdef";
    let args = ["push", file.to_str().unwrap(), "--profile-id", id, "--time", &NOON.to_string()];
    for _ in 0..2 {
        assert!(house.server.ok(&args).starts_with(id));
    }
    assert_eq!(house.query(&["merge", "--query", &format!("{CPU}{{service_name=\"again\"}}")]), "main 1\n");
}

#[test]
fn folded_text_is_pushed_under_the_name_of_its_file() {
    let house = House::new();
    let file = house.path("stacks.folded");
    fs::write(&file, "main;a 1\nmain;b 2\n").unwrap();
    house.server.ok(&["push", &file]);
    let types = house.server.ok(&["types", "--query", "{service_name=\"stacks\"}", "--to", "now+1m"]);
    let query = format!("{}{{service_name=\"stacks\"}}", types.trim());
    assert_eq!(house.server.ok(&["merge", "--query", &query, "--to", "now+1m"]), "main;a 1\nmain;b 2\n");
}

#[test]
fn a_profile_that_is_rejected_is_told_and_the_others_are_stored() {
    let house = House::new();
    let good = write_pprof(house.folder.path(), "good.pb.gz", &Fixture::cpu().profile("main 1"));
    let bad = house.path("bad.pb.gz");
    fs::write(&bad, b"\x1f\x8bnot really gzip").unwrap();
    let time = NOON.to_string();
    let done = house.server.run(&["push", &bad, "no-such-file", good.to_str().unwrap(), "--time", &time]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("rejected: ") && done.err.contains("bad.pb.gz: "), "{}", done.err);
    assert!(done.err.contains("2 of 3 files were rejected"), "{}", done.err);
    assert!(done.out.contains("good.pb.gz"), "{}", done.out);
    assert_eq!(house.query(&["merge", "--query", &format!("{CPU}{{service_name=\"good\"}}")]), "main 1\n");
    let done = house.server.run(&["push", &bad, "--time", &time]);
    assert_eq!((done.code, done.err.contains("rejected: ")), (Some(1), true), "{}", done.err);
}

#[test]
fn tenants_do_not_see_each_other() {
    let house = House::new();
    assert_eq!(house.query(&["types", "--tenant", "other", "--format", "json"]), "[]\n");
}

#[test]
fn an_empty_answer_says_where_it_looked() {
    let house = House::new();
    let done = house.server.run(&["types", "--from", "2020-01-01", "--to", "2020-01-02"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), ""));
    assert!(done.err.contains("nothing found from 2020-01-01T00:00:00Z"), "{}", done.err);
}

#[test]
fn wrong_usage_is_told_with_what_would_be_right() {
    for (args, expected) in [
        (
            &["merge", "--query", "{}", "--from", "yesterday"][..],
            "--from <TIME>': not a time; examples: 2026-05-01T12:00:00Z",
        ),
        (&["merge", "--query", "{a=1}"], "--query"),
        (&["merge"], "--query <SELECTOR>"),
        (&["diff", "--query", "{}", "--before", "now", "--after", "now-1h..now"], "now-2h..now-1h"),
        (&["push"], "<FILE>"),
        (&["push", "x", "--label", "nothing"], "region=eu-west-1"),
        (&["serve", "--store", "gs://x"], "unknown scheme"),
        (&["serve", "--store", "memory:", "--listen", "here"], "127.0.0.1:4040"),
        (&["top", "--query", "{}", "--limit", "0"], "--limit"),
    ] {
        let done = run(args);
        assert_eq!(done.code, Some(2), "{args:?}: {}", done.err);
        assert!(done.err.contains(expected), "{args:?}: {}", done.err);
    }
    let done = run(&["merge", "--query", "{}", "--from", "now", "--to", "now-1h", "--server", "127.0.0.1:1"]);
    assert!(
        done.code == Some(1) && done.err.contains("error: --from and --to: the time range ends at"),
        "{}",
        done.err
    );
    let done = run(&["serve"]);
    assert!(done.code == Some(1) && done.err.contains("--store ./data"), "{}", done.err);
}

#[test]
fn a_server_that_is_not_there_is_told_with_a_hint() {
    let done = run(&["types", "--server", "http://127.0.0.1:1"]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("error: cannot reach http://127.0.0.1:1"), "{}", done.err);
    assert!(done.err.contains("hint: is `flamestore serve` running on http://127.0.0.1:1?"), "{}", done.err);
}

#[test]
fn a_port_that_is_taken_is_told_with_a_hint() {
    let house = House::new();
    let listen = house.server.address.trim_start_matches("http://").to_owned();
    let done = run(&["serve", "--store", "memory:", "--listen", &listen]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("--listen 127.0.0.1:0"), "{}", done.err);
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flamestore.toml");
    fs::write(&file, "store = \"memory:\"\n[server]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    let args = ["serve", "--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let server = Running::start(&args);
    assert!(!server.address.ends_with(":1") && !server.address.ends_with(":0"), "{}", server.address);
    let types = finish(command(&["types"]).env("FLAMESTORE_SERVER", &server.address).spawn().unwrap());
    assert_eq!(types.code, Some(0), "{}", types.err);
    fs::write(&file, "colour = 1\n").unwrap();
    let done = run(&["serve", "--config", file.to_str().unwrap()]);
    assert!(done.code == Some(1) && done.err.contains("unknown field `colour`"), "{}", done.err);
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let house = House::new();
    let mut child = command(&[&["merge", "--query", &api(), "--server", &house.server.address], &AROUND[..]].concat())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = finish(child);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
}

#[test]
fn a_store_is_tended_without_a_server() {
    let house = House::new().restart();
    house.push("d.pb.gz", "api", NOON + 60_000_000_000, &Fixture::cpu().profile("main;late 7"));
    let store = house.path("store");
    let House { folder, server } = house;
    assert_eq!(server.stop("TERM").code, Some(0));
    let tend = |args: &[&str]| run(&[&["store"], args, &["--store", &store]].concat());
    let segments = || ok(&["store", "ls", "--store", &store, "--format", "json"]).matches("\"id\"").count();
    assert_eq!(segments(), 2);
    let merged = tend(&["compact", "--all"]);
    assert!(merged.code == Some(0) && merged.err.contains("merged 2 segments"), "{}", merged.err);
    assert_eq!(segments(), 1);
    let web = ["delete", "--query", "{service_name=\"web\"}", "--from", "2026-05-01", "--to", "2026-05-02"];
    let planned = tend(&[&web[..], &["--dry-run"]].concat());
    assert!(planned.err.contains("would delete 4 profiles"), "{}", planned.err);
    let deleted = tend(&web);
    assert!(deleted.code == Some(0) && deleted.err.contains("deleted 4 profiles"), "{}", deleted.err);
    let listed = ok(&["store", "ls", "--store", &store, "--format", "json"]);
    assert!(listed.contains("\"services\":[\"api\"]"), "{listed}");
    let collected = tend(&["gc"]);
    assert!(collected.code == Some(0) && collected.err.contains("deleted 0 objects"), "{}", collected.err);
    assert_eq!(run(&["store", "check", "--store", &store]).code, Some(0));
    let missing = run(&["store", "compact", "--store", &format!("{store}-not")]);
    assert!(missing.code == Some(1) && missing.err.contains("no such folder"), "{}", missing.err);

    // a server that only answers sees what is there, and takes nothing
    let reader = Running::start(&["serve", "--store", &store, "--listen", "127.0.0.1:0", "--roles", "query"]);
    let api = api();
    let query = [&["merge", "--query", api.as_str()], &AROUND[..]].concat();
    assert_eq!(reader.ok(&query), "main;late 7\nmain;read 8\nmain;seek 2\nmain;write 1\n");
    let file = write_pprof(folder.path(), "e.pb.gz", &Fixture::cpu().profile("main 1"));
    assert_eq!(reader.run(&["push", file.to_str().unwrap(), "--label", "service_name=x"]).code, Some(1));
    assert_eq!(reader.stop("TERM").code, Some(0));
}

#[test]
fn a_store_is_listed_and_checked_without_a_server() {
    let house = House::new();
    let store = house.path("store");
    let done = house.server.stop("INT");
    assert_eq!(done.code, Some(0), "{}", done.err);
    let listed = ok(&["store", "ls", "--store", &store, "--format", "json"]);
    assert!(listed.contains("\"services\":[\"api\",\"web\"]"), "{listed}");
    assert!(ok(&["store", "ls", "--store", &store]).contains("anonymous"));
    let sound = run(&["store", "check", "--store", &store]);
    assert_eq!((sound.code, sound.err.contains("sound")), (Some(0), true), "{}", sound.err);
    damage(&largest_parquet(Path::new(&store)));
    let damaged = run(&["store", "check", "--deep", "--store", &store, "--format", "json"]);
    assert_eq!(damaged.code, Some(1), "{}", damaged.err);
    assert!(damaged.out.contains(".parquet") && damaged.out.contains("\"expected\""), "{}", damaged.out);
    let missing = run(&["store", "check", "--store", &format!("{store}-not")]);
    assert!(missing.code == Some(1) && missing.err.contains("no such folder"), "{}", missing.err);
}

#[test]
fn the_bytes_of_a_store_are_counted_and_its_samples_taken_out() {
    let house = House::new();
    let (store, out) = (house.path("store"), house.path("out"));
    assert_eq!(house.server.stop("INT").code, Some(0));
    let counted = ok(&["store", "du", "--store", &store, "--format", "json"]);
    for row in ["\"by\":\"table\",\"name\":\"samples\"", "\"by\":\"service\",\"name\":\"web\"", CPU] {
        assert!(counted.contains(row), "{row}: {counted}");
    }
    let counted = ok(&["store", "du", "--store", &store, "--by", "tenant"]);
    assert!(counted.contains("anonymous") && counted.contains("100.0%"), "{counted}");
    let query = api();
    let export = [&["store", "export", "--store", &store, "--output", &out, "--query", &query][..], &AROUND].concat();
    let done = run(&export);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("profiles: 2, samples: 4"), "{}", done.err);
    let file = done.out.trim();
    assert!(file.ends_with("anonymous-2026-05-01.parquet"), "{file}");
    assert_eq!(&fs::read(file).unwrap()[..4], b"PAR1");
    let again = run(&export);
    assert!(again.code == Some(1) && again.err.contains("anonymous-2026-05-01.parquet"), "{}", again.err);
}

#[test]
fn what_is_selected_is_taken_out_of_a_store_as_one_profile_of_each_type() {
    let pushed = [
        ("api", NOON, Fixture::cpu().profile("main;read 3 | main;write 1 {worker=a}")),
        ("api", NOON + 60_000_000_000, Fixture::cpu().profile("main;read 5 {worker=a} | main;seek 2")),
        ("web", NOON, Fixture::cpu().profile("main;read 40 | main;write 1 {worker=a}")),
        ("web", NOON, Fixture::heap().profile("main;new 1,2,3,4 | main;keep 5,6,7,8")),
        // outside of the range
        ("api", NOON + 86_400_000_000_000, Fixture::cpu().profile("main;late 9")),
    ];
    let (house, mut oracle) = (House::empty(), Oracle::new());
    for (number, (service, time, batch)) in pushed.iter().enumerate() {
        let id = house.push(&format!("{number}.pb.gz"), service, *time, batch);
        let labels = Labels::from_pairs([("service_name", *service), ("region", "eu")]).unwrap();
        oracle.push(id.parse().unwrap(), &labels, Some(*time), batch.clone());
    }
    let (store, out) = (house.path("store"), house.path("out"));
    assert_eq!(house.server.stop("INT").code, Some(0));
    let export = [&["store", "export", "--merge", "--store", &store, "--output", &out][..], &AROUND].concat();
    let done = run(&export);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("profiles: 7, samples: 12"), "{}", done.err);
    let range = TimeRange::new(NOON - 1, NOON + 3_600_000_000_000).unwrap();
    let types = oracle.profile_types(&Selector::default(), &range);
    assert_eq!((types.len(), done.out.lines().count()), (5, 5));
    for ty in types {
        let name = format!("{out}/anonymous-{}.pb.gz", ty.to_string().replace(':', "-"));
        assert!(done.out.contains(&name), "{name}: {}", done.out);
        let merged = decode_pprof(fs::read(&name).unwrap().into(), &Limits::default()).unwrap();
        let of_type = format!("{{__profile_type__=\"{ty}\"}}").parse().unwrap();
        assert_eq!(folded(&merged, 0), oracle.merge_folded(&of_type, &range), "{ty}");
        assert_eq!(profile_types(&merged, Some(&ty.name)), [ty]);
    }
    let cpu = fs::read(format!("{out}/anonymous-{}.pb.gz", CPU.replace(':', "-"))).unwrap();
    let cpu = decode_pprof(cpu.into(), &Limits::default()).unwrap();
    // read and write of each label, and seek
    assert_eq!(cpu.samples.len(), 4);

    let again = run(&export);
    assert!(again.code == Some(1) && again.err.contains(".pb.gz"), "{}", again.err);
    let parquet = run(&[&export[..], &["--format", "parquet"]].concat());
    assert!(parquet.code == Some(1) && parquet.err.contains("--merge makes pprof files"), "{}", parquet.err);
    let small = run(&[&export[..], &["--query-memory-bytes-max", "1KiB"]].concat());
    assert!(small.code == Some(1) && small.err.contains("query_memory_bytes_max=1024"), "{}", small.err);
}

#[test]
fn a_store_without_its_manifest_is_repaired() {
    let house = House::new();
    let store = house.path("store");
    assert_eq!(house.server.stop("INT").code, Some(0));
    let nothing = run(&["store", "repair", "--store", &store]);
    assert!(nothing.code == Some(0) && nothing.err.contains("nothing to repair"), "{}", nothing.err);
    fs::remove_dir_all(Path::new(&store).join("manifest")).unwrap();
    let said = run(&["store", "repair", "--store", &store, "--dry-run"]);
    assert!(said.code == Some(0) && said.err.contains("would be repaired"), "{}", said.err);
    let done = run(&["store", "repair", "--store", &store]);
    assert!(done.code == Some(0) && done.err.contains("repaired as manifest version 1"), "{}", done.err);
    assert!(done.out.contains("restored"), "{}", done.out);
    assert_eq!(run(&["store", "check", "--deep", "--store", &store]).code, Some(0));
    let server = Running::serve(Path::new(&store));
    let merged = server.ok(&[&["merge", "--query", &api()][..], &AROUND].concat());
    assert_eq!(merged, "main;read 8\nmain;seek 2\nmain;write 1\n");
}

#[test]
fn a_manifest_of_a_newer_version_is_refused_by_every_command_and_left_alone() {
    let house = House::new();
    let (store, out) = (house.path("store"), house.path("out"));
    assert_eq!(house.server.stop("INT").code, Some(0));
    let folder = Path::new(&store).join("manifest");
    let newest = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes[4] = 200;
    fs::write(&newest, &bytes).unwrap();
    let count = || fs::read_dir(&folder).unwrap().count();
    let before = count();
    let serve = ["serve", "--store", &store, "--listen", "127.0.0.1:0"];
    let tools = [["ls"].as_slice(), &["check"], &["check", "--deep"], &["du"], &["repair"], &["export", "-o", &out]];
    let tools = tools.map(|tool| [&["store"], tool, &["--store", &store]].concat());
    for args in tools.iter().map(Vec::as_slice).chain([serve.as_slice()]) {
        let done = run(args);
        assert!(done.code == Some(1) && done.err.contains("upgrade flamestore"), "{args:?}: {}", done.err);
    }
    assert_eq!((count(), fs::read(&newest).unwrap()), (before, bytes));
}

fn largest_parquet(folder: &Path) -> PathBuf {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "parquet"));
    files.into_iter().max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap()
}

fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(file, bytes).unwrap();
}

/// The profiles to compare: those of the corpus, or two of our own.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else {
        let cpu = Fixture::cpu()
            .mapping(0x1000, 0x9000, "b1")
            .profile("main@1100;read<inlined@1200 3 | main@1100;-@1300 1 | main@1100 -2");
        let heap = Fixture::heap().profile("main;new 1,2,3,4 {bytes=64} | main;new 1,2,0,0 {bytes=128} | main 0,0,0,9");
        return vec![write_pprof(folder, "own-cpu.pb.gz", &cpu), write_pprof(folder, "own-heap.pb.gz", &heap)];
    };
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(corpus).join("pprof")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

struct Pushed {
    time: i64,
    name: String,
    expected: BTreeMap<String, Vec<String>>,
}

/// For each profile type the folded lines of a plain decode, types of the same name summed.
fn expected(batch: &ProfileBatch) -> BTreeMap<String, Vec<String>> {
    let mut sums: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for (column, ty) in profile_types(batch, None).iter().enumerate() {
        let of_type = sums.entry(ty.to_string()).or_default();
        for (stack, value) in folded(batch, column) {
            *of_type.entry(stack).or_default() += value;
        }
    }
    let lines = |sums: BTreeMap<String, i64>| {
        let mut lines: Vec<String> =
            sums.iter().filter(|(_, v)| **v != 0).map(|(stack, value)| format!("{stack} {value}")).collect();
        lines.sort();
        lines
    };
    sums.into_iter().map(|(ty, sums)| (ty, lines(sums))).collect()
}

#[test]
fn every_file_is_merged_to_what_a_plain_decode_gives_before_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mut server = Running::serve(&store);
    let mut pushed = Vec::new();
    for (at, file) in files(folder.path()).iter().enumerate() {
        let Ok(batch) = decode_pprof(fs::read(file).unwrap().into(), &Limits::default()) else { continue };
        let (name, time) = (format!("file-{at}"), NOON + i64::try_from(at).unwrap());
        let label = format!("service_name={name}");
        server.ok(&["push", file.to_str().unwrap(), "--label", &label, "--time", &time.to_string()]);
        pushed.push(Pushed { time, name, expected: expected(&batch) });
    }
    assert!(pushed.len() >= 2);
    for round in ["before", "after"] {
        for Pushed { time, name, expected } in &pushed {
            for (ty, lines) in expected {
                let query = format!("{ty}{{service_name=\"{name}\"}}");
                let (from, to) = (time.to_string(), (time + 1).to_string());
                let asked = ["merge", "--query", &query, "--from", &from, "--to", &to];
                let merged = server.ok(&[&asked[..], &["--format", "folded"]].concat());
                // As text: a name of the corpus holds the end of a line.
                let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
                assert!(
                    merged == lines,
                    "{name} {ty} {round}: {:?}",
                    merged.lines().zip(lines.lines()).find(|(a, b)| a != b)
                );
            }
        }
        if round == "before" {
            assert_eq!(server.stop("TERM").code, Some(0));
            server = Running::serve(&store);
        }
    }
}
