//! `store export --merge`: one pprof per profile type, the sum of what is selected.
//!
//! The engine that answers a server's queries does it, over the bucket as it is. Symbols, labels and sums of one profile type are in memory at one time, bounded by the engine's limit.
//! A damaged segment is reported and the rest is written.

use std::collections::BTreeSet;
use std::io::{self, Write};

use flamestore_formats::{encode_pprof, gzip};
use flamestore_model::{Error, MatchOp, Matcher, ProfileType, Result, names};
use flamestore_query::{Query, QueryOptions};
use flamestore_store::{Bucket, ExportOptions, ExportReport, Problem};

/// Writes a file for each profile type that `options` select to what `create` makes by name.
///
/// # Errors
/// What the bucket says; `Exhausted`, naming the limit, when a merge takes more memory than `query` allows; `Invalid` when a sum
/// leaves 64 bits; `Unavailable` when a file cannot be made or written.
pub(super) async fn export<W: Write>(
    bucket: Bucket,
    options: &ExportOptions,
    query: QueryOptions,
    mut create: impl FnMut(&str) -> io::Result<W>,
) -> Result<ExportReport> {
    let engine = super::engine(bucket, query).await?;
    let all = Query::new(options.tenant.clone(), options.selector.clone(), options.range);
    let types = engine.profile_types(&all).await?;
    let (mut report, mut names) = (ExportReport::default(), BTreeSet::new());
    tell(&mut report, &types.report.damaged);
    for profile_type in types.value {
        let mut of_type = all.clone();
        of_type.selector.matchers.push(Matcher::new(names::PROFILE_TYPE, MatchOp::Equal, profile_type.to_string())?);
        let merged = engine.merge_pprof(&of_type).await?;
        tell(&mut report, &merged.report.damaged);
        report.without_samples = report.without_samples.max(merged.report.segments_expired);
        if merged.report.profiles == 0 {
            continue;
        }
        let name = file_name(options.tenant.as_str(), &profile_type, &mut names);
        let bytes = gzip(&encode_pprof(&merged.value))?;
        let written = create(&name).and_then(|mut out| out.write_all(&bytes).and_then(|()| out.flush()));
        written.map_err(|e| Error::unavailable("export: a file cannot be written").with("file", &name).because(e))?;
        report.files.push(name);
        report.profiles += merged.report.profiles;
        report.rows += merged.value.samples.len() as u64;
    }
    Ok(report)
}

/// Adds what is damaged to the problems, each segment once.
fn tell(report: &mut ExportReport, damaged: &[flamestore_query::DamagedSegment]) {
    for damaged in damaged {
        if report.problems.iter().all(|problem| problem.object != damaged.segment) {
            let (object, what) = (damaged.segment.clone(), damaged.error.clone());
            report.problems.push(Problem { object, what, expected: None, found: None });
        }
    }
}

/// `TENANT-TYPE.pb.gz` with everything but letters, digits, `_` and `.` of the type as `-`; a number tells apart what is then
/// the same.
fn file_name(tenant: &str, profile_type: &ProfileType, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '-' };
    let base: String = profile_type.to_string().chars().map(plain).collect();
    let numbered = |number: u32| match number {
        1 => format!("{tenant}-{base}.pb.gz"),
        number => format!("{tenant}-{base}-{number}.pb.gz"),
    };
    let name = (1..).map(numbered).find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_plain_and_differ() {
        let mut taken = BTreeSet::new();
        let mut name = |text: &str| file_name("t", &text.parse().unwrap(), &mut taken);
        assert_eq!(name("memory:inuse_space:bytes:space:bytes"), "t-memory-inuse_space-bytes-space-bytes.pb.gz");
        assert_eq!(name("a:../b:c:d:e"), "t-a-..-b-c-d-e.pb.gz");
        assert_eq!(name("a:..-b:c:d:e"), "t-a-..-b-c-d-e-2.pb.gz");
    }
}
