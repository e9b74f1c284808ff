//! A fleet of profiled services: realistic series of profiles, the same for the same seed.
//!
//! ```text
//! eight templates (stacks of real profiles, or synthetic ones of the same shape)
//!    │ service i uses template i mod 8; 30 % of the function names become its own
//!    ▼
//! universe of a service: ~6000 stacks, Zipf–Mandelbrot popularity, a fifth of them active for part of the run only
//!    │ every 15 s: weight n (log-normal mean, auto-regressive), count of a stack ~ Poisson(its share of n)
//!    ▼
//! Scrape {time, stacks, counts} ──▶ ProfileBatch ──▶ gzip pprof, laid out as the Go runtime does
//! ```
//!
//! Services are independent of each other and of how many there are: service 7 of 8 and service 7 of 200 are equal. Nothing
//! but the service at hand is kept in memory. Services 0 and 7 mod 8 (JVM, Ruby) have no addresses; the others have.

mod pack;
mod service;
mod stats;
mod synthetic;
mod template;

use std::path::Path;
use std::sync::Arc;

use template::Template;

pub use pack::{pack_pprof, write_pprof};
pub use service::{FleetRun, FleetService, Scrape};
pub use stats::FleetStats;

/// How many templates there are; services use them in turn.
const TEMPLATES: usize = 8;

/// What the profiles of a fleet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetMode {
    /// CPU profiles with a universe of about 6000 stacks a service.
    Cpu,
    /// CPU profiles with a heavy tail: about 20 000 stacks a service.
    Tail,
    /// Heap snapshots: about 1500 stacks a service, most of them in every profile.
    Heap,
}

/// How large a fleet is and what it runs.
#[derive(Clone, Copy, Debug)]
pub struct FleetOptions {
    /// Services.
    pub services: usize,
    /// Profiles of each service, 15 s apart.
    pub scrapes: usize,
    /// What its profiles are.
    pub mode: FleetMode,
    /// Where its randomness starts.
    pub seed: u64,
}

/// A fleet that can make the profiles of any of its services.
#[derive(Debug)]
pub struct Fleet {
    options: FleetOptions,
    templates: Vec<Arc<Template>>,
    real: bool,
}

impl FleetOptions {
    /// The seed of published figures.
    pub const SEED: u64 = 20_260_927;

    /// CPU profiles of so many services and scrapes.
    pub fn cpu(services: usize, scrapes: usize) -> Self {
        Self { services, scrapes, mode: FleetMode::Cpu, seed: Self::SEED }
    }
}

impl Fleet {
    /// A fleet whose stacks are those of the corpus that the environment variable `FLAMESTORE_CORPUS` names, else synthetic.
    pub fn new(options: FleetOptions) -> Self {
        let corpus = std::env::var_os("FLAMESTORE_CORPUS");
        corpus
            .and_then(|folder| Self::from_corpus(options, Path::new(&folder)))
            .unwrap_or_else(|| Self::synthetic(options))
    }

    /// A fleet whose stacks are synthetic.
    pub fn synthetic(options: FleetOptions) -> Self {
        let used = options.services.min(TEMPLATES);
        let templates = (0..used).map(|number| Arc::new(synthetic::template(number, options.seed))).collect();
        Self { options, templates, real: false }
    }

    /// A fleet whose stacks are those of real profiles; `None` when one of them cannot be read.
    pub fn from_corpus(options: FleetOptions, folder: &Path) -> Option<Self> {
        let used = options.services.min(TEMPLATES);
        let templates = (0..used).map(|number| Template::from_corpus(folder, number).map(Arc::new));
        Some(Self { options, templates: templates.collect::<Option<_>>()?, real: true })
    }

    /// Whether its stacks are those of real profiles.
    pub fn is_real(&self) -> bool {
        self.real
    }

    /// How large it is and what it runs.
    pub fn options(&self) -> &FleetOptions {
        &self.options
    }

    /// How many stacks each template has.
    pub fn template_stacks(&self) -> Vec<usize> {
        self.templates.iter().map(|template| template.stacks.len()).collect()
    }

    /// Service `index`.
    ///
    /// # Panics
    /// When the fleet has no such service.
    pub fn service(&self, index: usize) -> FleetService {
        assert!(index < self.options.services, "service {index} of {}", self.options.services);
        FleetService::new(&self.options, index, Arc::clone(&self.templates[index % TEMPLATES]))
    }

    /// Its services, one made at a time.
    pub fn services(&self) -> impl Iterator<Item = FleetService> + '_ {
        (0..self.options.services).map(|index| self.service(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(mode: FleetMode) -> Fleet {
        Fleet::synthetic(FleetOptions { services: 2, scrapes: 12, mode, seed: FleetOptions::SEED })
    }

    #[test]
    fn a_service_is_the_same_in_fleets_of_any_size() {
        let two = small(FleetMode::Cpu);
        let nine = Fleet::synthetic(FleetOptions { services: 9, ..*two.options() });
        let (a, b) = (two.service(1), nine.service(1));
        let (a, b): (Vec<Scrape>, Vec<Scrape>) = (a.run().collect(), b.run().collect());
        assert_eq!(a, b);
        assert_eq!(a.len(), 12);
    }

    #[test]
    fn profiles_hold_what_their_scrape_says() {
        for mode in [FleetMode::Cpu, FleetMode::Heap] {
            let fleet = small(mode);
            for service in fleet.services() {
                let mut run = service.run();
                let scrape = run.next().unwrap();
                let batch = service.batch(&scrape);
                batch.check().unwrap();
                assert_eq!(batch.samples.len(), scrape.stacks.len());
                assert_eq!(batch.samples.values.iter().sum::<i64>(), scrape.values.iter().sum::<i64>());
                let has_addresses = batch.symbols.locations.iter().any(|location| location.address != 0);
                assert_eq!(has_addresses, service.has_addresses());
            }
        }
    }

    #[test]
    fn a_packed_profile_is_read_back() {
        let fleet = small(FleetMode::Cpu);
        let service = fleet.service(1);
        let batch = service.batch(&service.run().next().unwrap());
        let limits = flamestore_formats::Limits::default();
        let read = flamestore_formats::decode_pprof(pack_pprof(&batch).into(), &limits).unwrap();
        assert_eq!(crate::folded(&read, 0), crate::folded(&batch, 0));
        assert_eq!(read.header.time_unix_nano, batch.header.time_unix_nano);
        assert_eq!(read.symbols.mappings.len(), 1);
    }

    #[test]
    fn the_second_half_reuses_most_stacks_of_the_first() {
        let stats = FleetStats::of(&Fleet::synthetic(FleetOptions::cpu(2, 40)));
        assert!(stats.reuse_second_half > 0.7, "{stats:?}");
        assert!(stats.rows / stats.profiles > 50, "{stats:?}");
    }
}
