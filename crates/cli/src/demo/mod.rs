//! `demo`: a server on a local folder that profiles itself, with some work to look at.
//!
//! ```text
//! profiler: a pprof every 10 s ────────────▶ ┐
//! shop: an hour of history, then more of it ▶ ├─ gRPC on loopback ─▶ server ─▶ folder
//! reader: merges and lists ────────────────▶ ┘                       └─ page ─▶ browser
//! ```
//!
//! All three go through the public API, like any other client. At the end the profiler stops first and its last window is
//! pushed; then the server flushes.

mod load;
mod profiler;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use flamestore_model::names;
use flamestore_proto::v1::{Label, ProfileFormat, PushRequest, RawProfile};
use flamestore_store::StoreUrl;
use tokio::sync::oneshot;

use crate::client::{Client, Remote};
use crate::config::{BucketArgs, LimitArgs, Listen, Settings, listen_address, store_url};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::serve::{Bound, StopSignal, bind, ready_line};
use crate::time::now;
use load::History;
use profiler::Window;

/// The service under which the demo's own profiles are found.
const SERVICE: &str = "flamestore-demo";
/// The type of its CPU profiles.
const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
/// The first is short, so that the page soon has something to show.
const FIRST_WINDOW: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(10);
/// Windows that may wait for the push task.
const WINDOWS_QUEUED: usize = 4;

/// Starts a server on a local folder which profiles itself, so that there is something to look at within seconds.
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// The address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "FLAMESTORE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:4040", value_parser = listen_address)]
    listen: SocketAddr,
    /// Where profiles are kept; what is there already is kept too.
    #[arg(long, env = "FLAMESTORE_STORE", value_name = "URL", default_value = "./flamestore-demo", value_parser = store_url)]
    store: StoreUrl,
}

impl Demo {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let bucket = BucketArgs::default();
        let listen = Listen { http: Some(self.listen), postgres: None };
        let settings = Settings::read(None, Some(&self.store), listen, &bucket, &LimitArgs::default())?;
        let stop = StopSignal::new()?;
        let Bound { server, tending, .. } = bind(&settings).await?;
        let address = server.local_addr();
        let history = History::until(now());
        output::print(&page_line(address))?;
        output::print(&ready_line(&settings, &server))?;
        output::print(&intro(address, &history))?;

        let (leave, left) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async {
            // An error means that the sender is gone: the demo ended.
            let _ = left.await;
        }));
        let played = play(address, history, stop).await;
        // An error means that the server ended before the demo; its result is looked at below.
        let _ = leave.send(());
        let served = serving.await.map_err(|e| Failure::new(format!("the server broke: {e}")))?;
        tending.end().await;
        played?;
        Ok(served?)
    }
}

/// Profiles, pushes and reads until told to stop.
async fn play(address: SocketAddr, history: History, stop: StopSignal) -> Outcome {
    let remote = Remote::plain(format!("http://{address}"), Duration::from_secs(30));
    let client = remote.connect().await?;
    let (stop_profiler, profiler_stopped) = mpsc::channel::<()>();
    let (windows, mut queue) = tokio::sync::mpsc::channel(WINDOWS_QUEUED);
    let deliver = move |window: Window| windows.blocking_send(window).is_ok();
    let profiler = std::thread::Builder::new()
        .name("self-profiler".to_owned())
        .spawn(move || profiler::run(FIRST_WINDOW, WINDOW, &profiler_stopped, deliver))
        .map_err(|e| Failure::io("the profiler thread cannot be started", &e))?;
    let load = tokio::spawn(load::run(client.clone(), history));

    let mut stop = std::pin::pin!(stop.received());
    let mut pushed = 0u64;
    loop {
        tokio::select! {
            () = &mut stop => break,
            window = queue.recv() => match window {
                Some(window) => pushed += push_window(&client, window, pushed, address).await,
                // The profiler gave up: the rest of the demo goes on without it.
                None => { stop.as_mut().await; break }
            }
        }
    }
    load.abort();
    drop(stop_profiler);
    while let Some(window) = queue.recv().await {
        pushed += push_window(&client, window, pushed, address).await;
    }
    match profiler.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            output::note(&format!("warning: {error}"));
            Ok(())
        }
        Err(_) => Err(Failure::new("the profiler thread broke")),
    }
}

/// Pushes a window; says how many profiles that were. A failure is told and does not end the demo.
async fn push_window(client: &Client, window: Window, pushed: u64, address: SocketAddr) -> u64 {
    if window.samples == 0 {
        return 0;
    }
    let samples = window.samples;
    if let Err(failure) = push(client, vec![raw(SERVICE, &[], window.pprof)]).await {
        output::note(&format!("warning: a profile could not be pushed: {failure}"));
        return 0;
    }
    tracing::info!(samples, "pushed a profile of this process");
    if pushed == 0 {
        let text = format!(
            "The first profile of this process is in: {samples} samples. Try now, in another terminal:\n\n{}",
            next(address)
        );
        // A closed standard output does not end the demo.
        let _ = output::print(&text);
    }
    1
}

/// A profile of `service` as it is pushed.
fn raw(service: &str, labels: &[(&str, &str)], pprof: Vec<u8>) -> RawProfile {
    let service = (names::SERVICE_NAME, service);
    let labels = labels.iter().chain([&service]);
    RawProfile {
        labels: labels.map(|(name, value)| Label { name: (*name).to_owned(), value: (*value).to_owned() }).collect(),
        profile: pprof.into(),
        format: ProfileFormat::Pprof.into(),
        ..RawProfile::default()
    }
}

/// Pushes profiles as any client would.
async fn push(client: &Client, profiles: Vec<RawProfile>) -> Outcome {
    let request = client.request(PushRequest { profiles });
    client.ingest().push(request).await.map(|_| ()).map_err(|e| client.failure(&e))
}

/// Where to look, before anything else.
fn page_line(address: SocketAddr) -> String {
    let view = [("view", "single"), ("query", &of_service(SERVICE, "")), ("from", "now-1h"), ("to", "now")];
    format!("Open {}\n", link(address, &view))
}

fn intro(address: SocketAddr, history: &History) -> String {
    let [before, after] = load::VERSIONS;
    format!(
        "\nThe page shows what this server spends its own CPU time on: it samples itself about 100 times a second, and pushes what\n\
         it finds every {} s to itself as service_name=\"{SERVICE}\".\n\
         A made-up shop pushes as service_name=\"{}\": an hour of it is there, half of version {before} and half of {after}.\n\
         What {after} made slower, and nobody noticed:\n\n  {}\n\n\
         Metrics: http://{address}/metrics. Ctrl-C ends it and keeps the store.\n\n",
        WINDOW.as_secs(),
        load::SERVICE,
        diff_link(address, history),
    )
}

/// The page's comparison of the shop's two versions, each in its time.
fn diff_link(address: SocketAddr, history: &History) -> String {
    let millis = |nanos: i64| (nanos / 1_000_000).to_string();
    let [before, after] = load::VERSIONS.map(|version| of_service(load::SERVICE, &format!(",version=\"{version}\"")));
    let (start, release, end) = (millis(history.start), millis(history.release), millis(history.end));
    let view = [
        ("view", "diff"),
        ("query", &of_service(load::SERVICE, "")),
        ("from", &start),
        ("to", &end),
        ("leftQuery", &before),
        ("leftFrom", &start),
        ("leftTo", &release),
        ("rightQuery", &after),
        ("rightFrom", &release),
        ("rightTo", &end),
    ];
    link(address, &view)
}

/// The CPU profiles of a service, with more matchers.
fn of_service(service: &str, more: &str) -> String {
    format!("{CPU}{{service_name=\"{service}\"{more}}}")
}

/// The address at which the page shows a view.
fn link(address: SocketAddr, view: &[(&str, &str)]) -> String {
    let root = format!("http://{address}/");
    // the address of a socket is always that of a URL
    reqwest::Url::parse_with_params(&root, view).map_or(root, Into::into)
}

/// What to try next, as commands to copy.
fn next(address: SocketAddr) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "flamestore".to_owned());
    let server = match address.port() {
        4040 => String::new(),
        _ => format!(" --server http://{address}"),
    };
    let own = format!("'{}'", of_service(SERVICE, ""));
    let [before, after] =
        load::VERSIONS.map(|version| format!("'{}'", of_service(load::SERVICE, &format!(",version=\"{version}\""))));
    format!(
        "  # where this server spends its time, as a flame graph for the browser\n  \
         {program} merge{server} --query {own} --format svg --output flame.svg\n\n  \
         # the same by function\n  \
         {program} top{server} --query {own}\n\n  \
         # what a version of the made-up shop changed\n  \
         {program} diff{server} --before-query {before} --after-query {after} \\\n    \
         --before now-1h..now --after now-1h..now --format table\n\n  \
         # what else is there\n  \
         {program} types{server}\n  {program} labels{server}\n  {program} profiles{server} --limit 10\n\n",
    )
}
