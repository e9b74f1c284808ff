//! What agents send beside profiles: reports of their own end, which are logged; logs and traces, which are counted and dropped.

use flamestore_model::Result;
use flamestore_proto::otlp::logs::logs_service_server::LogsService;
use flamestore_proto::otlp::logs::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use flamestore_proto::otlp::trace::trace_service_server::TraceService;
use flamestore_proto::otlp::trace::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use flamestore_proto::parca::telemetry::telemetry_service_server::TelemetryService;
use flamestore_proto::parca::telemetry::{ReportPanicRequest, ReportPanicResponse};
use tonic::{Request, Response, Status};

use crate::status::{status_of, tenant_of};
use crate::telemetry::{AGENT_PANICS_TOTAL, DROPPED_BYTES_TOTAL, DROPPED_REQUESTS_TOTAL};

/// The most characters of a report that are logged.
const REPORT_CHARS_MAX: usize = 8192;

/// Takes reports of agents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panics;

/// Takes logs and traces, and keeps none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropped;

#[tonic::async_trait]
impl TelemetryService for Panics {
    async fn report_panic(
        &self,
        request: Request<ReportPanicRequest>,
    ) -> Result<Response<ReportPanicResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
        let ReportPanicRequest { stderr, metadata } = request.into_inner();
        metrics::counter!(AGENT_PANICS_TOTAL).increment(1);
        tracing::warn!(%tenant, stderr = ?shortened(&stderr), metadata = shortened(&format!("{metadata:?}")), "an agent panicked");
        Ok(Response::new(ReportPanicResponse {}))
    }
}

/// The end of a text, where a panic says what it was.
fn shortened(text: &str) -> &str {
    let start = text.char_indices().rev().nth(REPORT_CHARS_MAX - 1).map_or(0, |(at, _)| at);
    &text[start..]
}

fn count(signal: &'static str, messages: &[bytes::Bytes]) {
    let bytes: usize = messages.iter().map(bytes::Bytes::len).sum();
    metrics::counter!(DROPPED_REQUESTS_TOTAL, "signal" => signal).increment(1);
    metrics::counter!(DROPPED_BYTES_TOTAL, "signal" => signal).increment(u64::try_from(bytes).unwrap_or(u64::MAX));
}

#[tonic::async_trait]
impl LogsService for Dropped {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        count("logs", &request.into_inner().resource_logs);
        Ok(Response::new(ExportLogsServiceResponse {}))
    }
}

#[tonic::async_trait]
impl TraceService for Dropped {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        count("traces", &request.into_inner().resource_spans);
        Ok(Response::new(ExportTraceServiceResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_report_loses_its_start() {
        assert_eq!(shortened("panic"), "panic");
        let long = "é".repeat(REPORT_CHARS_MAX) + "end";
        assert_eq!(shortened(&long).chars().count(), REPORT_CHARS_MAX);
        assert!(shortened(&long).ends_with("éend"));
    }
}
