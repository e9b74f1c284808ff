//! One service: its universe of stacks, its scrapes, and the profiles they make.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use flamestore_model::{
    Function, Labels, Line, Location, Mapping, NONE, ProfileBatch, ProfileHeader, ProfileType, Samples, Strings,
    Symbols, ValueType,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, LogNormal, Poisson, StandardNormal};
use xxhash_rust::xxh3::xxh3_64;

use super::template::{DEPTH_MAX, Template};
use super::{FleetMode, FleetOptions, TEMPLATES};

/// When fleets start: 2026-09-27 10:00 UTC.
const START_UNIX_NANO: i64 = 1_790_503_200_000_000_000;
/// Nanoseconds between two profiles of a service.
const SCRAPE_NANO: i64 = 15_000_000_000;
/// Nanoseconds between two CPU samples.
const PERIOD_NANO: i64 = 10_000_000;
/// The address of location 0 of service 0.
const TEXT_START: u64 = 0x40_0000;
/// Bytes of code per location.
const LOCATION_BYTES: u64 = 0x2f;

/// A service of a fleet.
#[derive(Debug)]
pub struct FleetService {
    options: FleetOptions,
    index: usize,
    template: Arc<Template>,
    private_names: Vec<bool>,
    stack_offsets: Vec<u32>,
    stack_locations: Vec<u32>,
    weights: Vec<f64>,
    /// The scrapes a stack is active in.
    windows: Vec<(u32, u32)>,
    weight_mean: f64,
    phase_nano: i64,
    rng: StdRng,
}

/// What one scrape of a service found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrape {
    /// Its time in nanoseconds since 1970.
    pub time_unix_nano: i64,
    /// The stacks seen, each once, by their row in the service's universe.
    pub stacks: Vec<u32>,
    /// Their values: nanoseconds of CPU, or bytes in use.
    pub values: Vec<i64>,
}

/// The scrapes of a service, in order of time.
#[derive(Debug)]
pub struct FleetRun<'a> {
    service: &'a FleetService,
    rng: StdRng,
    next: u32,
    drift: f64,
    /// Heap mode: objects in use and bytes of one, per stack.
    objects: Vec<(f64, i64)>,
    /// What the counts of the latest scrape were drawn from: (expected weight, sum of active weights).
    expected: f64,
}

impl FleetService {
    pub(super) fn new(options: &FleetOptions, index: usize, template: Arc<Template>) -> Self {
        let mut rng =
            StdRng::seed_from_u64(options.seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(index as u64 + 1)));
        let (median, exponent, shift) = match options.mode {
            FleetMode::Cpu => (6000.0_f64, 1.25, 8.0),
            FleetMode::Tail => (20_000.0, 0.95, 3.0),
            FleetMode::Heap => (1500.0, 0.6, 1.0),
        };
        let size = log_normal(&mut rng, median.ln(), 0.5).clamp(800.0, 40_000.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
        let stacks = universe(&mut rng, &template, size as usize);
        let weights = (0..stacks.len()).map(|rank| (rank as f64 + 1.0 + shift).powf(-exponent)).collect();
        let windows = stacks.iter().map(|_| window(&mut rng, options.scrapes)).collect();
        let weight_mean = log_normal(&mut rng, 750.0_f64.ln(), 0.6).clamp(60.0, 6000.0);
        let phase_nano = rng.random_range(0..SCRAPE_NANO);
        let private_names = template.names.iter().map(|name| xxh3_64(name) % 100 < 30).collect();
        let mut stack_offsets = vec![0];
        let mut stack_locations = Vec::new();
        for stack in &stacks {
            stack_locations.extend_from_slice(stack);
            stack_offsets.push(small(stack_locations.len()));
        }
        let options = *options;
        Self {
            options,
            index,
            template,
            private_names,
            stack_offsets,
            stack_locations,
            weights,
            windows,
            weight_mean,
            phase_nano,
            rng,
        }
    }

    /// Its name: `svc007`.
    pub fn name(&self) -> String {
        format!("svc{:03}", self.index)
    }

    /// The labels of its series.
    pub fn labels(&self) -> Labels {
        let pod = format!("{}-0", self.name());
        let zone = ["eu-1a", "eu-1b", "us-1a"][self.index % 3];
        [("service_name", self.name().as_str()), ("pod", &pod), ("zone", zone)]
            .iter()
            .fold(Labels::default(), |labels, (name, value)| labels.with(name, value))
    }

    /// What its profiles measure.
    pub fn profile_type(&self) -> ProfileType {
        let parts = match self.options.mode {
            FleetMode::Cpu | FleetMode::Tail => ["process_cpu", "cpu", "nanoseconds", "cpu", "nanoseconds"],
            FleetMode::Heap => ["memory", "inuse_space", "bytes", "space", "bytes"],
        };
        let [name, sample_type, sample_unit, period_type, period_unit] = parts.map(str::to_owned);
        ProfileType { name, sample_type, sample_unit, period_type, period_unit }
    }

    /// Whether its locations have addresses.
    pub fn has_addresses(&self) -> bool {
        !matches!(self.index % TEMPLATES, 0 | 7)
    }

    /// How many stacks it may show.
    pub fn stacks(&self) -> usize {
        self.stack_offsets.len() - 1
    }

    /// Its scrapes; the same ones each time.
    pub fn run(&self) -> FleetRun<'_> {
        let mut rng = self.rng.clone();
        let objects = match self.options.mode {
            FleetMode::Cpu | FleetMode::Tail => Vec::new(),
            FleetMode::Heap => self.first_objects(&mut rng),
        };
        FleetRun { service: self, rng, next: 0, drift: 0.0, objects, expected: 0.0 }
    }

    /// Every stack of the universe once, with value 1, in order: interning it gives the ids of all stacks at once.
    pub fn universe(&self) -> ProfileBatch {
        let stacks: Vec<u32> = (0..small(self.stacks())).collect();
        let values = vec![1; stacks.len()];
        self.batch(&Scrape { time_unix_nano: START_UNIX_NANO, stacks, values })
    }

    /// The profile of `scrape`: only the symbols it uses, ids in order of first use, as the Go runtime writes them.
    pub fn batch(&self, scrape: &Scrape) -> ProfileBatch {
        let mut tables = Tables::new(self);
        let mut samples = Samples { stack_offsets: vec![0], values: scrape.values.clone(), ..Samples::default() };
        for stack in &scrape.stacks {
            for location in self.stack(*stack) {
                samples.stack_locations.push(tables.location(*location));
            }
            samples.stack_offsets.push(small(samples.stack_locations.len()));
        }
        tables.finish(scrape.time_unix_nano, samples)
    }

    /// The bits that no lossless code can go below, on average: the entropy of every count of a scrape.
    pub(super) fn entropy_bits(&self, scrape: u32, expected: f64) -> f64 {
        let active = |stack: usize| self.is_active(stack, scrape);
        let sum: f64 = (0..self.stacks()).filter(|stack| active(*stack)).map(|stack| self.weights[stack]).sum();
        let rates = (0..self.stacks()).filter(|stack| active(*stack)).map(|stack| expected * self.weights[stack] / sum);
        rates.map(poisson_entropy_bits).sum()
    }

    /// How many locations stack `row` of the universe has.
    pub(super) fn depth(&self, row: u32) -> usize {
        self.stack(row).len()
    }

    fn stack(&self, row: u32) -> &[u32] {
        let row = row as usize;
        &self.stack_locations[self.stack_offsets[row] as usize..self.stack_offsets[row + 1] as usize]
    }

    fn is_active(&self, stack: usize, scrape: u32) -> bool {
        let (start, end) = self.windows[stack];
        start <= scrape && scrape < end
    }

    #[expect(clippy::cast_possible_truncation, reason = "sizes are far below 2^63")]
    fn first_objects(&self, rng: &mut StdRng) -> Vec<(f64, i64)> {
        let sum: f64 = self.weights.iter().sum();
        let scale = 20.0 * self.weights.len() as f64 / sum;
        let first = self.weights.iter().map(|weight| {
            let objects = poisson(rng, weight * scale) as f64;
            (objects, (log_normal(rng, 6.0, 1.5) as i64).max(8))
        });
        first.collect()
    }
}

impl FleetRun<'_> {
    /// The expected weight (samples) of the latest scrape.
    pub(super) fn expected(&self) -> f64 {
        self.expected
    }

    fn counts(&mut self, scrape: u32) -> (Vec<u32>, Vec<i64>) {
        let service = self.service;
        let noise: f64 = self.rng.sample(StandardNormal);
        self.drift = 0.9 * self.drift + 0.15 * noise;
        self.expected = service.weight_mean * (self.drift - 0.25).exp();
        let active: f64 =
            (0..service.stacks()).filter(|s| service.is_active(*s, scrape)).map(|s| service.weights[s]).sum();
        let scale = self.expected / active;
        let (mut stacks, mut values) = (Vec::new(), Vec::new());
        for stack in (0..service.stacks()).filter(|stack| service.is_active(*stack, scrape)) {
            let count = poisson(&mut self.rng, service.weights[stack] * scale);
            if count > 0 {
                stacks.push(small(stack));
                values.push(count * PERIOD_NANO);
            }
        }
        (stacks, values)
    }

    #[expect(clippy::cast_possible_truncation, reason = "object counts are far below 2^63")]
    fn heap(&mut self, scrape: u32) -> (Vec<u32>, Vec<i64>) {
        let (mut stacks, mut values) = (Vec::new(), Vec::new());
        for (stack, (objects, bytes)) in self.objects.iter_mut().enumerate() {
            if self.rng.random_bool(0.15) {
                let step: f64 = self.rng.sample(StandardNormal);
                *objects = (*objects + step * objects.sqrt()).round().max(0.0);
            }
            if *objects >= 1.0 && self.service.is_active(stack, scrape) {
                stacks.push(small(stack));
                values.push(*objects as i64 * *bytes);
            }
        }
        (stacks, values)
    }
}

impl Iterator for FleetRun<'_> {
    type Item = Scrape;

    fn next(&mut self) -> Option<Scrape> {
        let scrape = self.next;
        if scrape as usize >= self.service.options.scrapes {
            return None;
        }
        self.next += 1;
        let jitter: f64 = self.rng.sample(StandardNormal);
        #[expect(clippy::cast_possible_truncation, reason = "some milliseconds")]
        let jitter_nano = (jitter * 4e6) as i64;
        let time_unix_nano = START_UNIX_NANO + self.service.phase_nano + SCRAPE_NANO * i64::from(scrape) + jitter_nano;
        let (stacks, values) = match self.service.options.mode {
            FleetMode::Cpu | FleetMode::Tail => self.counts(scrape),
            FleetMode::Heap => self.heap(scrape),
        };
        Some(Scrape { time_unix_nano, stacks, values })
    }
}

/// The tables of a profile while its stacks are walked; ids in order of first use.
struct Tables<'a> {
    service: &'a FleetService,
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
    locations: Vec<Location>,
    lines: Vec<Line>,
    functions: Vec<Function>,
    location_ids: Vec<u32>,
    function_ids: Vec<u32>,
    name_ids: Vec<u32>,
    file_ids: Vec<u32>,
    header: ProfileHeader,
    mapping: Option<Mapping>,
}

impl<'a> Tables<'a> {
    fn new(service: &'a FleetService) -> Self {
        let template = &service.template;
        let mut tables = Self {
            service,
            bytes: Vec::new(),
            spans: vec![(0, 0)],
            locations: Vec::new(),
            lines: Vec::new(),
            functions: Vec::new(),
            location_ids: vec![NONE; template.locations.len()],
            function_ids: vec![NONE; template.functions.len()],
            name_ids: vec![NONE; template.names.len()],
            file_ids: vec![NONE; template.files.len()],
            header: ProfileHeader::default(),
            mapping: None,
        };
        let ty = service.profile_type();
        let types = [&ty.sample_type, &ty.sample_unit, &ty.period_type, &ty.period_unit];
        let ids = types.map(|text| tables.string(&[text.as_bytes()]));
        tables.header.sample_types = vec![ValueType { ty: ids[0], unit: ids[1] }];
        tables.header.period_type = ValueType { ty: ids[2], unit: ids[3] };
        (tables.header.period, tables.header.duration_nano) = match service.options.mode {
            FleetMode::Cpu | FleetMode::Tail => (PERIOD_NANO, SCRAPE_NANO),
            FleetMode::Heap => (524_288, 0),
        };
        if service.has_addresses() {
            let name = service.name();
            let memory_start = TEXT_START + ((service.index as u64) << 36);
            let text_bytes = LOCATION_BYTES * template.locations.len() as u64;
            tables.mapping = Some(Mapping {
                memory_start,
                memory_limit: memory_start + text_bytes.next_multiple_of(4096),
                filename: tables.string(&[b"/usr/bin/", name.as_bytes()]),
                build_id: tables.string(&[b"build-", name.as_bytes()]),
                has_functions: true,
                ..Mapping::default()
            });
        }
        tables
    }

    fn string(&mut self, parts: &[&[u8]]) -> u32 {
        let start = self.bytes.len();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        let id = small(self.spans.len());
        self.spans.push((small(start), small(self.bytes.len() - start)));
        id
    }

    fn location(&mut self, row: u32) -> u32 {
        let known = self.location_ids[row as usize];
        if known != NONE {
            return known;
        }
        let template = Arc::clone(&self.service.template);
        let lines_start = small(self.lines.len());
        for (function, line) in &template.locations[row as usize] {
            let function = self.function(&template, *function);
            self.lines.push(Line { function, line: *line, column: 0 });
        }
        let id = small(self.locations.len());
        let start = self.mapping.map(|mapping| mapping.memory_start);
        self.locations.push(Location {
            mapping: if start.is_some() { 0 } else { NONE },
            address: start.map_or(0, |start| start + LOCATION_BYTES * u64::from(row)),
            is_folded: false,
            lines_start,
            lines_end: small(self.lines.len()),
        });
        self.location_ids[row as usize] = id;
        id
    }

    fn function(&mut self, template: &Template, row: u32) -> u32 {
        if self.function_ids[row as usize] == NONE {
            let function = &template.functions[row as usize];
            let name = self.name(template, function.name);
            if self.file_ids[function.file as usize] == NONE {
                self.file_ids[function.file as usize] = self.string(&[&template.files[function.file as usize]]);
            }
            self.function_ids[row as usize] = small(self.functions.len());
            let filename = self.file_ids[function.file as usize];
            self.functions.push(Function { name, system_name: name, filename, start_line: function.start_line });
        }
        self.function_ids[row as usize]
    }

    fn name(&mut self, template: &Template, row: u32) -> u32 {
        if self.name_ids[row as usize] == NONE {
            let name = &template.names[row as usize];
            let prefix =
                if self.service.private_names[row as usize] { self.service.name() + "." } else { String::new() };
            self.name_ids[row as usize] = self.string(&[prefix.as_bytes(), name]);
        }
        self.name_ids[row as usize]
    }

    fn finish(self, time_unix_nano: i64, samples: Samples) -> ProfileBatch {
        #[expect(clippy::expect_used, reason = "every span was cut from these bytes")]
        let strings = Strings::from_spans(Bytes::from(self.bytes), self.spans).expect("spans lie inside");
        let symbols = Symbols {
            strings,
            mappings: self.mapping.into_iter().collect(),
            functions: self.functions,
            lines: self.lines,
            locations: self.locations,
        };
        ProfileBatch { header: ProfileHeader { time_unix_nano, ..self.header }, symbols, samples }
    }
}

/// `size` distinct stacks in random order: those of the template, and when these do not suffice, recombined ones.
fn universe(rng: &mut StdRng, template: &Template, size: usize) -> Vec<Vec<u32>> {
    let mut order: Vec<usize> = (0..template.stacks.len()).collect();
    order.shuffle(rng);
    let mut stacks: Vec<Vec<u32>> = order.iter().take(size).map(|row| template.stacks[*row].clone()).collect();
    let mut seen: HashSet<u64> = stacks.iter().map(|stack| key(stack)).collect();
    let mut attempts = 50 * size;
    while stacks.len() < size && attempts > 0 {
        attempts -= 1;
        let stack = recombine(rng, template);
        if stack.len() <= DEPTH_MAX && seen.insert(key(&stack)) {
            stacks.push(stack);
        }
    }
    stacks.shuffle(rng);
    stacks
}

/// The leaf side of one stack joined to the root side of another at a location both have.
fn recombine(rng: &mut StdRng, template: &Template) -> Vec<u32> {
    let leaf_side = &template.stacks[rng.random_range(0..template.stacks.len())];
    let cut = rng.random_range(0..leaf_side.len());
    let places = &template.places()[leaf_side[cut] as usize];
    let (row, position) = places[rng.random_range(0..places.len())];
    let root_side = &template.stacks[row as usize][position as usize + 1..];
    [&leaf_side[..=cut], root_side].concat()
}

fn key(stack: &[u32]) -> u64 {
    let bytes: Vec<u8> = stack.iter().flat_map(|location| location.to_le_bytes()).collect();
    xxh3_64(&bytes)
}

/// The scrapes a stack is active in: all of them, or for one stack of five a stretch of 10 to 60 %.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the number of scrapes")]
fn window(rng: &mut StdRng, scrapes: usize) -> (u32, u32) {
    let scrapes = scrapes as f64;
    if !rng.random_bool(0.2) {
        return (0, scrapes as u32);
    }
    let length = scrapes * rng.random_range(0.1..0.6);
    let start = rng.random_range(0.0..scrapes - length);
    (start as u32, (start + length).ceil() as u32)
}

fn log_normal(rng: &mut StdRng, mean: f64, deviation: f64) -> f64 {
    LogNormal::new(mean, deviation).map_or(mean.exp(), |distribution| distribution.sample(rng))
}

/// A Poisson variate; small rates by inversion, which for most stacks ends at the first comparison.
#[expect(clippy::cast_possible_truncation, reason = "counts are small")]
fn poisson(rng: &mut StdRng, rate: f64) -> i64 {
    if rate >= 12.0 {
        return Poisson::new(rate).map_or(0, |distribution| distribution.sample(rng) as i64);
    }
    let at: f64 = rng.random();
    if at < 1.0 - rate {
        return 0;
    }
    let mut term = (-rate).exp();
    let (mut sum, mut count) = (term, 0);
    while at > sum && count < 100 {
        count += 1;
        term *= rate / count as f64;
        sum += term;
    }
    count
}

fn poisson_entropy_bits(rate: f64) -> f64 {
    if rate > 30.0 {
        return 0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E * rate).log2();
    }
    let mut log_p = -rate;
    let mut bits = 0.0;
    for count in 0..200 {
        if count > 0 {
            log_p += rate.ln() - f64::from(count).ln();
        }
        let p = log_p.exp();
        bits -= p * log_p / std::f64::consts::LN_2;
        if f64::from(count) > rate && p < 1e-12 {
            break;
        }
    }
    bits
}

/// A row number of a profile's table.
#[expect(clippy::cast_possible_truncation, reason = "a profile has fewer than 2^32 of anything")]
fn small(rows: usize) -> u32 {
    debug_assert!(u32::try_from(rows).is_ok());
    rows as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_variates_have_their_mean() {
        let mut rng = StdRng::seed_from_u64(1);
        for rate in [0.01, 0.5, 3.0, 20.0] {
            let sum: i64 = (0..20_000).map(|_| poisson(&mut rng, rate)).sum();
            let mean = sum as f64 / 20_000.0;
            assert!((mean - rate).abs() < 0.05 * rate.max(0.1), "{rate}: {mean}");
        }
    }

    #[test]
    fn the_entropy_of_a_count_grows_with_its_rate() {
        assert!(poisson_entropy_bits(1e-9) < 1e-6);
        let (below, above) = (poisson_entropy_bits(29.9), poisson_entropy_bits(30.1));
        assert!(below > 4.0 && (above - below).abs() < 0.05, "{below} {above}");
    }
}
