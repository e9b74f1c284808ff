//! Targets named in files: read anew every `refresh_interval`.
//!
//! A file that cannot be read keeps the targets it had; one that is gone loses them. A file has at most 16 MiB.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{Error, Result};
use tokio::time::MissedTickBehavior;

use super::{Discovered, Provider};
use crate::config::{FileSdConfig, TargetGroup};
use crate::relabel::LabelMap;

const FILE_BYTES_MAX: u64 = 16 << 20;
const FILES_MAX: usize = 10_000;

/// The files of one configuration.
#[derive(Clone, Debug)]
pub(super) struct Files {
    patterns: Vec<String>,
    refresh_interval: Duration,
}

impl Files {
    /// Those of `config`.
    ///
    /// # Errors
    /// `Invalid` for a pattern that cannot be read, or of another ending than `.json`, `.yml` and `.yaml`.
    pub(super) fn new(config: &FileSdConfig) -> Result<Self> {
        for pattern in &config.files {
            let wrong =
                |text: &str| Error::invalid(format!("file_sd_configs: {text}")).with("files", format!("{pattern:?}"));
            glob::Pattern::new(pattern).map_err(|e| wrong("a pattern cannot be read").because(e))?;
            let ending = Path::new(pattern).extension().unwrap_or_default();
            if !["json", "yml", "yaml"].iter().any(|known| ending == *known) {
                return Err(wrong("a file ends in .json, .yml or .yaml"));
            }
        }
        Ok(Self { patterns: config.files.clone(), refresh_interval: config.refresh_interval.0 })
    }

    pub(super) async fn run(self, provider: Provider, discovered: Arc<Discovered>) {
        let mut ticks = tokio::time::interval(self.refresh_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (files, provider, discovered) = (self.clone(), provider.clone(), Arc::clone(&discovered));
            // reading files blocks
            if let Err(error) = tokio::task::spawn_blocking(move || files.read_all(&provider, &discovered)).await {
                tracing::error!(%error, "reading files of targets broke");
            }
        }
    }

    fn read_all(&self, provider: &Provider, discovered: &Discovered) {
        let (paths, mut error) = match self.paths() {
            Ok(paths) => (paths, None),
            Err(error) => return discovered.report(provider, Some(&error)),
        };
        for path in &paths {
            let read = read(path).and_then(|targets| discovered.set(provider, &path.to_string_lossy(), targets));
            error = read.err().map(|e| e.with("file", path.display())).or(error);
        }
        let names: BTreeSet<_> = paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        discovered.retain(provider, |source| names.contains(source));
        discovered.report(provider, error.as_ref());
    }

    fn paths(&self) -> Result<BTreeSet<PathBuf>> {
        let mut paths = BTreeSet::new();
        for pattern in &self.patterns {
            let wrong = |e: &dyn std::error::Error| {
                Error::invalid("file_sd_configs: files cannot be listed").with("files", pattern).because(e.to_string())
            };
            for path in glob::glob(pattern).map_err(|e| wrong(&e))? {
                paths.insert(path.map_err(|e| wrong(&e))?);
                if paths.len() > FILES_MAX {
                    return Err(Error::exhausted("file_sd_configs: there are too many files").with("limit", FILES_MAX));
                }
            }
        }
        Ok(paths)
    }
}

/// The label sets of the targets in the file at `path`.
fn read(path: &Path) -> Result<Vec<LabelMap>> {
    let wrong = |e: std::io::Error| Error::unavailable("file_sd_configs: a file cannot be read").because(e);
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(wrong)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::exhausted("file_sd_configs: a file is too long").with("limit", FILE_BYTES_MAX));
    }
    let groups = parse(&text, path.extension().is_some_and(|ending| ending == "json"))?;
    let meta = path.to_string_lossy();
    Ok(groups.into_iter().flat_map(|group| group.label_sets(Some(("__meta_filepath", &meta)))).collect())
}

fn parse(text: &str, is_json: bool) -> Result<Vec<TargetGroup>> {
    let wrong = |e: String| Error::invalid("file_sd_configs: a file is not a list of targets and labels").because(e);
    if text.trim().is_empty() {
        return Err(wrong("it is empty; [] names no targets".to_owned())); // one that is being written, most likely
    }
    if is_json {
        return serde_json::from_str(text).map_err(|e| wrong(e.to_string()));
    }
    serde_saphyr::from_str(text).map_err(|e| wrong(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Lasting;

    const YAML: &str = "- targets: ['a:1', b]\n  labels:\n    env: dev\n    gone: ''\n- targets:\n  - c\n";
    const JSON: &str = r#"[{"targets": ["a:1", "b"], "labels": {"env": "dev", "gone": ""}}, {"targets": ["c"]}]"#;

    fn found(discovered: &Discovered) -> Vec<String> {
        let changed = discovered.take_changed();
        let line = |labels: &Arc<LabelMap>| {
            let own = labels.iter().filter(|(name, _)| *name != "__meta_filepath");
            own.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        changed.iter().flat_map(|(_, found)| found.iter().map(line)).collect()
    }

    fn discovery(folder: &Path, pattern: &str) -> (Files, Provider, Discovered) {
        let files = vec![folder.join(pattern).to_string_lossy().into_owned()];
        let config = FileSdConfig { files, refresh_interval: Lasting(Duration::from_secs(30)) };
        (Files::new(&config).unwrap(), Provider { job: 0, number: 1, name: "files".to_owned() }, Discovered::new(100))
    }

    #[test]
    fn both_forms_name_the_same_targets() {
        for (name, text) in [("a.yml", YAML), ("a.yaml", YAML), ("a.json", JSON)] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(name), text).unwrap();
            let (files, provider, discovered) = discovery(folder.path(), name);
            files.read_all(&provider, &discovered);
            assert_eq!(
                found(&discovered),
                ["__address__=a:1 env=dev", "__address__=b env=dev", "__address__=c"],
                "{name}"
            );
            assert!(discovered.errors().is_empty());
        }
    }

    #[test]
    fn a_broken_file_keeps_its_targets_and_one_that_is_gone_loses_them() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let (files, provider, discovered) = discovery(folder.path(), "*.json");
        write("a.json", r#"[{"targets": ["a"]}]"#);
        write("b.json", r#"[{"targets": ["b"]}]"#);
        files.read_all(&provider, &discovered);
        assert_eq!(found(&discovered), ["__address__=a", "__address__=b"]);
        write("a.json", r#"[{"targets": ["#);
        files.read_all(&provider, &discovered);
        assert!(found(&discovered).is_empty());
        let errors = discovered.errors();
        assert!(
            errors[0].2.contains("not a list of targets and labels") && errors[0].2.contains("a.json"),
            "{errors:?}"
        );
        std::fs::remove_file(folder.path().join("b.json")).unwrap();
        write("a.json", r#"[{"targets": ["c"]}]"#);
        files.read_all(&provider, &discovered);
        assert_eq!(found(&discovered), ["__address__=c"]);
        assert!(discovered.errors().is_empty());
    }

    #[test]
    fn hostile_yaml_is_an_error() {
        for text in ["", "\n", "- targets: [a", "targets: []", "&a [*a, *a]", "- targets: {a: b}", "\u{0}"] {
            assert!(parse(text, false).is_err(), "{text:?}");
        }
        let bomb = format!(
            "a: &a [x]\n{}",
            (b'b'..b'k')
                .map(|c| {
                    let (name, before) = (char::from(c), char::from(c - 1));
                    format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(","))
                })
                .collect::<String>()
        );
        assert!(parse(&bomb, false).is_err());
    }

    #[test]
    fn other_files_are_refused() {
        for (pattern, expected) in [("targets.toml", "ends in .json"), ("a**b.json", "cannot be read")] {
            let config =
                FileSdConfig { files: vec![pattern.to_owned()], refresh_interval: Lasting(Duration::from_secs(1)) };
            let error = Files::new(&config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
