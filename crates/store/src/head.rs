//! The head: what was pushed and is not in a segment yet, of one tenant, from one freeze to the next.
//!
//! ```text
//! HeadPart ─ gate ─┬─ ServiceHead ─┬─ interner   write-locked while a push interns, read-locked while a query seals
//!                  │               └─ rows       locked for as long as it takes to append or to count
//!                  └─ ServiceHead …
//! ```
//!
//! A push belongs to one service and appends all its sample types under one lock, so a query sees all of them or none.
//! A push is inside of the gate from before its record is written to the log; closing the gate waits for the pushes inside,
//! and later ones are turned away. After that the part never changes. Profiles only ever join, so a count of pushes names a past state ([`Watermark`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use flamestore_calltree::{Interned, Interner, Observed};
use flamestore_model::{Error, Labels, ProfileId, ProfileType, Result, Tenant};
use flamestore_segment::ProfileMeta;
use parking_lot::{Mutex, RwLock};

use crate::gate::{Gate, Pass};
use crate::ids::ID_BYTES;
use crate::push::Checked;

/// A guess of what an empty service takes.
const SERVICE_BYTES: usize = 1024;

/// The values of one profile in one sample type.
#[derive(Debug)]
pub(crate) struct HeadProfile {
    push: u64,
    pub(crate) meta: ProfileMeta,
    /// Interner ids; shared with the other sample types of the profile where they are the same.
    pub(crate) stacks: Arc<[u32]>,
    pub(crate) values: Vec<i64>,
    pub(crate) label_sets: Arc<[u32]>,
    /// Shared like the ids; nothing where no row says anything.
    pub(crate) observed: Option<Arc<Observed>>,
}

#[derive(Debug)]
pub(crate) struct HeadSeries {
    pub(crate) labels: Arc<Labels>,
    pub(crate) profile_type: Arc<ProfileType>,
    /// In the order of their pushes.
    profiles: Vec<Arc<HeadProfile>>,
}

#[derive(Debug, Default)]
struct Rows {
    series: Vec<HeadSeries>,
    index: HashMap<(Arc<Labels>, Arc<ProfileType>), usize>,
    pushes: u64,
}

/// One service of a head.
#[derive(Debug)]
pub(crate) struct ServiceHead {
    pub(crate) name: String,
    pub(crate) interner: RwLock<Interner>,
    rows: RwLock<Rows>,
}

/// How many pushes of a service are seen.
pub(crate) type Watermark = u64;

/// A series and its profiles up to a watermark, by time.
pub(crate) struct SeriesAt {
    pub(crate) labels: Arc<Labels>,
    pub(crate) profile_type: Arc<ProfileType>,
    pub(crate) profiles: Vec<Arc<HeadProfile>>,
}

/// One tenant's head from one freeze to the next.
#[derive(Debug)]
pub(crate) struct HeadPart {
    pub(crate) tenant: Tenant,
    pub(crate) opened_unix_nano: i64,
    seed: u64,
    /// The flush that will publish it.
    pub(crate) generation: u64,
    gate: Gate,
    services: RwLock<BTreeMap<String, Arc<ServiceHead>>>,
    ids: Mutex<Vec<ProfileId>>,
    bytes: AtomicUsize,
    series: AtomicUsize,
    profiles: AtomicU64,
}

/// What a push added to a head.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    bytes: usize,
    series: usize,
}

impl std::ops::AddAssign for Growth {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.series += other.series;
    }
}

impl HeadPart {
    pub(crate) fn new(tenant: Tenant, opened_unix_nano: i64, seed: u64, generation: u64) -> Self {
        Self {
            tenant,
            opened_unix_nano,
            seed,
            generation,
            gate: Gate::default(),
            services: RwLock::default(),
            ids: Mutex::default(),
            bytes: AtomicUsize::new(0),
            series: AtomicUsize::new(0),
            profiles: AtomicU64::new(0),
        }
    }

    /// Lets a push in, unless the part is closed; it is to be held until the push is appended or given up.
    pub(crate) fn enter(&self) -> Option<Pass> {
        self.gate.enter()
    }

    /// Appends all sample types of `push`, or none; returns the bytes that the head grew by.
    pub(crate) fn append(&self, push: &Checked, _inside: &Pass) -> Result<usize> {
        let (service, bytes) = self.service(&push.service);
        let mut grown = Growth { bytes, series: 0 };
        grown += service.append(push)?;
        if push.is_remembered {
            self.ids.lock().push(push.id);
            grown.bytes += ID_BYTES;
        }
        self.bytes.fetch_add(grown.bytes, Ordering::Relaxed);
        self.series.fetch_add(grown.series, Ordering::Relaxed);
        self.profiles.fetch_add(1, Ordering::Relaxed);
        Ok(grown.bytes)
    }

    /// Refuses a push that would bring more than `series_max` series. Pushes at the same time may pass it by their own.
    ///
    /// # Errors
    /// `Exhausted`; `flush_interval` tells when the head will have room again.
    pub(crate) fn check_series(
        &self,
        push: &Checked,
        series_max: usize,
        flush_interval: Duration,
        now: i64,
    ) -> Result<()> {
        let (held, pushed) = (self.series.load(Ordering::Relaxed), push.profile_types.len());
        if held + pushed <= series_max {
            return Ok(());
        }
        let service = self.services.read().get(&push.service).cloned();
        let known = service.map_or(0, |service| service.rows.read().known(push));
        if held + pushed - known <= series_max {
            return Ok(());
        }
        let age = Duration::from_nanos(u64::try_from(now.saturating_sub(self.opened_unix_nano)).unwrap_or_default());
        let refused = Error::exhausted("store: the tenant has as many series in memory as series_max allows");
        Err(refused
            .with("tenant", &self.tenant)
            .with("series_max", series_max)
            .retry_after(flush_interval.saturating_sub(age).max(Duration::from_secs(1))))
    }

    /// Waits for the pushes inside and turns later ones away.
    pub(crate) async fn close(&self) {
        self.gate.close().await;
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Source profiles held.
    pub(crate) fn profiles(&self) -> u64 {
        self.profiles.load(Ordering::Relaxed)
    }

    /// The ids that producers gave.
    pub(crate) fn ids(&self) -> Vec<ProfileId> {
        self.ids.lock().clone()
    }

    /// The services, by name, each with what it holds now.
    pub(crate) fn watermarks(&self) -> Vec<(Arc<ServiceHead>, Watermark)> {
        let services = self.services.read();
        services.values().map(|service| (Arc::clone(service), service.rows.read().pushes)).collect()
    }

    fn service(&self, name: &str) -> (Arc<ServiceHead>, usize) {
        if let Some(service) = self.services.read().get(name) {
            return (Arc::clone(service), 0);
        }
        let mut services = self.services.write();
        if let Some(service) = services.get(name) {
            return (Arc::clone(service), 0);
        }
        let interner = Interner::new(self.seed);
        let bytes = SERVICE_BYTES + name.len() + interner.memory_bytes();
        let service =
            Arc::new(ServiceHead { name: name.to_owned(), interner: RwLock::new(interner), rows: RwLock::default() });
        services.insert(name.to_owned(), Arc::clone(&service));
        (service, bytes)
    }
}

impl ServiceHead {
    fn append(&self, push: &Checked) -> Result<Growth> {
        let (interned, grown) = {
            let mut interner = self.interner.write();
            let before = interner.memory_bytes();
            let interned = interner.intern(&push.batch)?;
            (interned, interner.memory_bytes().saturating_sub(before))
        };
        let profiles = head_profiles(push, interned)?;
        let rows: usize = profiles.iter().map(|profile| profile.memory_bytes()).sum();
        let mut growth = self.rows.write().append(push, profiles);
        growth.bytes += grown + rows;
        Ok(growth)
    }

    /// The series that have profiles among the first `watermark` pushes.
    pub(crate) fn series_at(&self, watermark: Watermark) -> Vec<SeriesAt> {
        let rows = self.rows.read();
        let mut series: Vec<SeriesAt> = rows.series.iter().filter_map(|series| series.at(watermark)).collect();
        drop(rows);
        for one in &mut series {
            one.profiles.sort_by_key(|profile| profile.meta.time_unix_nano);
        }
        series
    }
}

impl HeadSeries {
    fn at(&self, watermark: Watermark) -> Option<SeriesAt> {
        let count = self.profiles.partition_point(|profile| profile.push < watermark);
        (count > 0).then(|| SeriesAt {
            labels: Arc::clone(&self.labels),
            profile_type: Arc::clone(&self.profile_type),
            profiles: self.profiles[..count].to_vec(),
        })
    }
}

impl Rows {
    /// How many of the series of `push` there are.
    fn known(&self, push: &Checked) -> usize {
        let labels = Arc::new(push.labels.clone());
        let is_known =
            |ty: &&ProfileType| self.index.contains_key(&(Arc::clone(&labels), Arc::new(ProfileType::clone(ty))));
        push.profile_types.iter().filter(is_known).count()
    }

    fn append(&mut self, push: &Checked, profiles: Vec<HeadProfile>) -> Growth {
        let before = self.series.len();
        let mut bytes = 0;
        let labels = Arc::new(push.labels.clone());
        for (profile_type, mut profile) in push.profile_types.iter().zip(profiles) {
            profile.push = self.pushes;
            let (at, grown) = self.series(&labels, profile_type);
            self.series[at].profiles.push(Arc::new(profile));
            bytes += grown;
        }
        self.pushes += 1;
        Growth { bytes, series: self.series.len() - before }
    }

    fn series(&mut self, labels: &Arc<Labels>, profile_type: &ProfileType) -> (usize, usize) {
        let key = (Arc::clone(labels), Arc::new(profile_type.clone()));
        if let Some(at) = self.index.get(&key) {
            return (*at, 0);
        }
        let text: usize = labels.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        let at = self.series.len();
        self.series.push(HeadSeries {
            labels: Arc::clone(&key.0),
            profile_type: Arc::clone(&key.1),
            profiles: Vec::new(),
        });
        self.index.insert(key, at);
        (at, 256 + text + profile_type.to_string().len())
    }
}

impl HeadProfile {
    fn memory_bytes(&self) -> usize {
        let ProfileMeta { comments, default_sample_type, doc_url, drop_frames, keep_frames, .. } = &self.meta;
        let text = comments.iter().chain([default_sample_type, doc_url, drop_frames, keep_frames]);
        let text: usize = text.map(|bytes| bytes.len() + 24).sum();
        let shared = |column: &Arc<[u32]>| column.len() * size_of::<u32>() / Arc::strong_count(column);
        let observed = self
            .observed
            .as_ref()
            .map_or(0, |observed| (size_of::<Observed>() + observed.memory_bytes()) / Arc::strong_count(observed));
        size_of::<Self>()
            + text
            + self.values.len() * size_of::<i64>()
            + shared(&self.stacks)
            + shared(&self.label_sets)
            + observed
    }
}

fn head_profiles(push: &Checked, interned: Interned) -> Result<Vec<HeadProfile>> {
    let mut profiles: Vec<HeadProfile> = Vec::with_capacity(push.profile_types.len());
    for value_index in 0..push.profile_types.len() {
        let rows = push.rows(value_index, &interned);
        let meta = push.meta(value_index, interned.main_mapping)?;
        let last = profiles.last();
        let share = |column: Vec<u32>, of: fn(&HeadProfile) -> &Arc<[u32]>| match last.map(of) {
            Some(same) if **same == *column => Arc::clone(same),
            _ => Arc::from(column),
        };
        let stacks = share(rows.stacks, |profile| &profile.stacks);
        let label_sets = share(rows.label_sets, |profile| &profile.label_sets);
        let observed = match last.and_then(|profile| profile.observed.as_ref()) {
            Some(same) if **same == rows.observed => Some(Arc::clone(same)),
            _ => (!rows.observed.is_empty()).then(|| Arc::new(rows.observed)),
        };
        profiles.push(HeadProfile { push: 0, meta, stacks, values: rows.values, label_sets, observed });
    }
    Ok(profiles)
}
