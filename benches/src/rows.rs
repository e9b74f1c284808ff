//! The data: a fleet of the size the environment asks for, and the rows its services make.

use flamestore_calltree::{Interner, SealSelection, SealedDictionary};
use flamestore_model::{NONE, Result};
use flamestore_testkit::{Fleet, FleetOptions, FleetService, Scrape};

/// The fleet of CPU profiles that the environment asks for.
pub fn fleet() -> Fleet {
    Fleet::new(FleetOptions::cpu(size("FLAMESTORE_BENCH_SERVICES", 8), size("FLAMESTORE_BENCH_SCRAPES", 16)))
}

/// The fleet of CPU profiles of so many services and scrapes.
pub fn fleet_of(services: usize, scrapes: usize) -> Fleet {
    Fleet::new(FleetOptions::cpu(services, scrapes))
}

/// How often each way of a benchmark runs.
pub fn rounds() -> usize {
    size("FLAMESTORE_BENCH_ROUNDS", 5)
}

/// The number in the environment variable `variable`, or `default`.
pub fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// All profiles of a service, as rows of a sealed dictionary.
#[derive(Debug)]
pub struct ServiceRows {
    /// The stacks that were seen, and no others.
    pub sealed: SealedDictionary,
    /// The profiles in order of time; stacks are ids of `sealed`.
    pub scrapes: Vec<Scrape>,
}

impl ServiceRows {
    /// The rows of `service`. Profiles are not encoded as pprof on the way: the universe is interned once and the scrapes
    /// become rows.
    ///
    /// # Errors
    /// Those of interning.
    pub fn new(service: &FleetService) -> Result<Self> {
        let mut interner = Interner::new(1);
        let ids = interner.intern(&service.universe())?.stacks;
        let mut positions = vec![NONE; interner.stacks()];
        let mut selected = Vec::new();
        let mut position = |stack: &mut u32| {
            let id = ids[*stack as usize];
            if positions[id as usize] == NONE {
                positions[id as usize] = u32::try_from(selected.len()).unwrap_or(NONE);
                selected.push(id);
            }
            *stack = positions[id as usize];
        };
        let mut scrapes: Vec<Scrape> = service.run().collect();
        scrapes.iter_mut().flat_map(|scrape| &mut scrape.stacks).for_each(&mut position);
        let select = SealSelection { stacks: Some(&selected), ..SealSelection::default() };
        Ok(Self { sealed: interner.seal(&select).sealed, scrapes })
    }
}
