//! How a file is encoded: what its bytes say, else what its name says.

use std::path::Path;

use bytes::Bytes;
use clap::ValueEnum;
use flamestore_formats::{Limits, Recognised, recognise};
use flamestore_proto::v1::ProfileFormat;

use crate::failure::{Failure, Outcome};

/// The most bytes that a file may hold to be looked through; what is stored is under the server's limits.
const BYTES_MAX: usize = 1 << 30;
/// Ends of names that say nothing of what is in the file.
const CONTAINERS: [&str; 3] = [".gz", ".zst", ".zstd"];
/// Ends of names, and what the files are called by where their bytes do not tell.
const ENDS: [(&str, Option<FileFormat>); 16] = [
    (".speedscope.json", Some(FileFormat::Speedscope)),
    (".json", None),
    (".pb", Some(FileFormat::Pprof)),
    (".pprof", Some(FileFormat::Pprof)),
    (".prof", Some(FileFormat::Pprof)),
    (".proto", Some(FileFormat::Pprof)),
    (".folded", Some(FileFormat::Folded)),
    (".collapsed", Some(FileFormat::Folded)),
    (".txt", Some(FileFormat::Folded)),
    (".lines", Some(FileFormat::Lines)),
    (".tree", Some(FileFormat::Tree)),
    (".trie", Some(FileFormat::Trie)),
    (".jfr", Some(FileFormat::Jfr)),
    (".otlp", Some(FileFormat::Otlp)),
    (".arrows", Some(FileFormat::Parca)),
    (".arrow", Some(FileFormat::Parca)),
];

/// How a file is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FileFormat {
    /// pprof; also the binary CPU profiles of gperftools.
    Pprof,
    /// Lines of `frame;frame;frame value`, root first.
    Folded,
    /// Lines of `frame;frame;frame`, a sample each.
    Lines,
    /// Pyroscope's tree of frames.
    Tree,
    /// Pyroscope's trie of folded stacks.
    Trie,
    /// speedscope's JSON.
    Speedscope,
    /// A recording of Java Flight Recorder.
    Jfr,
    /// An export request of OpenTelemetry profiles, in protobuf or JSON.
    Otlp,
    /// A record of Parca's agents, an Arrow IPC stream.
    Parca,
}

impl FileFormat {
    /// The format of `file`. Its bytes are believed before its name, but lines of stacks may look like folded text.
    ///
    /// # Errors
    /// When its container is damaged, or neither tells.
    pub(super) fn of(file: &Path, bytes: Bytes) -> Outcome<Self> {
        let recognised = recognise(bytes, &Limits { decompressed_bytes_max: BYTES_MAX, ..Limits::default() })?;
        match (recognised.map(Self::from), Self::of_name(file)) {
            (Some(Self::Folded), Some(Self::Lines)) => Ok(Self::Lines),
            (Some(format), _) | (None, Some(format)) => Ok(format),
            (None, None) => Err(Failure::new(
                "neither its content nor its name tells its format: it is no pprof, JFR, OTLP, speedscope, record of Parca's \
                 or folded text; --format names it",
            )),
        }
    }

    fn of_name(file: &Path) -> Option<Self> {
        let (_, ends) = split_name(file.file_name()?.to_str()?);
        ends.first().copied().flatten()
    }

    /// What the server calls it.
    pub(super) fn of_server(self) -> ProfileFormat {
        match self {
            Self::Pprof => ProfileFormat::Pprof,
            Self::Folded => ProfileFormat::Folded,
            Self::Lines => ProfileFormat::Lines,
            Self::Tree => ProfileFormat::Tree,
            Self::Trie => ProfileFormat::Trie,
            Self::Speedscope => ProfileFormat::Speedscope,
            Self::Jfr => ProfileFormat::Jfr,
            Self::Otlp => ProfileFormat::Otlp,
            Self::Parca => ProfileFormat::Parca,
        }
    }

    /// What people call it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pprof => "pprof",
            Self::Folded => "folded text",
            Self::Lines => "lines of stacks",
            Self::Tree => "a tree",
            Self::Trie => "a trie",
            Self::Speedscope => "speedscope",
            Self::Jfr => "JFR",
            Self::Otlp => "OTLP",
            Self::Parca => "a record of Parca's",
        }
    }

    /// Whether the profiles say themselves which service they are of.
    pub(super) fn names_service(self) -> bool {
        matches!(self, Self::Otlp | Self::Parca)
    }

    /// Whether the profiles say themselves when they were taken.
    pub(super) fn states_time(self) -> bool {
        matches!(self, Self::Pprof | Self::Jfr | Self::Otlp | Self::Parca)
    }
}

impl From<Recognised> for FileFormat {
    fn from(recognised: Recognised) -> Self {
        match recognised {
            Recognised::Pprof => Self::Pprof,
            Recognised::Folded => Self::Folded,
            Recognised::Speedscope => Self::Speedscope,
            Recognised::Jfr => Self::Jfr,
            Recognised::Otlp => Self::Otlp,
            Recognised::Parca => Self::Parca,
        }
    }
}

/// The name of a file without the ends that profiles have, and what these say, the last one first.
pub(super) fn split_name(mut name: &str) -> (&str, Vec<Option<FileFormat>>) {
    let mut ends = Vec::new();
    let shorter = |name: &str, end: &str| name.strip_suffix(end).filter(|name| !name.is_empty()).map(str::len);
    loop {
        if let Some(length) = CONTAINERS.iter().find_map(|end| shorter(name, end)) {
            name = &name[..length];
        } else if let Some((length, format)) =
            ENDS.iter().find_map(|(end, format)| Some((shorter(name, end)?, *format)))
        {
            name = &name[..length];
            ends.push(format);
        } else {
            return (name, ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, bytes: &'static [u8], expected: Option<FileFormat>) {
        assert_eq!(FileFormat::of(Path::new(name), Bytes::from_static(bytes)).ok(), expected, "{name} {bytes:?}");
    }

    #[test]
    fn a_format_is_told_by_the_bytes_before_the_name() {
        check("a.folded", b"main 1\n", Some(FileFormat::Folded));
        check("a.pb", b"main 1\n", Some(FileFormat::Folded));
        check("a.lines", b"main 1\n", Some(FileFormat::Lines));
        check("a.tree", b"FLR\0", Some(FileFormat::Jfr));
        check("-", b"FLR\0", Some(FileFormat::Jfr));
    }

    #[test]
    fn a_format_is_told_by_the_name_where_the_bytes_do_not() {
        for (name, expected) in [
            ("a.folded", Some(FileFormat::Folded)),
            ("a.txt", Some(FileFormat::Folded)),
            ("a.pb.gz", Some(FileFormat::Pprof)),
            ("a.lines.zst", Some(FileFormat::Lines)),
            ("x/a.tree", Some(FileFormat::Tree)),
            ("a.trie", Some(FileFormat::Trie)),
            ("a.speedscope.json", Some(FileFormat::Speedscope)),
            ("a.json", None),
            ("a.folded.json", None),
            ("a.gz", None),
            ("a", None),
            ("-", None),
        ] {
            check(name, b"main;read\n", expected);
        }
    }
}
