//! The oracle: answers every query by plain loops over the profiles as they were pushed. It shares no code with the call
//! tree, the segments or the query engine, keeps everything in memory and is slow; it is there to be obviously right.
//!
//! It names a frame without a function by the address as sent. Two processes that map the same file at different addresses
//! therefore differ here where the store sees one place; give such fixtures functions, or one address.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use flamestore_model::{Labels, ProfileBatch, ProfileId, ProfileType, Selector, TimeRange, names};

/// One value column of one pushed profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OracleProfile {
    /// When it was taken, in nanoseconds since 1970.
    pub time_unix_nano: i64,
    /// The id it was pushed with.
    pub id: ProfileId,
    /// Which of its sample types this is.
    pub profile_type: ProfileType,
    /// The labels of its series, without derived ones, with `service_name`.
    pub labels: Labels,
    /// The sum of its values.
    pub total: i64,
}

/// One observation in one value column of one pushed profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OracleSample {
    /// When its profile was taken, in nanoseconds since 1970.
    pub time_unix_nano: i64,
    /// The id its profile was pushed with.
    pub id: ProfileId,
    /// Which of the profile's sample types this is.
    pub profile_type: ProfileType,
    /// The labels of its series, without derived ones, with `service_name`.
    pub labels: Labels,
    /// The names of its frames, root first.
    pub stack: Vec<String>,
    /// Its value.
    pub value: i64,
}

/// A frame name with its own value and the value of all stacks it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OracleTop {
    /// The frame's name.
    pub name: String,
    /// The value of the stacks that end in it.
    pub self_value: i64,
    /// The value of the stacks it is on, each stack once.
    pub total: i64,
}

/// A profile as its time, its id and its folded stacks.
type Folded = (i64, ProfileId, BTreeMap<String, i64>);

/// The profiles of one tenant, as pushed.
#[derive(Debug, Default)]
pub struct Oracle {
    pushed: Vec<Pushed>,
}

#[derive(Debug)]
struct Pushed {
    id: ProfileId,
    labels: Labels,
    time_unix_nano: i64,
    types: Vec<ProfileType>,
    batch: ProfileBatch,
}

impl Oracle {
    /// A store without profiles.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a profile. Its time is `time_unix_nano` if given, else its own. A label `__name__` names the family of its types.
    pub fn push(&mut self, id: ProfileId, labels: &Labels, time_unix_nano: Option<i64>, batch: ProfileBatch) {
        let types = profile_types(&batch, labels.get(names::NAME));
        let plain = labels.iter().filter(|(name, _)| !names::DERIVED.contains(name));
        let labels = plain.fold(Labels::default(), |labels, (name, value)| labels.with(name, value));
        let service = labels.service_name().to_owned();
        let labels = labels.with(names::SERVICE_NAME, &service);
        let time_unix_nano = time_unix_nano.unwrap_or(batch.header.time_unix_nano);
        self.pushed.push(Pushed { id, labels, time_unix_nano, types, batch });
    }

    /// How many profiles were pushed.
    pub fn len(&self) -> usize {
        self.pushed.len()
    }

    /// Whether none was pushed.
    pub fn is_empty(&self) -> bool {
        self.pushed.is_empty()
    }

    /// The sum of the selected profiles as folded stacks: frame names, root first, joined by `;`. Sums of 0 are left out.
    pub fn merge_folded(&self, selector: &Selector, range: &TimeRange) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        self.for_each_sample(selector, range, |frames, value| {
            let sum: &mut i64 = sums.entry(frames.join(";")).or_default();
            *sum = sum.wrapping_add(value);
        });
        sums.retain(|_, sum| *sum != 0);
        sums
    }

    /// The selected profiles combined over time by `over_time` in each series, added up over series, as folded stacks. `over_time`
    /// is given the values of one stack in all selected profiles of a series, in order of time and id, and the totals of these.
    pub fn combined_folded(
        &self,
        selector: &Selector,
        range: &TimeRange,
        over_time: impl Fn(&[i64], &[i64]) -> i64,
    ) -> BTreeMap<String, i64> {
        let mut series: BTreeMap<_, Vec<Folded>> = BTreeMap::new();
        for (pushed, column) in self.selected(selector, range) {
            let key = (pushed.labels.clone(), pushed.types[column].clone());
            let profile = (pushed.time_unix_nano, pushed.id, folded(&pushed.batch, column));
            series.entry(key).or_default().push(profile);
        }
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for mut profiles in series.into_values() {
            profiles.sort();
            let totals: Vec<i64> = profiles.iter().map(|(_, _, stacks)| stacks.values().sum()).collect();
            let stacks: BTreeSet<&String> = profiles.iter().flat_map(|(_, _, stacks)| stacks.keys()).collect();
            for stack in stacks {
                let of = |stacks: &BTreeMap<String, i64>| stacks.get(stack).copied().unwrap_or_default();
                let values: Vec<i64> = profiles.iter().map(|(_, _, stacks)| of(stacks)).collect();
                *sums.entry(stack.clone()).or_default() += over_time(&values, &totals);
            }
        }
        sums.retain(|_, sum| *sum != 0);
        sums
    }

    /// The folded stacks of two selections side by side: (before, after). Stacks with 0 on both sides are left out.
    pub fn diff_folded(
        &self,
        before: (&Selector, &TimeRange),
        after: (&Selector, &TimeRange),
    ) -> BTreeMap<String, (i64, i64)> {
        let mut both: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for (stack, value) in self.merge_folded(before.0, before.1) {
            both.entry(stack).or_default().0 = value;
        }
        for (stack, value) in self.merge_folded(after.0, after.1) {
            both.entry(stack).or_default().1 = value;
        }
        both
    }

    /// The frames of the selected profiles by falling own value, then falling total, then name.
    pub fn top(&self, selector: &Selector, range: &TimeRange) -> Vec<OracleTop> {
        let mut rows: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        self.for_each_sample(selector, range, |frames, value| {
            if let Some(leaf) = frames.last() {
                rows.entry(leaf.clone().into_owned()).or_default().0 += value;
            }
            let distinct: BTreeSet<&str> = frames.iter().map(AsRef::as_ref).collect();
            for name in distinct {
                rows.entry(name.to_owned()).or_default().1 += value;
            }
        });
        let rows = rows.into_iter().filter(|(_, (own, total))| (*own, *total) != (0, 0));
        let mut rows: Vec<OracleTop> =
            rows.map(|(name, (self_value, total))| OracleTop { name, self_value, total }).collect();
        rows.sort_by(|a, b| (b.self_value, b.total, &a.name).cmp(&(a.self_value, a.total, &b.name)));
        rows
    }

    /// The selected series: labels without derived ones, and type.
    pub fn series(&self, selector: &Selector, range: &TimeRange) -> BTreeSet<(Labels, ProfileType)> {
        self.selected(selector, range)
            .map(|(pushed, column)| (pushed.labels.clone(), pushed.types[column].clone()))
            .collect()
    }

    /// The label names of the selected series, derived ones included.
    pub fn label_names(&self, selector: &Selector, range: &TimeRange) -> BTreeSet<String> {
        let series = self.series(selector, range).into_iter();
        let all = series.map(|(labels, ty)| ty.add_derived_labels(labels));
        all.flat_map(|labels| labels.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()).collect()
    }

    /// The values of label `name` among the selected series, derived labels included.
    pub fn label_values(&self, name: &str, selector: &Selector, range: &TimeRange) -> BTreeSet<String> {
        let series = self.series(selector, range).into_iter();
        series.filter_map(|(labels, ty)| ty.add_derived_labels(labels).get(name).map(str::to_owned)).collect()
    }

    /// The types of the selected series.
    pub fn profile_types(&self, selector: &Selector, range: &TimeRange) -> BTreeSet<ProfileType> {
        self.series(selector, range).into_iter().map(|(_, ty)| ty).collect()
    }

    /// The selected profiles, one row per sample type, in order of time.
    pub fn profiles(&self, selector: &Selector, range: &TimeRange) -> Vec<OracleProfile> {
        let mut rows: Vec<OracleProfile> = self
            .selected(selector, range)
            .map(|(pushed, column)| OracleProfile {
                time_unix_nano: pushed.time_unix_nano,
                id: pushed.id,
                profile_type: pushed.types[column].clone(),
                labels: pushed.labels.clone(),
                total: (0..pushed.batch.samples.len()).map(|row| pushed.batch.values(row)[column]).sum(),
            })
            .collect();
        rows.sort();
        rows
    }

    /// The observations of the selected profiles, one row per sample type, in order of time. Of a sample that has a value in
    /// another type, 0 is none.
    pub fn samples(&self, selector: &Selector, range: &TimeRange) -> Vec<OracleSample> {
        let mut rows = Vec::new();
        for (pushed, column) in self.selected(selector, range) {
            for row in 0..pushed.batch.samples.len() {
                let values = pushed.batch.values(row);
                if values[column] == 0 && values.iter().any(|value| *value != 0) {
                    continue;
                }
                rows.push(OracleSample {
                    time_unix_nano: pushed.time_unix_nano,
                    id: pushed.id,
                    profile_type: pushed.types[column].clone(),
                    labels: pushed.labels.clone(),
                    stack: frames(&pushed.batch, row).into_iter().map(Cow::into_owned).collect(),
                    value: values[column],
                });
            }
        }
        rows.sort();
        rows
    }

    /// Totals per step (by its start, a multiple of `step_nano` nanoseconds) and per value of the labels `group_by`; labels
    /// that are absent are left out.
    pub fn time_series(
        &self,
        selector: &Selector,
        range: &TimeRange,
        step_nano: i64,
        group_by: &[&str],
    ) -> BTreeMap<Labels, BTreeMap<i64, i64>> {
        let mut groups: BTreeMap<Labels, BTreeMap<i64, i64>> = BTreeMap::new();
        for row in self.profiles(selector, range) {
            let all = row.profile_type.add_derived_labels(row.labels);
            let group = group_by.iter().fold(Labels::default(), |group, name| {
                let value = all.get(name).unwrap_or_default();
                group.with(name, value)
            });
            let step = row.time_unix_nano.div_euclid(step_nano) * step_nano;
            *groups.entry(group).or_default().entry(step).or_default() += row.total;
        }
        groups
    }

    /// The profile pushed as `id`.
    pub fn profile(&self, id: ProfileId) -> Option<&ProfileBatch> {
        self.pushed.iter().find(|pushed| pushed.id == id).map(|pushed| &pushed.batch)
    }

    fn selected<'a>(
        &'a self,
        selector: &'a Selector,
        range: &'a TimeRange,
    ) -> impl Iterator<Item = (&'a Pushed, usize)> + 'a {
        let inside = self.pushed.iter().filter(|pushed| range.contains(pushed.time_unix_nano));
        inside.flat_map(move |pushed| {
            (0..pushed.types.len()).filter(|column| fits(pushed, *column, selector)).map(move |column| (pushed, column))
        })
    }

    fn for_each_sample(&self, selector: &Selector, range: &TimeRange, mut take: impl FnMut(&[Cow<'_, str>], i64)) {
        for (pushed, column) in self.selected(selector, range) {
            for row in 0..pushed.batch.samples.len() {
                take(&frames(&pushed.batch, row), pushed.batch.values(row)[column]);
            }
        }
    }
}

/// The types of a profile's columns; `family` replaces the family the sample types suggest.
pub fn profile_types(batch: &ProfileBatch, family: Option<&str>) -> Vec<ProfileType> {
    let header = &batch.header;
    let text = |id: u32| batch.symbols.strings.text(id).into_owned();
    let all: Vec<String> = header.sample_types.iter().map(|ty| text(ty.ty)).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let types = header.sample_types.iter().map(|ty| ProfileType {
        name: family.map_or_else(|| ProfileType::name_for(&text(ty.ty), &all), str::to_owned),
        sample_type: text(ty.ty),
        sample_unit: text(ty.unit),
        period_type: text(header.period_type.ty),
        period_unit: text(header.period_type.unit),
    });
    types.collect()
}

/// The folded stacks of one column of one profile: names, root first, joined by `;`, and the sums that are not 0.
pub fn folded(batch: &ProfileBatch, column: usize) -> BTreeMap<String, i64> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for row in 0..batch.samples.len() {
        let sum = sums.entry(frames(batch, row).join(";")).or_default();
        *sum = sum.wrapping_add(batch.values(row)[column]);
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

fn fits(pushed: &Pushed, column: usize, selector: &Selector) -> bool {
    let labels = pushed.types[column].add_derived_labels(pushed.labels.clone());
    selector.matches(|name| labels.get(name).unwrap_or_default())
}

/// The frame names of sample `row`, root first; a location with inlined lines gives several.
fn frames(batch: &ProfileBatch, row: usize) -> Vec<Cow<'_, str>> {
    let mut frames = Vec::new();
    for id in batch.samples.stack(row).iter().rev() {
        let unnamed = || match batch.symbols.locations[*id as usize].address {
            0 => Cow::Borrowed("<unknown>"),
            address => Cow::Owned(format!("{address:#x}")),
        };
        let lines = batch.lines(*id);
        if lines.is_empty() {
            frames.push(unnamed());
        }
        for line in lines.iter().rev() {
            let name = batch.symbols.functions.get(line.function as usize).map_or(0, |function| function.name);
            let name = batch.symbols.strings.text(name);
            frames.push(if name.is_empty() { unnamed() } else { name });
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, profile};

    fn oracle() -> Oracle {
        let mut oracle = Oracle::new();
        let labels = |service: &str| Labels::from_pairs([("service_name", service), ("pod", "p1")]).unwrap();
        let id = |n: u64| ProfileId::from_parts(n, 0);
        oracle.push(id(1), &labels("a"), Some(100), profile("main;read 3 | main;write 1 | main;read;read 1"));
        oracle.push(id(2), &labels("a"), Some(205), profile("main;read 2 | main;write -1 | - 4"));
        oracle.push(id(3), &labels("b"), Some(300), Fixture::heap().profile("main;new 1,2,3,4 | @1f;x<y 0,0,0,7"));
        oracle.push(id(4), &Labels::default(), Some(300), profile("other 1"));
        oracle
    }

    fn select(text: &str) -> Selector {
        text.parse().unwrap()
    }

    fn check_merge(selector: &str, range: &TimeRange, expected: &str) {
        let folded = oracle().merge_folded(&select(selector), range);
        let lines: Vec<String> = folded.iter().map(|(stack, value)| format!("{stack} {value}")).collect();
        assert_eq!(lines.join(" | "), expected, "{selector}");
    }

    #[test]
    fn a_merge_sums_by_names_and_leaves_zeros_out() {
        check_merge(r#"{service_name="a"}"#, &TimeRange::ALL, " 4 | main;read 5 | main;read;read 1");
        check_merge(
            r#"{service_name="a"}"#,
            &TimeRange { start: 100, end: 205 },
            "main;read 3 | main;read;read 1 | main;write 1",
        );
        check_merge("memory:inuse_space:bytes:space:bytes", &TimeRange::ALL, "0x1f;y;x 7 | main;new 4");
        check_merge(r#"{service_name="unknown_service"}"#, &TimeRange::ALL, "other 1");
        check_merge(r#"{service_name="none"}"#, &TimeRange::ALL, "");
    }

    #[test]
    fn a_diff_keeps_both_sides() {
        let all = TimeRange::ALL;
        let late = TimeRange { start: 200, end: 300 };
        let early = TimeRange { start: 0, end: 200 };
        let a = select(r#"{service_name="a"}"#);
        let diff = oracle().diff_folded((&a, &early), (&a, &late));
        assert_eq!(diff["main;write"], (1, -1));
        assert_eq!(diff[""], (0, 4));
        assert!(oracle().diff_folded((&select(r#"{x="y"}"#), &all), (&select(r#"{x="y"}"#), &all)).is_empty());
    }

    #[test]
    fn recursion_counts_once_in_a_total() {
        let top = oracle().top(&select(r#"{service_name="a"}"#), &TimeRange { start: 100, end: 101 });
        let rows: Vec<_> = top.iter().map(|row| (row.name.as_str(), row.self_value, row.total)).collect();
        assert_eq!(rows, [("read", 4, 4), ("write", 1, 1), ("main", 0, 5)]);
    }

    #[test]
    fn labels_series_and_totals_follow_the_selection() {
        let oracle = oracle();
        let everything = select("");
        assert_eq!(oracle.series(&everything, &TimeRange::ALL).len(), 6);
        assert_eq!(oracle.profile_types(&select(r#"{service_name="b"}"#), &TimeRange::ALL).len(), 4);
        assert!(oracle.label_names(&everything, &TimeRange::ALL).contains("__type__"));
        let services = oracle.label_values("service_name", &everything, &TimeRange::ALL);
        assert_eq!(services.into_iter().collect::<Vec<_>>(), ["a", "b", "unknown_service"]);
        let steps = oracle.time_series(&select(r#"{service_name="a"}"#), &TimeRange::ALL, 100, &["pod", "none"]);
        let (labels, points) = steps.first_key_value().unwrap();
        assert_eq!(labels.to_string(), r#"{pod="p1"}"#);
        assert_eq!(points.iter().map(|(at, total)| (*at, *total)).collect::<Vec<_>>(), [(100, 5), (200, 5)]);
        assert_eq!(oracle.profiles(&everything, &TimeRange::ALL).len(), 7);
        assert!(oracle.profile(ProfileId::from_parts(2, 0)).is_some());
    }
}
