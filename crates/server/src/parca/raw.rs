//! `WriteRaw`: each sample of each series is a whole pprof, stored on its own.

use flamestore_model::{Error, Labels, ProfileId, Result, Tenant, names};
use flamestore_proto::parca::profilestore::{LabelSet, RawProfileSeries, WriteRawRequest};
use flamestore_store::{ProfileFormat, PushProfile, retry_id};

use bytes::Bytes;

use crate::intake::Intake;
use crate::push::Rejections;
use crate::sampled;

/// Stores the profiles of a request.
///
/// # Errors
/// The first error that a retry may mend, else the first one.
pub(super) async fn write(intake: &Intake, tenant: &Tenant, request: WriteRawRequest) -> Result<()> {
    let profiles = request.series.iter().map(|series| series.samples.len()).sum();
    intake.check_count(profiles)?;
    let mut rejections = Rejections::default();
    for (at, series) in request.series.into_iter().enumerate() {
        write_series(intake, tenant, at, series, &mut rejections).await;
    }
    rejections.finish()
}

async fn write_series(
    intake: &Intake,
    tenant: &Tenant,
    at: usize,
    series: RawProfileSeries,
    rejections: &mut Rejections,
) {
    let labels = match labels(intake, &series.labels.unwrap_or_default()) {
        Ok(labels) => labels,
        Err(error) => return rejections.add(|| format!("series {at}"), Err::<ProfileId, _>(error)),
    };
    for (row, sample) in series.samples.into_iter().enumerate() {
        let stored = write_one(intake, tenant, &labels, sample.raw_profile).await;
        rejections.add(|| format!("series {at}, sample {row}"), stored);
    }
}

fn labels(intake: &Intake, set: &LabelSet) -> Result<Labels> {
    let pairs = set.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    let labels = super::labels(intake, pairs)?;
    match labels.get(names::NAME) {
        Some(_) => Ok(labels),
        None => Err(Error::invalid("missing __name__ label")),
    }
}

async fn write_one(intake: &Intake, tenant: &Tenant, labels: &Labels, bytes: Bytes) -> Result<ProfileId> {
    intake.take_bytes(tenant, bytes.len())?;
    let format = ProfileFormat::Pprof;
    let mut batch = intake.decode(format.clone(), bytes.clone()).await?;
    let id = retry_id(tenant, labels, batch.header.time_unix_nano, &[&bytes]);
    let sample_types = batch.header.sample_types.len();
    sampled::add_period(&mut batch)?;
    // the log keeps what was received only where that is what is stored
    let received = (batch.header.sample_types.len() == sample_types).then_some((format, bytes));
    let (tenant, labels) = (tenant.clone(), labels.clone());
    intake.store(PushProfile { tenant, labels, batch, received, id: Some(id), time_unix_nano: None }).await
}
