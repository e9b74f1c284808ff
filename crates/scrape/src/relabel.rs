//! Relabelling in Prometheus's syntax: rules that change or refuse a set of labels, one after another.
//!
//! ```text
//! labels ── rule ─▶ labels ── rule ─▶ … ─▶ labels, or None: dropped
//! ```
//!
//! Holds always: an empty value is an absent label; regular expressions match whole values; the same rules and labels give
//! the same answer. A rule that makes no sense (no target label, modulus 0, a wrong expression) is refused when it is read,
//! so applying one cannot fail.

use std::collections::BTreeMap;

use flamestore_model::{Error, Result};
use md5::{Digest, Md5};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// Labels by name. An absent label and an empty value are the same.
pub(crate) type LabelMap = BTreeMap<String, String>;

/// Bytes that one compiled expression may take.
const REGEX_BYTES_MAX: usize = 4 << 20;
const ANYTHING: &str = "(.*)";

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelabelAction {
    /// Sets the target label to the replacement, if the expression matches the source labels.
    #[default]
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops targets whose source labels differ from the target label.
    KeepEqual,
    /// Drops targets whose source labels equal the target label.
    DropEqual,
    /// Sets the target label to a hash of the source labels, modulo the modulus.
    HashMod,
    /// Copies labels whose name matches to the name that the replacement gives.
    LabelMap,
    /// Removes labels whose name matches.
    LabelDrop,
    /// Removes labels whose name does not match.
    LabelKeep,
    /// Sets the target label to the source labels in lowercase.
    Lowercase,
    /// Sets the target label to the source labels in uppercase.
    Uppercase,
}

/// One rule as it is written in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelabelConfig {
    /// The labels whose values are joined, in this order.
    pub source_labels: Vec<String>,
    /// What stands between them.
    pub separator: String,
    /// The expression that must match the whole of it.
    pub regex: String,
    /// What the hash of `hashmod` is taken modulo of.
    pub modulus: u64,
    /// The label that is set; may refer to groups of the expression.
    pub target_label: String,
    /// The value it is set to; may refer to groups of the expression.
    pub replacement: String,
    /// What is done.
    pub action: RelabelAction,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: ANYTHING.to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

/// A rule that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    config: RelabelConfig,
    regex: Regex,
}

/// What `rules` make of `labels`; `None` when one of them drops it.
pub(crate) fn relabel(rules: &[Rule], labels: LabelMap) -> Option<LabelMap> {
    rules.iter().try_fold(labels, |labels, rule| rule.apply(labels))
}

/// The rules of a configuration.
///
/// # Errors
/// `Invalid` for a rule that makes no sense, with its place.
pub(crate) fn rules(configs: &[RelabelConfig]) -> Result<Vec<Rule>> {
    let numbered = configs.iter().enumerate();
    numbered.map(|(at, config)| Rule::new(config).map_err(|e| e.with("relabel_configs", at))).collect()
}

impl Rule {
    /// The rule of `config`.
    ///
    /// # Errors
    /// `Invalid` when it makes no sense.
    pub(crate) fn new(config: &RelabelConfig) -> Result<Self> {
        use RelabelAction as A;
        let needs_target = matches!(
            config.action,
            A::Replace | A::KeepEqual | A::DropEqual | A::HashMod | A::Lowercase | A::Uppercase
        );
        if needs_target && config.target_label.is_empty() {
            return Err(Error::invalid("relabelling: this action needs a target_label")
                .with("action", format!("{:?}", config.action)));
        }
        if config.action == A::HashMod && config.modulus == 0 {
            return Err(Error::invalid("relabelling: hashmod needs a modulus of at least 1"));
        }
        let plain = RelabelConfig { action: config.action, ..RelabelConfig::default() };
        let by_name_only = matches!(config.action, A::LabelDrop | A::LabelKeep);
        if by_name_only && (RelabelConfig { regex: plain.regex.clone(), ..config.clone() }) != plain {
            return Err(Error::invalid("relabelling: labeldrop and labelkeep take a regex and nothing else"));
        }
        let RelabelConfig { source_labels, target_label, .. } = config.clone();
        let by_value_only = matches!(config.action, A::KeepEqual | A::DropEqual);
        if by_value_only && *config != (RelabelConfig { source_labels, target_label, ..plain }) {
            return Err(Error::invalid(
                "relabelling: keepequal and dropequal take source_labels, target_label and nothing else",
            ));
        }
        let regex = RegexBuilder::new(&format!("^(?s:{})$", config.regex)).size_limit(REGEX_BYTES_MAX).build();
        let regex = regex.map_err(|e| {
            Error::invalid("relabelling: the regex cannot be read")
                .with("regex", format!("{:?}", config.regex))
                .because(e)
        })?;
        Ok(Self { config: config.clone(), regex })
    }

    fn apply(&self, mut labels: LabelMap) -> Option<LabelMap> {
        use RelabelAction as A;
        let RelabelConfig { target_label: target, modulus, .. } = &self.config;
        let value = self.source(&labels);
        let target_value = || labels.get(target).map_or("", String::as_str);
        match self.config.action {
            A::Keep => return self.regex.is_match(&value).then_some(labels),
            A::Drop => return (!self.regex.is_match(&value)).then_some(labels),
            A::KeepEqual => return (target_value() == value).then_some(labels),
            A::DropEqual => return (target_value() != value).then_some(labels),
            A::Replace => self.replace(&value, &mut labels),
            A::HashMod => set(&mut labels, target, (hash(&value) % modulus).to_string()),
            A::Lowercase => set(&mut labels, target, mapped(&value, char::to_lowercase)),
            A::Uppercase => set(&mut labels, target, mapped(&value, char::to_uppercase)),
            A::LabelMap => self.map_names(&mut labels),
            A::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            A::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        Some(labels)
    }

    fn source(&self, labels: &LabelMap) -> String {
        let values = self.config.source_labels.iter().map(|name| labels.get(name).map_or("", String::as_str));
        values.collect::<Vec<_>>().join(&self.config.separator)
    }

    fn replace(&self, value: &str, labels: &mut LabelMap) {
        let Some(captures) = self.regex.captures(value) else { return };
        let (mut name, mut replaced) = (String::new(), String::new());
        captures.expand(&self.config.target_label, &mut name);
        captures.expand(&self.config.replacement, &mut replaced);
        if !name.is_empty() {
            set(labels, &name, replaced);
        }
    }

    fn map_names(&self, labels: &mut LabelMap) {
        let named = |(name, value): (&String, &String)| {
            let mut new_name = String::new();
            self.regex.captures(name)?.expand(&self.config.replacement, &mut new_name);
            (!new_name.is_empty()).then(|| (new_name, value.clone()))
        };
        let mapped: Vec<(String, String)> = labels.iter().filter_map(named).collect();
        labels.extend(mapped);
    }
}

/// Sets a label; an empty value removes it.
fn set(labels: &mut LabelMap, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

/// The hash that `hashmod` uses everywhere: the last eight bytes of MD5, big-endian.
fn hash(value: &str) -> u64 {
    let digest: [u8; 16] = Md5::digest(value).into();
    digest[8..].iter().fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}

/// `value` with each character mapped to the one that stands for it, where that is one character.
fn mapped<I: Iterator<Item = char>>(value: &str, map: impl Fn(char) -> I) -> String {
    let one = |c: char| {
        let mut mapped = map(c);
        match (mapped.next(), mapped.next()) {
            (Some(single), None) => single,
            _ => c,
        }
    };
    value.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(text: &str) -> LabelMap {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn shown(labels: Option<LabelMap>) -> String {
        let Some(labels) = labels else { return "dropped".to_owned() };
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    fn check(rule: &str, before: &str, after: &str) {
        let config: RelabelConfig = toml::from_str(rule).unwrap();
        let rules = rules(&[config]).unwrap();
        assert_eq!(shown(relabel(&rules, labels(before))), after, "{rule}");
    }

    #[test]
    fn every_action_does_what_prometheus_does() {
        check("source_labels=['a','b']\ntarget_label='c'", "a=1 b=2", "a=1 b=2 c=1;2");
        check(
            "source_labels=['a']\nregex='x(.*)y'\ntarget_label='t_$1'\nreplacement='${1}!'",
            "a=xmidy",
            "a=xmidy t_mid=mid!",
        );
        check("source_labels=['a']\nregex='mid'\ntarget_label='t'", "a=xmidy", "a=xmidy");
        check("source_labels=['a']\nregex='(.*)'\nreplacement=''\ntarget_label='a'", "a=1 b=2", "b=2");
        check("target_label='a'\nreplacement='fixed'", "", "a=fixed");
        check("source_labels=['a']\nregex='1|2'\naction='keep'", "a=1", "a=1");
        check("source_labels=['a']\nregex='1|2'\naction='keep'", "a=12", "dropped");
        check("source_labels=['a']\nregex='1|2'\naction='drop'", "a=1", "dropped");
        check("source_labels=['a']\nregex=''\naction='keep'", "b=1", "b=1");
        check("source_labels=['a']\ntarget_label='b'\naction='keepequal'", "a=1 b=1", "a=1 b=1");
        check("source_labels=['a']\ntarget_label='b'\naction='keepequal'", "a=1 b=2", "dropped");
        check("source_labels=['a']\ntarget_label='b'\naction='dropequal'", "a=1 b=1", "dropped");
        check("source_labels=['c']\ntarget_label='d'\nmodulus=1000\naction='hashmod'", "c=baz", "c=baz d=976");
        check("regex='m_(.+)'\naction='labelmap'", "m_a=1 b=2", "a=1 b=2 m_a=1");
        check("regex='m_(.+)'\nreplacement='n_$1'\naction='labelmap'", "m_a=1", "m_a=1 n_a=1");
        check("regex='m_.+'\naction='labeldrop'", "m_a=1 b=2", "b=2");
        check("regex='m_.+'\naction='labelkeep'", "m_a=1 b=2", "m_a=1");
        check("source_labels=['a']\ntarget_label='a'\naction='lowercase'", "a=ÀbC", "a=àbc");
        check("source_labels=['a']\ntarget_label='a'\naction='uppercase'", "a=àß", "a=Àß");
    }

    #[test]
    fn a_dot_matches_the_end_of_a_line() {
        let config = RelabelConfig {
            source_labels: vec!["a".to_owned()],
            regex: "1.2".to_owned(),
            action: RelabelAction::Drop,
            ..RelabelConfig::default()
        };
        let rules = rules(&[config]).unwrap();
        assert_eq!(relabel(&rules, LabelMap::from([("a".to_owned(), "1\n2".to_owned())])), None);
    }

    #[test]
    fn the_example_that_people_copy_works() {
        let text = r#"
            source_labels = ["__address__", "__meta_kubernetes_pod_annotation_pyroscope_io_port"]
            regex = '([^:]+)(?::\d+)?;(\d+)'
            replacement = "$1:$2"
            target_label = "__address__"
        "#;
        let before = "__address__=10.0.0.1:80 __meta_kubernetes_pod_annotation_pyroscope_io_port=6060";
        check(text, before, "__address__=10.0.0.1:6060 __meta_kubernetes_pod_annotation_pyroscope_io_port=6060");
    }

    #[test]
    fn rules_without_sense_are_refused_with_their_place() {
        let refused = |text: &str| {
            let config: RelabelConfig = toml::from_str(text).unwrap();
            rules(&[RelabelConfig { target_label: "a".to_owned(), ..RelabelConfig::default() }, config])
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused("source_labels=['a']"),
            "relabelling: this action needs a target_label [action=Replace, relabel_configs=1]"
        );
        assert!(refused("target_label='a'\naction='hashmod'").contains("modulus of at least 1"));
        assert!(refused("action='labeldrop'\nsource_labels=['a']").contains("nothing else"));
        assert!(refused("regex='('\naction='keep'").contains("cannot be read [regex=\"(\""));
        assert!(refused("regex='(a{1000}){1000}'\naction='keep'").contains("cannot be read"));
        assert!(toml::from_str::<RelabelConfig>("action='rename'").is_err());
    }

    /// What Prometheus's documentation says, in plain loops without regular expressions: the expressions of the
    /// test are literals with an optional `(.*)` behind them.
    fn model(config: &RelabelConfig, labels: &LabelMap) -> Option<LabelMap> {
        let literal = config.regex.trim_end_matches(ANYTHING);
        let is_open = config.regex.ends_with(ANYTHING);
        let group = |text: &str| {
            let rest = text.strip_prefix(literal)?;
            (is_open || rest.is_empty()).then(|| if is_open { rest.to_owned() } else { String::new() })
        };
        let mut value = String::new();
        for (at, name) in config.source_labels.iter().enumerate() {
            value += if at > 0 { &config.separator } else { "" };
            value += labels.get(name).map_or("", |value| value);
        }
        let mut out = labels.clone();
        let mut put = |name: String, value: String| {
            out.insert(name, value);
        };
        let old = labels.get(&config.target_label).cloned().unwrap_or_default();
        match config.action {
            RelabelAction::Keep => return group(&value).map(|_| labels.clone()),
            RelabelAction::Drop => return if group(&value).is_some() { None } else { Some(labels.clone()) },
            RelabelAction::KeepEqual => return (old == value).then(|| labels.clone()),
            RelabelAction::DropEqual => return (old != value).then(|| labels.clone()),
            RelabelAction::Replace => {
                if let Some(group) = group(&value) {
                    put(config.target_label.clone(), config.replacement.replace("$1", &group));
                }
            }
            RelabelAction::HashMod => {
                let digest: [u8; 16] = Md5::digest(&value).into();
                let hash = u128::from_be_bytes(digest) % (1 << 64) % u128::from(config.modulus);
                put(config.target_label.clone(), hash.to_string());
            }
            RelabelAction::LabelMap => {
                for (name, value) in labels {
                    if let Some(group) = group(name) {
                        put(config.replacement.replace("$1", &group), value.clone());
                    }
                }
            }
            RelabelAction::LabelDrop => out.retain(|name, _| group(name).is_none()),
            RelabelAction::LabelKeep => out.retain(|name, _| group(name).is_some()),
            RelabelAction::Lowercase => put(config.target_label.clone(), value.to_ascii_lowercase()),
            RelabelAction::Uppercase => put(config.target_label.clone(), value.to_ascii_uppercase()),
        }
        out.retain(|name, value| !name.is_empty() && !value.is_empty());
        Some(out)
    }

    fn any_rule() -> impl Strategy<Value = RelabelConfig> {
        use RelabelAction as A;
        let actions = [
            A::Replace,
            A::Keep,
            A::Drop,
            A::KeepEqual,
            A::DropEqual,
            A::HashMod,
            A::LabelMap,
            A::LabelDrop,
            A::LabelKeep,
            A::Lowercase,
            A::Uppercase,
        ];
        let names = proptest::collection::vec("[abc]{1,2}", 0..3);
        let regex = ("[abcABC;]{0,2}", any::<bool>()).prop_map(|(text, open)| text + if open { ANYTHING } else { "" });
        let parts =
            (proptest::sample::select(actions.to_vec()), names, "[;-]?", regex, 1u64..5, "[abc]{1,2}", "[abc]?(\\$1)?");
        parts.prop_map(|(action, source_labels, separator, regex, modulus, target_label, replacement)| {
            if matches!(action, A::LabelDrop | A::LabelKeep) {
                return RelabelConfig { action, regex, ..RelabelConfig::default() };
            }
            if matches!(action, A::KeepEqual | A::DropEqual) {
                return RelabelConfig { action, source_labels, target_label, ..RelabelConfig::default() };
            }
            RelabelConfig { source_labels, separator, regex, modulus, target_label, replacement, action }
        })
    }

    proptest! {
        #[test]
        fn rules_equal_the_plain_model(
            configs in proptest::collection::vec(any_rule(), 1..5),
            before in proptest::collection::btree_map("[abc]{1,2}", "[abcABC;-]{1,3}", 0..6),
        ) {
            let expected = configs.iter().try_fold(before.clone(), |labels, config| model(config, &labels));
            prop_assert_eq!(relabel(&rules(&configs).unwrap(), before), expected);
        }

        #[test]
        fn relabelling_never_panics(
            regex in ".{0,12}", replacement in ".{0,8}", target_label in ".{1,4}", value in ".{0,8}",
        ) {
            let config = RelabelConfig {
                source_labels: vec!["a".to_owned()], regex, replacement, target_label, ..RelabelConfig::default()
            };
            if let Ok(rules) = rules(&[config]) {
                let after = relabel(&rules, LabelMap::from([("a".to_owned(), value)]));
                prop_assert!(after.is_some());
            }
        }
    }
}
