//! What a store knows, under one lock: the manifest in use, the readable segments, and the heads of every tenant.
//!
//! A head leaves and its segments appear in one step ([`State::install`]), whoever brings the manifest: a flush or a
//! refresh. So a snapshot, which is taken under the same lock, sees each profile exactly once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use flamestore_model::{SegmentId, Tenant};
use flamestore_segment::{DictionaryCache, SegmentReader};

use crate::bucket::Bucket;
use crate::cache::SegmentCache;
use crate::head::HeadPart;
use crate::manifest::{Manifest, SegmentEntry};
use crate::snapshot::{DamagedSegment, Snapshot, StoredSegment};
use crate::source::BucketSource;
use crate::view::HeadView;

/// The heads frozen by one flush; they are published together, and batches one after the other.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// The number of the flush.
    pub(crate) flush: u64,
    pub(crate) parts: Vec<Arc<HeadPart>>,
}

/// Which heads a manifest holds as segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Those of this writer's flushes up to this one.
    Flushes(u64),
    /// All, the open ones too: another store took the log over and published what it found.
    All,
}

/// What a tenant has.
#[derive(Debug)]
struct TenantState {
    open: Option<Arc<HeadPart>>,
    segments: Arc<[Arc<StoredSegment>]>,
    damaged: Arc<[DamagedSegment]>,
}

impl Default for TenantState {
    fn default() -> Self {
        Self { open: None, segments: Arc::from([]), damaged: Arc::from([]) }
    }
}

/// Everything a snapshot is made of.
#[derive(Debug)]
pub(crate) struct State {
    bucket: Bucket,
    dictionaries: Arc<DictionaryCache>,
    cache: Arc<SegmentCache>,
    manifest: Arc<Manifest>,
    tenants: BTreeMap<Tenant, TenantState>,
    /// Oldest first.
    frozen: VecDeque<Frozen>,
    segments: HashMap<SegmentId, Arc<StoredSegment>>,
    damaged: HashMap<SegmentId, String>,
    flushes: u64,
}

impl State {
    pub(crate) fn new(bucket: Bucket, dictionaries: Arc<DictionaryCache>, cache: Arc<SegmentCache>) -> Self {
        Self {
            bucket,
            dictionaries,
            cache,
            manifest: Arc::default(),
            tenants: BTreeMap::new(),
            frozen: VecDeque::new(),
            segments: HashMap::new(),
            damaged: HashMap::new(),
            flushes: 0,
        }
    }

    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    pub(crate) fn damaged(&self) -> usize {
        self.damaged.len()
    }

    /// The open head of `tenant`, if it has one.
    pub(crate) fn open_part(&self, tenant: &Tenant) -> Option<&Arc<HeadPart>> {
        self.tenants.get(tenant)?.open.as_ref()
    }

    /// The open head of `tenant`, made by `new`, which is given the number of the flush to come, if it has none.
    pub(crate) fn open_part_or(&mut self, tenant: &Tenant, new: impl FnOnce(u64) -> HeadPart) -> &Arc<HeadPart> {
        let flush = self.flushes + 1;
        self.tenants.entry(tenant.clone()).or_default().open.get_or_insert_with(|| Arc::new(new(flush)))
    }

    /// All open heads.
    pub(crate) fn open_parts(&self) -> impl Iterator<Item = &Arc<HeadPart>> {
        self.tenants.values().filter_map(|tenant| tenant.open.as_ref())
    }

    /// All frozen heads, oldest first.
    pub(crate) fn frozen_parts(&self) -> impl Iterator<Item = &Arc<HeadPart>> {
        self.frozen.iter().flat_map(|frozen| &frozen.parts)
    }

    /// Freezes all open heads as one flush; nothing happens without one.
    pub(crate) fn freeze(&mut self) {
        let parts: Vec<_> = self.tenants.values_mut().filter_map(|tenant| tenant.open.take()).collect();
        if !parts.is_empty() {
            self.flushes += 1;
            self.frozen.push_back(Frozen { flush: self.flushes, parts });
        }
    }

    /// The oldest flush that is not published: its number and its heads.
    pub(crate) fn next_flush(&self) -> Option<(u64, Vec<Arc<HeadPart>>)> {
        self.frozen.front().map(|frozen| (frozen.flush, frozen.parts.clone()))
    }

    /// Makes `manifest` the one in use, and drops the heads that it holds as segments, which it returns. An older manifest
    /// than the one in use changes nothing.
    pub(crate) fn install(&mut self, manifest: Arc<Manifest>, held: Held) -> Vec<Arc<HeadPart>> {
        if manifest.version < self.manifest.version {
            return Vec::new();
        }
        let mut published = Vec::new();
        let is_held = |frozen: &Frozen| match held {
            Held::Flushes(flushes) => frozen.flush <= flushes,
            Held::All => true,
        };
        while self.frozen.front().is_some_and(is_held) {
            published.extend(self.frozen.pop_front().into_iter().flat_map(|frozen| frozen.parts));
        }
        if held == Held::All {
            published.extend(self.tenants.values_mut().filter_map(|tenant| tenant.open.take()));
        }
        let mut known = std::mem::take(&mut self.segments);
        for entry in &manifest.segments {
            // a segment that lost a table since is opened anew
            let same = known.remove(&entry.id).filter(|stored| stored.entry == *entry);
            let stored = same.unwrap_or_else(|| Arc::new(self.stored(entry)));
            self.segments.insert(entry.id, stored);
        }
        known.values().for_each(|gone| self.cache.forget(&gone.entry));
        self.damaged.retain(|id, _| self.segments.contains_key(id));
        self.manifest = manifest;
        self.list_segments();
        published
    }

    /// Leaves a segment out of later snapshots. Whether it was live and not left out before.
    pub(crate) fn quarantine(&mut self, id: SegmentId, reason: &str) -> bool {
        let Some(stored) = self.segments.get(&id).filter(|_| !self.damaged.contains_key(&id)) else {
            return false;
        };
        // the damage may lie in what was read, not in the bucket
        self.cache.forget(&stored.entry);
        self.damaged.insert(id, reason.to_owned());
        self.list_segments();
        true
    }

    /// All readable segments, in no order.
    pub(crate) fn stored_segments(&self) -> Vec<Arc<StoredSegment>> {
        self.segments
            .iter()
            .filter(|(id, _)| !self.damaged.contains_key(id))
            .map(|(_, stored)| Arc::clone(stored))
            .collect()
    }

    /// The tenants that have something stored.
    pub(crate) fn tenants(&self) -> Vec<Tenant> {
        let stored =
            |state: &TenantState| state.open.is_some() || !state.segments.is_empty() || !state.damaged.is_empty();
        let frozen = |tenant: &Tenant| self.frozen_parts().any(|part| part.tenant == *tenant);
        let has = |(tenant, state): &(&Tenant, &TenantState)| stored(state) || frozen(tenant);
        self.tenants.iter().filter(has).map(|(tenant, _)| tenant.clone()).collect()
    }

    /// What `tenant` has stored.
    pub(crate) fn snapshot(&self, tenant: &Tenant) -> Snapshot {
        let state = self.tenants.get(tenant);
        let frozen = self.frozen_parts().filter(|part| part.tenant == *tenant);
        let open = state.and_then(|state| state.open.as_ref());
        let head = frozen.chain(open).map(|part| Arc::new(HeadView::new(part.watermarks()))).collect();
        let empty = TenantState::default;
        Snapshot {
            tenant: tenant.clone(),
            version: self.manifest.version,
            segments: state.map_or_else(|| empty().segments, |state| Arc::clone(&state.segments)),
            head,
            damaged: state.map_or_else(|| empty().damaged, |state| Arc::clone(&state.damaged)),
        }
    }

    fn stored(&self, entry: &Arc<SegmentEntry>) -> StoredSegment {
        let source = BucketSource::new(self.bucket.clone(), Arc::clone(entry), Arc::clone(&self.cache));
        let reader = SegmentReader::with_cache(Arc::new(source), Arc::clone(&self.dictionaries));
        StoredSegment { entry: Arc::clone(entry), reader: Arc::new(reader) }
    }

    /// Lists every tenant's segments anew, in the manifest's order.
    fn list_segments(&mut self) {
        let mut listed: BTreeMap<&Tenant, (Vec<Arc<StoredSegment>>, Vec<DamagedSegment>)> = BTreeMap::new();
        for entry in &self.manifest.segments {
            let (segments, damaged) = listed.entry(&entry.tenant).or_default();
            match (self.damaged.get(&entry.id), self.segments.get(&entry.id)) {
                (Some(reason), _) => {
                    damaged.push(DamagedSegment { entry: Arc::clone(entry), reason: reason.clone() });
                }
                (None, Some(stored)) => segments.push(Arc::clone(stored)),
                (None, None) => {}
            }
        }
        self.tenants.retain(|tenant, state| state.open.is_some() || listed.contains_key(tenant));
        for state in self.tenants.values_mut() {
            *state = TenantState { open: state.open.take(), ..TenantState::default() };
        }
        for (tenant, (segments, damaged)) in listed {
            let state = self.tenants.entry(tenant.clone()).or_default();
            (state.segments, state.damaged) = (segments.into(), damaged.into());
        }
    }
}
