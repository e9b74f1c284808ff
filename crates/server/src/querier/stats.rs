//! What is stored of which times, told without reading a profile: by the manifest, and by the series of heads.

use flamestore_model::{Error, Result, TimeRange};
use flamestore_proto::{querier, types};
use flamestore_store::SegmentEntry;

use super::ask::{self, Asked};
use super::reader::Reader;
use crate::translate;

/// The earliest and the latest time of all profiles.
fn bounds(reader: &Reader) -> Option<(i64, i64)> {
    let mut bounds: Option<(i64, i64)> = None;
    let mut widen = |min: i64, max: i64| {
        let (least, most) = bounds.unwrap_or((min, max));
        bounds = Some((least.min(min), most.max(max)));
    };
    for tenant in &reader.tenants {
        let snapshot = reader.engine.store().snapshot(tenant);
        snapshot.segments.iter().for_each(|segment| widen(segment.entry.time_min, segment.entry.time_max));
        for head in &snapshot.head {
            head.series().rows.iter().for_each(|row| widen(row.time_min, row.time_max));
        }
    }
    bounds
}

pub(super) async fn stats(reader: &Reader) -> Result<types::v1::GetProfileStatsResponse> {
    let asking = reader.clone();
    let bounds = reader.compute.run(move || Ok(bounds(&asking))).await?;
    Ok(match bounds {
        None => types::v1::GetProfileStatsResponse::default(),
        Some((oldest, newest)) => types::v1::GetProfileStatsResponse {
            data_ingested: true,
            oldest_profile_time: ask::millis(oldest),
            newest_profile_time: ask::millis(newest),
        },
    })
}

pub(super) async fn analyze(
    reader: &Reader,
    request: &querier::v1::AnalyzeQueryRequest,
) -> Result<querier::v1::AnalyzeQueryResponse> {
    if request.query.is_empty() {
        return Err(Error::invalid("the request has no query"));
    }
    let asked =
        Asked { selector: translate::selector(&request.query)?, range: ask::range(request.start, request.end)? };
    let series = reader.series(&asked).await?.len() as u64;
    let asking = reader.clone();
    let range = asked.range;
    let scopes = reader.compute.run(move || Ok([segments(&asking, &range), heads(&asking, &range)])).await?;
    let total_bytes_in_time_range = scopes.iter().map(|scope| scope.profile_bytes).sum();
    Ok(querier::v1::AnalyzeQueryResponse {
        query_scopes: scopes.into_iter().filter(|scope| scope.component_count > 0).collect(),
        query_impact: Some(querier::v1::QueryImpact {
            total_bytes_in_time_range,
            total_queried_series: series,
            deduplication_needed: false,
        }),
    })
}

/// The segments of single profiles that overlap the range, each counted as a whole.
fn segments(reader: &Reader, range: &TimeRange) -> querier::v1::QueryScope {
    let mut scope = querier::v1::QueryScope { component_type: "segments".to_owned(), ..Default::default() };
    for tenant in &reader.tenants {
        let snapshot = reader.engine.store().snapshot(tenant);
        let entries = snapshot.segments.iter().map(|segment| &segment.entry);
        let read = |entry: &&std::sync::Arc<SegmentEntry>| {
            entry.covers.is_empty() && range.overlaps(entry.time_min, entry.time_max)
        };
        for entry in entries.filter(read) {
            scope.component_count = 1;
            scope.block_count += 1;
            scope.series_count += entry.series;
            scope.profile_count += entry.profile_rows;
            scope.sample_count += entry.sample_rows;
            scope.profile_bytes += entry.tables.iter().map(|table| table.bytes).sum::<u64>();
        }
    }
    scope
}

/// What is in memory and overlaps the range.
fn heads(reader: &Reader, range: &TimeRange) -> querier::v1::QueryScope {
    let mut scope = querier::v1::QueryScope { component_type: "head".to_owned(), ..Default::default() };
    for tenant in &reader.tenants {
        for head in &reader.engine.store().snapshot(tenant).head {
            let series = head.series();
            let inside = series.rows.iter().filter(|row| range.overlaps(row.time_min, row.time_max));
            let ids = inside.map(|row| row.series_id).collect();
            let profiles = head.profiles(&ids, range);
            if profiles.is_empty() {
                continue;
            }
            scope.component_count += 1;
            scope.series_count += ids.len();
            scope.profile_count += profiles.len() as u64;
            scope.sample_count += profiles.iter().map(|profile| u64::from(profile.row_count)).sum::<u64>();
        }
    }
    scope
}
