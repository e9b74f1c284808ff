//! The demo: a server that is profiled by signals while it works, and ends cleanly.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use support::Running;

const OWN: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"flamestore-demo\"}";

#[test]
fn the_demo_profiles_itself_and_keeps_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("demo");
    let mut demo = Running::start(&["demo", "--listen", "127.0.0.1:0", "--store", store.to_str().unwrap()]);
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
