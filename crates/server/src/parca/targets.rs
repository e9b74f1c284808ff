//! What this process scrapes, as Parca's pages ask for it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use flamestore_model::{Error, Result, Tenant};
use flamestore_proto::parca::profilestore::{Label, LabelSet};
use flamestore_proto::parca::scrape::v1alpha1 as v1;
use flamestore_proto::parca::scrape::v1alpha1::scrape_service_server::ScrapeService;
use flamestore_proto::parca::scrape::v1alpha1::target::Health;
use flamestore_proto::parca::scrape::v1alpha1::targets_request::State;
use flamestore_scrape::{LastScrape, TargetState, TargetsPage};
use tonic::{Request, Response, Status};

use crate::status::{status_of, tenant_of};

/// Answers `parca.scrape.v1alpha1.ScrapeService`: nothing until there is a scraper.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets(Arc<OnceLock<TargetsPage>>);

impl Targets {
    /// From now on answers what the scraper of `page` knows; a second one changes nothing.
    pub(crate) fn answer_from(&self, page: TargetsPage) {
        let _ = self.0.set(page);
    }

    fn list(&self, tenant: &Tenant, request: &v1::TargetsRequest) -> Result<v1::TargetsResponse> {
        let state = State::try_from(request.state);
        let state =
            state.map_err(|_| Error::invalid("there is no such state of targets").with("state", request.state))?;
        let known = match (state, self.0.get()) {
            (State::AnyUnspecified | State::Active, Some(page)) => page.targets(),
            (State::Dropped, _) | (_, None) => Vec::new(),
        };
        let mut by_job: BTreeMap<String, v1::Targets> = BTreeMap::new();
        for known in known.into_iter().filter(|known| known.tenant == *tenant) {
            by_job.entry(known.job.clone()).or_default().targets.push(target(known));
        }
        Ok(v1::TargetsResponse { targets: by_job.into_iter().collect() })
    }
}

fn target(known: TargetState) -> v1::Target {
    const SECOND: i64 = 1_000_000_000;
    let health = match &known.last {
        None => Health::UnknownUnspecified,
        Some(LastScrape { error: None, .. }) => Health::Good,
        Some(LastScrape { error: Some(_), .. }) => Health::Bad,
    };
    let timestamp = |nanos: i64| prost_types::Timestamp {
        seconds: nanos.div_euclid(SECOND),
        nanos: i32::try_from(nanos.rem_euclid(SECOND)).unwrap_or_default(),
    };
    let duration = |last: &LastScrape| prost_types::Duration::try_from(last.took).unwrap_or_default();
    v1::Target {
        discovered_labels: Some(label_set(known.discovered.iter().map(|(name, value)| (&name[..], &value[..])))),
        labels: Some(label_set(known.labels.iter())),
        last_scrape: known.last.as_ref().map(|last| timestamp(last.unix_nano)),
        last_scrape_duration: known.last.as_ref().map(duration),
        last_error: known.last.and_then(|last| last.error).unwrap_or_default(),
        url: known.url,
        health: health.into(),
    }
}

fn label_set<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> LabelSet {
    LabelSet { labels: labels.map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect() }
}

#[tonic::async_trait]
impl ScrapeService for Targets {
    async fn targets(&self, request: Request<v1::TargetsRequest>) -> Result<Response<v1::TargetsResponse>, Status> {
        let listed = tenant_of(request.metadata()).and_then(|tenant| self.list(&tenant, request.get_ref()));
        listed.map(Response::new).map_err(|error| status_of(&error))
    }
}
