//! What a fleet turned out to be: the figures that make it comparable with real fleets.

use super::{Fleet, FleetService};

/// Every so many scrapes the entropy is computed.
const ENTROPY_EVERY: u32 = 16;

/// Counts over all profiles of a fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetStats {
    /// Profiles.
    pub profiles: u64,
    /// Samples of all profiles.
    pub rows: u64,
    /// Distinct stacks, counted per service.
    pub distinct_stacks: u64,
    /// The share of rows whose stack the service had shown before.
    pub reuse: f64,
    /// The same among the second half of the profiles.
    pub reuse_second_half: f64,
    /// The share of rows with the smallest value, one period.
    pub single: f64,
    /// Bytes per row that no lossless code of stacks and counts can go below, estimated from every 16th scrape.
    pub entropy_bytes_per_row: f64,
    /// Locations per stack, over rows.
    pub depth: f64,
}

#[derive(Default)]
struct Sums {
    rows_second: u64,
    new: u64,
    new_second: u64,
    single: u64,
    locations: u64,
    entropy_bits: f64,
    entropy_rows: u64,
}

impl FleetStats {
    /// Runs all services of `fleet` and counts.
    pub fn of(fleet: &Fleet) -> Self {
        let (mut stats, mut sums) = (Self::default(), Sums::default());
        for service in fleet.services() {
            stats.add(&service, fleet.options().scrapes, &mut sums);
        }
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        stats.distinct_stacks = sums.new;
        stats.reuse = 1.0 - share(sums.new, stats.rows);
        stats.reuse_second_half = 1.0 - share(sums.new_second, sums.rows_second);
        stats.single = share(sums.single, stats.rows);
        stats.depth = share(sums.locations, stats.rows);
        stats.entropy_bytes_per_row = sums.entropy_bits / 8.0 / sums.entropy_rows.max(1) as f64;
        stats
    }

    fn add(&mut self, service: &FleetService, scrapes: usize, sums: &mut Sums) {
        let mut seen = vec![false; service.stacks()];
        let mut run = service.run();
        let mut number = 0;
        while let Some(scrape) = run.next() {
            let second = number as usize >= scrapes / 2;
            let rows = scrape.stacks.len() as u64;
            self.profiles += 1;
            self.rows += rows;
            sums.rows_second += if second { rows } else { 0 };
            let smallest = scrape.values.iter().min().copied().unwrap_or_default();
            sums.single += scrape.values.iter().filter(|value| **value == smallest).count() as u64;
            for stack in &scrape.stacks {
                sums.locations += service.depth(*stack) as u64;
                if !std::mem::replace(&mut seen[*stack as usize], true) {
                    sums.new += 1;
                    sums.new_second += u64::from(second);
                }
            }
            if number % ENTROPY_EVERY == 0 {
                sums.entropy_bits += service.entropy_bits(number, run.expected());
                sums.entropy_rows += rows;
            }
            number += 1;
        }
    }
}
