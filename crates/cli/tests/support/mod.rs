//! Runs the real command: a server that is ended by its id, and commands that are bounded in time.

pub(crate) mod load;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use flamestore_formats::{encode_pprof, gzip};
use flamestore_model::ProfileBatch;

/// How long anything may take; far more than it should.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The command without the environment of whoever runs the tests.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flamestore"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FLAMESTORE_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a finished command left.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Done {
    finish(command(args).spawn().unwrap())
}

/// Runs a command that must succeed; gives its standard output.
pub(crate) fn ok(args: &[&str]) -> String {
    let done = run(args);
    assert_eq!(done.code, Some(0), "{args:?}: {}", done.err);
    done.out
}

/// Waits for `child`, for a bounded time.
pub(crate) fn finish(child: Child) -> Done {
    let id = child.id();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // The receiver is gone when the test has failed already.
        let _ = sender.send(child.wait_with_output());
    });
    let Ok(output) = receiver.recv_timeout(PATIENCE) else {
        signal(id, "KILL");
        panic!("process {id} did not end within {PATIENCE:?}");
    };
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Done { code: status.code(), out: text(&stdout), err: text(&stderr), bytes: stdout }
}

/// Sends a signal to one process.
pub(crate) fn signal(id: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status().unwrap();
    assert!(status.success(), "kill -{name} {id}");
}

/// A server in a process of its own; killed when dropped.
pub(crate) struct Running {
    child: Option<Child>,
    /// The first line of its standard output.
    pub(crate) first_line: String,
    pub(crate) address: String,
    lines: mpsc::Receiver<String>,
}

impl Running {
    /// Starts `flamestore serve` on a free port and waits until it says that it is ready.
    pub(crate) fn serve(store: &Path) -> Self {
        Self::start(&["serve", "--store", store.to_str().unwrap(), "--listen", "127.0.0.1:0", "--log", "warn"])
    }

    /// Starts a command that prints where it listens.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_command(command(args))
    }

    /// Starts a command that prints where it listens.
    pub(crate) fn start_command(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let mut running = Self { child: Some(child), first_line: String::new(), address: String::new(), lines };
        running.first_line = running.line_with("");
        let ready = match running.first_line.contains("listening on ") {
            true => running.first_line.clone(),
            false => running.line_with("listening on "),
        };
        let after = ready.split("listening on ").nth(1).unwrap();
        running.address = after.split([',', ' ']).next().unwrap().to_owned();
        running
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The next line of its standard output that holds `text`.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return line;
            }
        }
        let child = self.child.take().unwrap();
        signal(child.id(), "KILL");
        let err = finish(child).err;
        panic!("no line with {text:?}: {err}");
    }

    /// Runs a client command against this server.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        run(&[args, &["--server", &self.address]].concat())
    }

    /// Runs a client command that must succeed; gives its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        ok(&[args, &["--server", &self.address]].concat())
    }

    /// Ends it by a signal; what it left.
    pub(crate) fn stop(mut self, name: &str) -> Done {
        let child = self.child.take().unwrap();
        signal(child.id(), name);
        finish(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The lines of `out`, as they come.
pub(crate) fn read_lines(out: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Writes `batch` as gzip-compressed pprof.
pub(crate) fn write_pprof(folder: &Path, name: &str, batch: &ProfileBatch) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, gzip(&encode_pprof(batch)).unwrap()).unwrap();
    path
}
