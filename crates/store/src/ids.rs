//! The ids of recent pushes: how a retried push is told from a new one.
//!
//! An id is `InFlight` while its push runs, then `Stored` for as long as its head is in memory, then for `retry_window`
//! after its head was published. Bounded: ids in heads by the head's bytes, published ones by `retry_ids_max`.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use flamestore_model::{ProfileId, Tenant};
use parking_lot::Mutex;

/// What an id is worth remembering in a head: two entries of a hash table.
pub(crate) const ID_BYTES: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    InFlight,
    Stored,
}

/// What is known of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing; it is now in flight.
    Never,
    /// Its push runs.
    InFlight,
    /// Its profile is stored.
    Stored,
}

#[derive(Default)]
struct Ids {
    tenants: HashMap<Tenant, HashMap<ProfileId, State>>,
    published: VecDeque<Published>,
    published_count: usize,
}

struct Published {
    unix_nano: i64,
    tenant: Tenant,
    ids: Vec<ProfileId>,
}

/// The ids of all tenants.
pub(crate) struct RecentIds {
    ids: Mutex<Ids>,
    window_nano: i64,
    published_max: usize,
}

impl RecentIds {
    pub(crate) fn new(window: Duration, published_max: usize) -> Self {
        let window_nano = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        Self { ids: Mutex::default(), window_nano, published_max }
    }

    /// Takes note that `id` is being pushed, unless it is known.
    pub(crate) fn begin(&self, tenant: &Tenant, id: ProfileId) -> Seen {
        let mut ids = self.ids.lock();
        let known = match ids.tenants.get_mut(tenant) {
            Some(known) => known,
            None => ids.tenants.entry(tenant.clone()).or_default(),
        };
        match known.get(&id) {
            Some(State::InFlight) => Seen::InFlight,
            Some(State::Stored) => Seen::Stored,
            None => {
                known.insert(id, State::InFlight);
                Seen::Never
            }
        }
    }

    /// The push of `id` came to its end: its profile is stored, or was refused and may be pushed again.
    pub(crate) fn end(&self, tenant: &Tenant, id: ProfileId, stored: bool) {
        let mut ids = self.ids.lock();
        match (ids.tenants.get_mut(tenant), stored) {
            (Some(known), true) => drop(known.insert(id, State::Stored)),
            (Some(known), false) => drop(known.remove(&id)),
            (None, _) => {}
        }
    }

    /// Profiles of `tenant` with these ids were published at `unix_nano`, before this store was opened. Whether there is room
    /// for more.
    pub(crate) fn remember(&self, tenant: &Tenant, published: Vec<ProfileId>, unix_nano: i64) -> bool {
        let mut ids = self.ids.lock();
        let known = ids.tenants.entry(tenant.clone()).or_default();
        let new: Vec<ProfileId> =
            published.into_iter().filter(|id| known.insert(*id, State::Stored).is_none()).collect();
        ids.published_count += new.len();
        ids.published.push_back(Published { unix_nano, tenant: tenant.clone(), ids: new });
        ids.published_count < self.published_max
    }

    /// A head of `tenant` with these ids was published at `now`; forgets what is older than the window.
    pub(crate) fn published(&self, tenant: &Tenant, published: Vec<ProfileId>, now: i64) {
        let mut ids = self.ids.lock();
        ids.published_count += published.len();
        ids.published.push_back(Published { unix_nano: now, tenant: tenant.clone(), ids: published });
        while let Some(oldest) = ids.published.front() {
            if ids.published_count <= self.published_max && oldest.unix_nano.saturating_add(self.window_nano) > now {
                break;
            }
            let Some(oldest) = ids.published.pop_front() else { break };
            ids.published_count -= oldest.ids.len();
            ids.forget(&oldest);
        }
    }
}

impl Ids {
    fn forget(&mut self, old: &Published) {
        let Some(known) = self.tenants.get_mut(&old.tenant) else { return };
        for id in &old.ids {
            known.remove(id);
        }
        if known.is_empty() {
            self.tenants.remove(&old.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_from_its_push_until_the_window_after_its_publication_is_over() {
        let ids = RecentIds::new(Duration::from_nanos(10), 100);
        let (tenant, id) = (Tenant::default(), ProfileId::from_parts(1, 1));
        assert_eq!(ids.begin(&tenant, id), Seen::Never);
        assert_eq!(ids.begin(&tenant, id), Seen::InFlight);
        ids.end(&tenant, id, false);
        assert_eq!(ids.begin(&tenant, id), Seen::Never);
        ids.end(&tenant, id, true);
        assert_eq!(ids.begin(&tenant, id), Seen::Stored);
        ids.published(&tenant, vec![id], 100);
        ids.published(&tenant, vec![], 109);
        assert_eq!(ids.begin(&tenant, id), Seen::Stored);
        ids.published(&tenant, vec![], 110);
        assert_eq!(ids.begin(&tenant, id), Seen::Never);
    }

    #[test]
    fn published_ids_are_bounded_in_number_and_by_tenant() -> Result<(), flamestore_model::Error> {
        let ids = RecentIds::new(Duration::from_secs(1), 1);
        let (a, b) = (Tenant::new("a")?, Tenant::new("b")?);
        let id = ProfileId::from_parts(1, 1);
        for tenant in [&a, &b] {
            assert_eq!(ids.begin(tenant, id), Seen::Never);
            ids.end(tenant, id, true);
            ids.published(tenant, vec![id], 0);
        }
        assert_eq!(ids.begin(&a, id), Seen::Never);
        assert_eq!(ids.begin(&b, id), Seen::Stored);
        Ok(())
    }
}
