//! Who wrote lately: addresses with the time, the length and the error of their last request.
//!
//! Bound: [`AGENTS_MAX`] agents of all tenants; the one that wrote longest ago makes room.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flamestore_model::{Result, Tenant};
use flamestore_proto::parca::profilestore::agents_service_server::AgentsService;
use flamestore_proto::parca::profilestore::{Agent, AgentsRequest, AgentsResponse};
use flamestore_store::Clock;
use tonic::{Request, Response, Status};

use crate::listener::Peer;
use crate::status::{status_of, tenant_of};

const AGENTS_MAX: usize = 10_000;
/// Who did not write for so long is no agent any more.
const LATELY_NANOS: i64 = 600_000_000_000;
/// The most characters of an error.
const ERROR_CHARS_MAX: usize = 1024;

/// The agents of a server.
#[derive(Clone)]
pub(crate) struct Agents {
    clock: Arc<dyn Clock>,
    last: Arc<Mutex<BTreeMap<(Tenant, IpAddr), Last>>>,
}

#[derive(Clone, Debug, Default)]
struct Last {
    error: String,
    time_unix_nano: i64,
    duration_nano: i64,
}

/// A request of an agent that runs.
#[must_use = "a request ends one way or the other"]
pub(super) struct Push {
    agents: Agents,
    tenant: Tenant,
    address: Option<IpAddr>,
    started_unix_nano: i64,
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Agents {
    /// No agents, at the time of `clock`.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Arc::default() }
    }

    /// A request begins, from where `extensions` say.
    pub(super) fn start(&self, tenant: &Tenant, extensions: &tonic::Extensions) -> Push {
        let address = extensions.get::<Peer>().map(|peer| peer.0);
        let started_unix_nano = self.clock.now_unix_nano();
        Push { agents: self.clone(), tenant: tenant.clone(), address, started_unix_nano }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Tenant, IpAddr), Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, tenant: &Tenant) -> Vec<Agent> {
        let since = self.clock.now_unix_nano().saturating_sub(LATELY_NANOS);
        let last = self.lock();
        let theirs = last.iter().filter(|((of, _), last)| of == tenant && last.time_unix_nano >= since);
        theirs.map(|((_, address), last)| agent(*address, last)).collect()
    }
}

impl Push {
    /// The request ends as `stored` says.
    pub(super) fn finish<T>(self, stored: Result<T>) -> Result<T> {
        match &stored {
            Ok(_) => self.end(String::new()),
            Err(error) => self.failed(&error.to_string()),
        }
        stored
    }

    /// The request ends in an error.
    pub(super) fn failed(&self, error: &str) {
        self.end(error.chars().take(ERROR_CHARS_MAX).collect());
    }

    fn end(&self, error: String) {
        let Some(address) = self.address else { return };
        let now = self.agents.clock.now_unix_nano();
        let duration_nano = now.saturating_sub(self.started_unix_nano).max(0);
        let mut last = self.agents.lock();
        last.insert((self.tenant.clone(), address), Last { error, time_unix_nano: now, duration_nano });
        if last.len() > AGENTS_MAX
            && let Some(oldest) = last.iter().min_by_key(|(_, last)| last.time_unix_nano).map(|(key, _)| key.clone())
        {
            last.remove(&oldest);
        }
    }
}

fn agent(address: IpAddr, last: &Last) -> Agent {
    const SECOND: i64 = 1_000_000_000;
    let split = |nanos: i64| (nanos.div_euclid(SECOND), i32::try_from(nanos.rem_euclid(SECOND)).unwrap_or_default());
    let (seconds, nanos) = split(last.time_unix_nano);
    let last_push = prost_types::Timestamp { seconds, nanos };
    let (seconds, nanos) = split(last.duration_nano);
    let last_push_duration = prost_types::Duration { seconds, nanos };
    Agent {
        id: address.to_string(),
        last_error: last.error.clone(),
        last_push: Some(last_push),
        last_push_duration: Some(last_push_duration),
    }
}

#[tonic::async_trait]
impl AgentsService for Agents {
    async fn agents(&self, request: Request<AgentsRequest>) -> Result<Response<AgentsResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
        Ok(Response::new(AgentsResponse { agents: self.list(&tenant) }))
    }
}
