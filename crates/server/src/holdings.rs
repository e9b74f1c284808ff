//! The status service: what the store holds of a tenant, in segments and in memory, and how far questions are.

use std::sync::Arc;

use flamestore_model::{Result, Tenant, TimeRange};
use flamestore_proto::v1;
use flamestore_proto::v1::status_service_server::StatusService;
use flamestore_query::SoFar;
use flamestore_store::{HeadView, SegmentEntry, Store};
use tonic::{Request, Response, Status};

use crate::compute::Compute;
use crate::running::Running;
use crate::status::{status_of, tenant_of};

/// Answers `flamestore.v1.StatusService` for one store.
#[derive(Clone, Debug)]
pub(crate) struct Holdings {
    pub(crate) store: Arc<Store>,
    pub(crate) compute: Compute,
    pub(crate) running: Running,
}

/// What the heads of one tenant hold.
#[derive(Debug, Default)]
struct HeadCounts {
    profiles: u64,
    samples: u64,
    series: u64,
}

impl Holdings {
    fn segments(&self, tenant: &Tenant) -> v1::SegmentsResponse {
        let snapshot = self.store.snapshot(tenant);
        let readable = snapshot.segments.iter().map(|segment| segment_status(&segment.entry, String::new()));
        let damaged = snapshot.damaged.iter().map(|damaged| segment_status(&damaged.entry, damaged.reason.clone()));
        v1::SegmentsResponse { manifest_version: snapshot.version, segments: readable.chain(damaged).collect() }
    }

    async fn head(&self, tenant: &Tenant) -> Result<v1::HeadResponse> {
        let heads = self.store.snapshot(tenant).head;
        let counts = self.compute.run(move || Ok(heads.iter().fold(HeadCounts::default(), count))).await?;
        let status = self.store.head_status();
        Ok(v1::HeadResponse {
            profiles: counts.profiles,
            samples: counts.samples,
            series: counts.series,
            memory_bytes: u64::try_from(status.bytes).unwrap_or(u64::MAX),
            memory_bytes_max: u64::try_from(status.bytes_max).unwrap_or(u64::MAX),
            flush_error: status.flush_error.unwrap_or_default(),
        })
    }
}

fn count(counts: HeadCounts, head: &Arc<HeadView>) -> HeadCounts {
    let series = head.series();
    let all = series.rows.iter().map(|row| row.series_id).collect();
    let profiles = head.profiles(&all, &TimeRange::ALL);
    let len = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    HeadCounts {
        profiles: counts.profiles + len(profiles.len()),
        samples: counts.samples + profiles.iter().map(|profile| u64::from(profile.row_count)).sum::<u64>(),
        series: counts.series + len(series.rows.len()),
    }
}

fn segment_status(entry: &SegmentEntry, damage: String) -> v1::SegmentStatus {
    v1::SegmentStatus {
        id: entry.id.to_string(),
        time_min_unix_nano: entry.time_min,
        time_max_unix_nano: entry.time_max,
        profiles: entry.profile_rows,
        samples: entry.sample_rows,
        stacks: entry.stacks,
        bytes: entry.tables.iter().map(|table| table.bytes).sum(),
        profile_types: entry.profile_types.clone(),
        services: u64::try_from(entry.services.len()).unwrap_or(u64::MAX),
        series: entry.series,
        level: entry.level,
        created_unix_nano: entry.created_unix_nano,
        damage,
    }
}

#[tonic::async_trait]
impl StatusService for Holdings {
    async fn segments(&self, request: Request<v1::SegmentsRequest>) -> Result<Response<v1::SegmentsResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
        Ok(Response::new(Holdings::segments(self, &tenant)))
    }

    async fn head(&self, request: Request<v1::HeadRequest>) -> Result<Response<v1::HeadResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
        Holdings::head(self, &tenant).await.map(Response::new).map_err(|error| status_of(&error))
    }

    async fn progress(&self, request: Request<v1::ProgressRequest>) -> Result<Response<v1::ProgressResponse>, Status> {
        let found = self.running.find(request.metadata().as_ref(), &request.get_ref().query_id);
        let found = found.map_err(|error| status_of(&error))?;
        let SoFar { units, units_done, rows } = found.unwrap_or_default();
        let running = found.is_some();
        Ok(Response::new(v1::ProgressResponse { running, segments: units, segments_done: units_done, rows }))
    }
}
