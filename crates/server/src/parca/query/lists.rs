//! What there is: profile types, names and values of labels.

use flamestore_model::{Error, MatchOp, Matcher, Result, Selector, Temporality, TimeRange, names};
use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_query::Query;

use super::ask;
use super::read::Reader;
use crate::translate;

pub(super) async fn profile_types(
    reader: &Reader,
    request: &v1::ProfileTypesRequest,
) -> Result<v1::ProfileTypesResponse> {
    let query = reader.query(Selector::default(), ask::range_or_all(request.start, request.end)?);
    let found = reader.engine.temporalities(&query).await?.value;
    let mut types: Vec<v1::ProfileType> = Vec::new();
    for (ty, temporality) in found {
        let listed = v1::ProfileType {
            name: ty.name,
            sample_type: ty.sample_type,
            sample_unit: ty.sample_unit,
            period_type: ty.period_type,
            period_unit: ty.period_unit,
            delta: temporality == Temporality::Delta,
        };
        if !types.contains(&listed) {
            types.push(listed);
        }
    }
    Ok(v1::ProfileTypesResponse { types })
}

pub(super) async fn labels(reader: &Reader, request: &v1::LabelsRequest) -> Result<v1::LabelsResponse> {
    let range = ask::range_or_all(request.start, request.end)?;
    let query = query(reader, &request.r#match, request.profile_type.as_deref(), range)?;
    Ok(v1::LabelsResponse { label_names: reader.label_names(&query).await?, warnings: Vec::new() })
}

pub(super) async fn values(reader: &Reader, request: &v1::ValuesRequest) -> Result<v1::ValuesResponse> {
    if request.label_name.is_empty() {
        return Err(Error::invalid("the request has no label_name"));
    }
    let range = ask::range_or_all(request.start, request.end)?;
    let query = query(reader, &request.r#match, request.profile_type.as_deref(), range)?;
    let label_values = reader.engine.label_values(&query, &request.label_name).await?.value;
    Ok(v1::ValuesResponse { label_values, warnings: Vec::new() })
}

pub(super) async fn has_profile_data(reader: &Reader) -> Result<v1::HasProfileDataResponse> {
    let query = reader.query(Selector::default(), TimeRange::ALL);
    let has_data = !reader.engine.temporalities(&query).await?.value.is_empty();
    Ok(v1::HasProfileDataResponse { has_data })
}

/// What series fit all of `matchers` and are of the type that is given, if one is.
fn query(reader: &Reader, matchers: &[String], profile_type: Option<&str>, range: TimeRange) -> Result<Query> {
    let mut selector = Selector::default();
    for matcher in matchers {
        // A matcher may name a type, with `:delta` too.
        let found = match ask::typed(matcher) {
            Ok((ty, _, mut rest)) => {
                rest.matchers.push(Matcher::new(names::PROFILE_TYPE, MatchOp::Equal, ty.to_string())?);
                rest
            }
            Err(_) => translate::selector(matcher)?,
        };
        selector.matchers.extend(found.matchers);
    }
    if let Some(profile_type) = profile_type.filter(|ty| !ty.is_empty()) {
        let (ty, _, rest) = ask::typed(profile_type).map_err(|error| error.with("field", "profile_type"))?;
        selector.matchers.extend(rest.matchers);
        selector.matchers.push(Matcher::new(names::PROFILE_TYPE, MatchOp::Equal, ty.to_string())?);
    }
    Ok(reader.query(selector, range))
}
