//! What there is: profile types, label names and values, the label sets of series.

use std::collections::BTreeSet;

use flamestore_model::{Error, Labels, ProfileType, Result, Selector, TimeRange};
use flamestore_proto::{querier, types};

use super::ask::{self, Asked};
use super::reader::Reader;

pub(super) async fn profile_types(
    reader: &Reader,
    request: &querier::v1::ProfileTypesRequest,
) -> Result<querier::v1::ProfileTypesResponse> {
    let range = match (request.start, request.end) {
        (0, 0) => TimeRange::ALL,
        (start, end) => ask::range(start, end)?,
    };
    let asked = Asked { selector: Selector::default(), range };
    let found = reader.profile_types(&asked).await?;
    Ok(querier::v1::ProfileTypesResponse { profile_types: found.into_iter().map(profile_type).collect() })
}

pub(super) async fn label_values(
    reader: &Reader,
    request: &types::v1::LabelValuesRequest,
) -> Result<types::v1::LabelValuesResponse> {
    if request.name.is_empty() {
        return Err(Error::invalid("the request has no name of a label"));
    }
    let asked = Asked::series(&request.matchers, request.start, request.end)?;
    let values = reader.label_values(&asked, &request.name).await?;
    Ok(types::v1::LabelValuesResponse { names: values.into_iter().collect() })
}

pub(super) async fn label_names(
    reader: &Reader,
    request: &types::v1::LabelNamesRequest,
    takes_any_name: bool,
) -> Result<types::v1::LabelNamesResponse> {
    let asked = Asked::series(&request.matchers, request.start, request.end)?;
    let names = reader.label_names(&asked).await?;
    let names = names.into_iter().filter(|name| takes_any_name || is_plain(name));
    Ok(types::v1::LabelNamesResponse { names: names.collect() })
}

pub(super) async fn series(
    reader: &Reader,
    request: &querier::v1::SeriesRequest,
    takes_any_name: bool,
) -> Result<querier::v1::SeriesResponse> {
    let asked = Asked::series(&request.matchers, request.start, request.end)?;
    let found = reader.series(&asked).await?;
    let kept = |name: &str| {
        let is_wanted = request.label_names.is_empty() || request.label_names.iter().any(|wanted| wanted == name);
        is_wanted && (takes_any_name || is_plain(name))
    };
    let sets: BTreeSet<Labels> = found
        .into_iter()
        .map(|entry| {
            let all = entry.profile_type.add_derived_labels(entry.labels);
            let left_out: Vec<String> =
                all.iter().map(|(name, _)| name).filter(|name| !kept(name)).map(str::to_owned).collect();
            left_out.iter().fold(all, |labels, name| labels.with(name, ""))
        })
        .collect();
    let labels_set = sets.iter().filter(|set| !set.is_empty()).map(|set| types::v1::Labels { labels: pairs(set) });
    Ok(querier::v1::SeriesResponse { labels_set: labels_set.collect() })
}

/// Labels as messages have them.
pub(super) fn pairs(labels: &Labels) -> Vec<types::v1::LabelPair> {
    let pair = |(name, value): (&str, &str)| types::v1::LabelPair { name: name.to_owned(), value: value.to_owned() };
    labels.iter().map(pair).collect()
}

fn profile_type(ty: ProfileType) -> types::v1::ProfileType {
    types::v1::ProfileType {
        id: ty.to_string(),
        name: ty.name,
        sample_type: ty.sample_type,
        sample_unit: ty.sample_unit,
        period_type: ty.period_type,
        period_unit: ty.period_unit,
    }
}

/// Whether a label name is one that Prometheus always had.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
