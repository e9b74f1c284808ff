//! Totals over time.
//!
//! ```text
//! :delta     the sum of each step, at its start, by labels          what happened in windows of time adds up
//! without    the first profile of each step, at its time, by series  what was there does not
//! ```
//!
//! What a sum is of, and of how many profiles, is known where these can be looked at one by one: [`PROFILES_MAX`] of them.

use std::collections::BTreeMap;

use flamestore_model::{Error, Labels, Result};
use flamestore_proto::parca::profilestore::{Label, LabelSet};
use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_query::{Memory, ProfileEntry};

use super::ask::{self, Asked, SECOND_NANOS};
use super::read::{Found, Reader};

/// Profiles that are looked at one by one.
const PROFILES_MAX: usize = 1 << 18;
/// What a step takes beside what is known of it, while steps are put together and in the answer.
const STEP_BYTES: usize = 64 + size_of::<v1::MetricsSample>();
/// Steps of a range where the request does not say how long they are.
const STEPS_DEFAULT: i64 = 100;

/// What is known of the profiles of one step.
#[derive(Clone, Copy, Debug)]
struct Step {
    count: i32,
    first_time: i64,
    last_time: i64,
    duration_nano: i64,
}

pub(super) async fn query(reader: &Reader, request: &v1::QueryRangeRequest) -> Result<v1::QueryRangeResponse> {
    let asked = ask::ranged(&request.query, request.start, request.end)?;
    let step_nano = step(request, &asked)?;
    let found = reader.find(&asked).await?;
    let mut series = match (found.is_empty, asked.is_delta) {
        (true, _) => Vec::new(),
        (false, true) => sums(reader, &found, &request.sum_by, step_nano).await?,
        (false, false) => firsts(reader, &found, step_nano).await?,
    };
    if series.is_empty() {
        let nothing = "no profiles are there for this query: try another one, or another range";
        return Err(Error::not_found(nothing).with("query", format!("{:?}", request.query)));
    }
    if request.limit > 0 {
        series.truncate(usize::try_from(request.limit).unwrap_or(usize::MAX));
    }
    let series = series.into_iter().map(|(labels, samples)| v1::MetricsSeries {
        labelset: Some(label_set(&labels)),
        samples,
        period_type: Some(value_type(&found.ty.period_type, &found.ty.period_unit)),
        sample_type: Some(value_type(&found.ty.sample_type, &found.ty.sample_unit)),
    });
    Ok(v1::QueryRangeResponse { series: series.collect() })
}

/// How long a step is, in nanoseconds.
fn step(request: &v1::QueryRangeRequest, asked: &Asked) -> Result<i64> {
    let step = request.step.unwrap_or_default();
    let nanos = step.seconds.saturating_mul(SECOND_NANOS).saturating_add(i64::from(step.nanos));
    match nanos {
        0 => Ok((asked.range.end.saturating_sub(asked.range.start) / STEPS_DEFAULT).max(SECOND_NANOS)),
        1.. => Ok(nanos),
        _ => Err(Error::invalid("a step is longer than 0").with("step_nano", nanos)),
    }
}

/// The sums of all steps, by the values of `sum_by`, or by all labels.
async fn sums(
    reader: &Reader,
    found: &Found,
    sum_by: &[String],
    step_nano: i64,
) -> Result<Vec<(Labels, Vec<v1::MetricsSample>)>> {
    let names: Vec<String> = match sum_by {
        [] => reader.label_names(&found.query).await?,
        sum_by => sum_by.iter().map(|name| name.strip_prefix("labels.").unwrap_or(name).to_owned()).collect(),
    };
    let lines = reader.engine.time_series(&found.query, step_nano, &names).await?.value;
    let memory = reader.engine.memory("QueryRange");
    let profiles = reader.engine.list_profiles_in(&found.query, PROFILES_MAX + 1, &memory).await?.value;
    let steps = match profiles.len() > PROFILES_MAX {
        true => BTreeMap::new(),
        false => steps(&profiles, &names, step_nano, &memory)?,
    };
    let is_time = found.ty.sample_type == "cpu" && found.ty.sample_unit == "nanoseconds";
    let sample = |labels: &Labels, time: i64, value: i64| {
        let known = steps.get(labels).and_then(|steps| steps.get(&time));
        let of_one_time = known.filter(|step| step.first_time == step.last_time && step.duration_nano > 0);
        let duration = of_one_time.map_or(step_nano, |step| step.duration_nano);
        let scale = if is_time { 1.0 } else { 1e9 };
        v1::MetricsSample {
            timestamp: Some(ask::timestamp(time)),
            value,
            value_per_second: value as f64 / duration as f64 * scale,
            duration,
            count: known.map_or(0, |step| step.count),
        }
    };
    let line = |line: flamestore_query::TimeSeries| {
        let samples = line.points.iter().map(|point| sample(&line.labels, point.time_unix_nano, point.total)).collect();
        (line.labels, samples)
    };
    Ok(lines.into_iter().map(line).collect())
}

/// What is known of each step, by labels and start, held in `memory`.
///
/// # Errors
/// `Exhausted` when there is no room for it.
fn steps(
    profiles: &[ProfileEntry],
    names: &[String],
    step_nano: i64,
    memory: &Memory,
) -> Result<BTreeMap<Labels, BTreeMap<i64, Step>>> {
    let mut all: BTreeMap<Labels, BTreeMap<i64, Step>> = BTreeMap::new();
    let mut memory = memory.in_steps();
    for profile in profiles {
        let labels = names.iter().fold(Labels::default(), |labels, name| {
            let derived = profile.profile_type.derived_label(name);
            labels.with(name, profile.labels.get(name).or(derived.as_deref()).unwrap_or_default())
        });
        let time = profile.time_unix_nano;
        let start = time.saturating_sub(time.rem_euclid(step_nano));
        if !all.contains_key(&labels) {
            memory.grow(label_bytes(&labels))?;
        }
        let steps = all.entry(labels).or_default();
        if !steps.contains_key(&start) {
            memory.grow(STEP_BYTES + size_of::<Step>())?;
        }
        let step = steps.entry(start).or_insert(Step { count: 0, first_time: time, last_time: time, duration_nano: 0 });
        step.count = step.count.saturating_add(1);
        step.first_time = step.first_time.min(time);
        step.last_time = step.last_time.max(time);
        step.duration_nano = step.duration_nano.max(profile.duration_nano);
    }
    Ok(all)
}

/// What labels take as a key and in the answer, about.
fn label_bytes(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| 2 * (size_of::<Label>() + name.len() + value.len())).sum()
}

/// The first profile of each series in each step.
async fn firsts(reader: &Reader, found: &Found, step_nano: i64) -> Result<Vec<(Labels, Vec<v1::MetricsSample>)>> {
    let memory = reader.engine.memory("QueryRange");
    let profiles = reader.engine.list_profiles_in(&found.query, PROFILES_MAX + 1, &memory).await?.value;
    if profiles.len() > PROFILES_MAX {
        let many = "too many profiles to look at one by one; ask for a shorter range, or fewer series";
        return Err(Error::exhausted(many).with("profiles_max", PROFILES_MAX));
    }
    // By series and step.
    let mut firsts: BTreeMap<Labels, BTreeMap<i64, ProfileEntry>> = BTreeMap::new();
    let mut memory = memory.in_steps();
    // The newest come first, so what comes last stays.
    for profile in profiles {
        if !firsts.contains_key(&profile.labels) {
            memory.grow(label_bytes(&profile.labels))?;
        }
        let step = profile.time_unix_nano.div_euclid(step_nano);
        let steps = firsts.entry(profile.labels.clone()).or_default();
        if steps.insert(step, profile).is_none() {
            memory.grow(STEP_BYTES + size_of::<ProfileEntry>())?;
        }
    }
    let sample = |profile: ProfileEntry| v1::MetricsSample {
        timestamp: Some(ask::timestamp(profile.time_unix_nano)),
        value: profile.total,
        value_per_second: profile.total as f64,
        duration: 0,
        count: 1,
    };
    let series = firsts.into_iter().map(|(labels, steps)| (labels, steps.into_values().map(sample).collect()));
    Ok(series.collect())
}

fn label_set(labels: &Labels) -> LabelSet {
    let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    LabelSet { labels: labels.iter().map(label).collect() }
}

fn value_type(ty: &str, unit: &str) -> v1::ValueType {
    v1::ValueType { r#type: ty.to_owned(), unit: unit.to_owned() }
}
