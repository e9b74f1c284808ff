//! What do roll-ups save, and what do they cost: a day's merge of a service with and without, and months and a year against
//! a day?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flamestore_benches::{FleetSegment, Goal, Report, Turns, fleet_of, rounds, size};
use flamestore_calltree::{FoldOptions, Interner, Observed, SealSelection, ValueTree, fold, merge};
use flamestore_model::{NONE, ProfileId, Selector, TimeRange};
use flamestore_segment::{
    DaysOf, DictionaryCache, DictionaryInput, DictionarySelection, MemorySource, ProfileInput, ProfileMeta, ReadFrom,
    Resolution, RollUps, ScanReport, SealedSegment, SegmentInput, SegmentOptions, SegmentReader, SeriesInput,
    StackSums, Table, TableSource, build_tables, roll_up_days, seal,
};
use flamestore_testkit::{Fleet, FleetService, Scrape};
use futures::executor::block_on;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::file::metadata::ParquetMetaData;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const DAY: i64 = 86_400_000_000_000;
/// 2026-01-01.
const YEAR_START: i64 = 20_454 * DAY;
const MONTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

fn main() -> Outcome<()> {
    day()?;
    year()
}

fn options(rollups: RollUps) -> SegmentOptions {
    SegmentOptions { rollups, ..SegmentOptions::default() }
}

/// A day at 15 s.
fn day() -> Outcome<()> {
    let fleet = fleet_of(size("FLAMESTORE_BENCH_SERVICES", 8), size("FLAMESTORE_BENCH_DAY_SCRAPES", 5760));
    let report = Report::new("What does a day of one service cost with roll-ups, against its samples?");
    // The fleet starts at 10:00, so 5760 profiles lie on two days: 40 hours and two days of windows in all.
    let segment = FleetSegment::build(&fleet, &options(RollUps::HoursAndDays))?;
    let sealed = &segment.sealed;
    let bytes = |table: Table| sealed.table(table).map_or(0.0, |table| table.bytes.len() as f64);
    let rows = |table: Table| sealed.table(table).map_or(0, |table| table.rows);
    let (hours, days) = (rows(Table::Rollups1h), rows(Table::Rollups1d));
    report.note(format!(
        "{} profiles of {} services, {} samples, {hours} rows of hours, {days} of days, real stacks: {}",
        segment.profiles,
        fleet.options().services,
        segment.rows,
        fleet.is_real()
    ));
    let all = sealed.bytes() as f64;
    let rolled: f64 = Table::ROLLUPS.into_iter().map(bytes).sum();
    report.figure("rows of hours", bytes(Table::Rollups1h) / hours as f64, "B/row");
    report.figure("rows of days", bytes(Table::Rollups1d) / days as f64, "B/row");
    report.figure("windows", bytes(Table::Windows), "B");
    report.goal("roll-ups of all bytes", 100.0 * rolled / all, "%", Goal::AtMost(8.0));
    report.figure("everything", all / segment.rows as f64, "B/sample");
    let source = Arc::new(MemorySource::from_sealed(sealed));
    let selector: Selector =
        format!("{{service_name={:?}}}", fleet.service(fleet.options().services / 2).name()).parse()?;
    let warm = SegmentReader::new(Arc::clone(&source) as Arc<dyn TableSource>);
    let mut turns = Turns::default();
    for _ in 0..rounds().max(5) {
        let rolled = turns.run(0, || one(&warm, &selector, ReadFrom::Widest))?;
        let summed = turns.run(1, || one(&warm, &selector, ReadFrom::Samples))?;
        let cold = |from| one(&SegmentReader::new(Arc::clone(&source) as Arc<dyn TableSource>), &selector, from);
        turns.run(2, || cold(ReadFrom::Widest))?;
        turns.run(3, || cold(ReadFrom::Samples))?;
        equal(&rolled, &summed)?;
    }
    let millis = |way: usize| turns.median(way) * 1e3;
    report.figure("one service: from roll-ups, symbols kept", millis(0), "ms");
    report.figure("one service: from samples, symbols kept", millis(1), "ms");
    report.goal("times as fast from roll-ups", millis(1) / millis(0), "×", Goal::AtLeast(20.0));
    report.figure("one service: from roll-ups, nothing kept", millis(2), "ms");
    report.figure("one service: from samples, nothing kept", millis(3), "ms");
    report.figure("times as fast from roll-ups", millis(3) / millis(2), "×");
    requests(&report, "a day from roll-ups", &[sealed], &selector, ReadFrom::Widest)?;
    requests(&report, "a day from samples", &[sealed], &selector, ReadFrom::Samples)
}

/// A year of days, the months that stand for them, and the year that stands for the months.
fn year() -> Outcome<()> {
    let services = size("FLAMESTORE_BENCH_YEAR_SERVICES", 4);
    let per_day = size("FLAMESTORE_BENCH_YEAR_SCRAPES", 24);
    let months = size("FLAMESTORE_BENCH_YEAR_MONTHS", 12).clamp(1, 12);
    let days: i64 = MONTHS[..months].iter().sum();
    let fleet = fleet_of(services, per_day * usize::try_from(days)?);
    let report = Report::new("What do a month and a year of one service cost, against a day?");
    report.note(format!(
        "{services} services, {per_day} profiles of each a day, {days} days, real stacks: {}; samples of all days kept",
        fleet.is_real()
    ));
    let days = days_of(&fleet, per_day)?;
    let mut sums = Vec::new();
    let mut first = 0;
    for month in &MONTHS[..months] {
        let end = first + usize::try_from(*month)?;
        sums.push(roll_up(&days[first..end], RollUps::DaysAndMonths)?);
        first = end;
    }
    let bytes = |segments: &[SealedSegment]| segments.iter().map(|segment| segment.bytes() as f64).sum::<f64>();
    let rolled = |segment: &SealedSegment| {
        let of = Table::ROLLUPS.into_iter().filter_map(|table| segment.table(table));
        of.map(|table| table.bytes.len() as f64).sum::<f64>()
    };
    report.figure("segments of days", bytes(&days) / 1e6, "MB");
    report.figure("of these roll-ups", days.iter().map(rolled).sum::<f64>() / 1e6, "MB");
    report.figure("segments of months", bytes(&sums) / 1e6, "MB");
    let year = [roll_up(&sums, RollUps::Months)?];
    report.figure("segment of the year", bytes(&year) / 1e6, "MB");
    let selector: Selector = format!("{{service_name={:?}}}", fleet.service(services / 2).name()).parse()?;
    // April has 30 days.
    let april = 3.min(months - 1);
    let start: usize = MONTHS[..april].iter().map(|days| usize::try_from(*days).unwrap_or(0)).sum();
    let the_month = &days[start..start + usize::try_from(MONTHS[april])?];
    equal(
        &total(&readers(&sums[april..=april]), &selector, ReadFrom::Widest)?,
        &total(&readers(the_month), &selector, ReadFrom::Samples)?,
    )?;
    let all = total(&readers(&days), &selector, ReadFrom::Samples)?;
    equal(&total(&readers(&sums), &selector, ReadFrom::Widest)?, &all)?;
    equal(&total(&readers(&year), &selector, ReadFrom::Widest)?, &all)?;
    let rolled_up = RolledUp { year: &year, months: &sums };
    let (any_year, any_month) = (Ragged::starts(days.len(), days.len() - 45)?, Ragged::starts(days.len(), 30)?);
    for ragged in any_year.iter().chain(&any_month).step_by(7) {
        equal(
            &ragged.total(&rolled_up.readers(), &selector)?,
            &total(&readers(&days[ragged.days.clone()]), &selector, ReadFrom::Samples)?,
        )?;
    }
    report.note("the month, the year and ranges of any start are equal to the sums of all their samples");
    let ways: [&[SealedSegment]; 5] = [&days[start..=start], &sums[april..=april], &year, &sums, the_month];
    let warm: Vec<Vec<SegmentReader>> = ways.iter().map(|segments| readers(segments)).collect();
    let warm_rolled_up = rolled_up.readers();
    let mut turns = Turns::default();
    for _ in 0..rounds().max(5) {
        for (way, segments) in ways.iter().enumerate() {
            turns.run(2 * way, || total(&warm[way], &selector, ReadFrom::Widest))?;
            turns.run(2 * way + 1, || total(&readers(segments), &selector, ReadFrom::Widest))?;
        }
        for (way, ragged) in (0..).zip(any_year.iter().chain(&any_month)) {
            turns.run(10 + 3 * way, || ragged.total(&warm_rolled_up, &selector))?;
            turns.run(11 + 3 * way, || ragged.total(&rolled_up.readers(), &selector))?;
            turns.run(12 + 3 * way, || ragged.tree_by_tree(&warm_rolled_up, &selector))?;
        }
    }
    let worst = |ways: std::ops::Range<usize>, kept: usize| {
        let medians = ways.map(|way| turns.median(10 + 3 * way + kept) * 1e3);
        medians.fold(0.0, f64::max)
    };
    let (years, all) = (any_year.len(), any_year.len() + any_month.len());
    let millis = |way: usize| turns.median(way) * 1e3;
    for (kept, what) in [(0, "symbols kept"), (1, "nothing kept")] {
        report.figure(&format!("a day, {what}"), millis(kept), "ms");
        report.figure(&format!("30 days, {what}"), millis(2 + kept), "ms");
        report.figure(&format!("a year, {what}"), millis(4 + kept), "ms");
        report.figure(&format!("a year, month by month, {what}"), millis(6 + kept), "ms");
        report.figure(&format!("30 days, day by day, {what}"), millis(8 + kept), "ms");
        let (any_year, any_month) = (worst(0..years, kept), worst(years..all, kept));
        report.figure(&format!("{} days from the worst start, {what}", days.len() - 45), any_year, "ms");
        report.figure(&format!("30 days from the worst start, {what}"), any_month, "ms");
        report.goal("30 days of a day", millis(2 + kept) / millis(kept), "×", Goal::AtMost(3.0));
        report.goal("a year of a day", millis(4 + kept) / millis(kept), "×", Goal::AtMost(10.0));
        report.goal("30 days from the worst start, of a day", any_month / millis(kept), "×", Goal::AtMost(3.0));
        report.goal("a year from the worst start, of a day", any_year / millis(kept), "×", Goal::AtMost(10.0));
    }
    for (what, ways) in [("a year", 0..years), ("30 days", years..all)] {
        let ratio = worst(ways, 2) / millis(0);
        report.figure(&format!("{what} from the worst start, tree by tree, of a day, symbols kept"), ratio, "×");
    }
    for (what, segments) in [("a day", ways[0]), ("30 days", ways[1]), ("a year", ways[2])] {
        let segments: Vec<&SealedSegment> = segments.iter().collect();
        requests(&report, what, &segments, &selector, ReadFrom::Widest)?;
    }
    Ok(())
}

/// A year and its months.
struct RolledUp<'a> {
    year: &'a [SealedSegment; 1],
    months: &'a [SealedSegment],
}

/// Readers of them that share a cache.
struct RolledUpReaders {
    year: Vec<SegmentReader>,
    months: Vec<SegmentReader>,
}

impl RolledUp<'_> {
    fn readers(&self) -> RolledUpReaders {
        let cache = Arc::new(DictionaryCache::new(1 << 30));
        RolledUpReaders { year: readers_with(&cache, self.year), months: readers_with(&cache, self.months) }
    }
}

/// A range of whole days: the year answers the windows of 30 days inside, if they are three or more, and the months answer
/// the days that are left.
struct Ragged {
    /// Counted from the first day of the year.
    days: std::ops::Range<usize>,
    of_year: BTreeSet<i64>,
    /// By month.
    of_months: BTreeMap<usize, BTreeSet<i64>>,
}

impl Ragged {
    /// Ranges of `length` of the `days` of the year, from its middle on or earlier, one for each start within 30 days.
    fn starts(days: usize, length: usize) -> Outcome<Vec<Self>> {
        let first = (days - length - 30).min(days / 2);
        (first..first + 30).map(|start| Self::new(start..start + length)).collect()
    }

    fn new(range: std::ops::Range<usize>) -> Outcome<Self> {
        let start = |day: usize| -> Outcome<i64> { Ok(YEAR_START + i64::try_from(day)? * DAY) };
        let wanted = range.clone().map(start).collect::<Outcome<BTreeSet<i64>>>()?;
        let is_whole = |day: &i64| {
            let first = Resolution::Month.start_of(*day);
            (0..Resolution::Month.nanos() / DAY).all(|day| wanted.contains(&(first + day * DAY)))
        };
        let mut of_year: BTreeSet<i64> = wanted.iter().copied().filter(is_whole).collect();
        if of_year.len() < 3 * 30 {
            of_year.clear();
        }
        let mut of_months: BTreeMap<usize, BTreeSet<i64>> = BTreeMap::new();
        let mut first = YEAR_START;
        for (month, days) in MONTHS.iter().enumerate() {
            let own = wanted.range(first..first + days * DAY).filter(|day| !of_year.contains(day));
            let own: BTreeSet<i64> = own.copied().collect();
            if !own.is_empty() {
                of_months.insert(month, own);
            }
            first += days * DAY;
        }
        Ok(Self { days: range, of_year, of_months })
    }

    /// Added up by stack of the union of the dictionaries, which is made once.
    fn total(&self, readers: &RolledUpReaders, selector: &Selector) -> Outcome<ValueTree> {
        Ok(StackSums::merge(self.parts(readers, selector)?))
    }

    /// Merged call tree by call tree.
    fn tree_by_tree(&self, readers: &RolledUpReaders, selector: &Selector) -> Outcome<ValueTree> {
        let trees = self.parts(readers, selector)?.into_iter().map(|part| (part.into_tree(), 0));
        Ok(merge(trees.collect(), 1))
    }

    fn parts(&self, readers: &RolledUpReaders, selector: &Selector) -> Outcome<Vec<StackSums>> {
        let mut parts = Vec::new();
        let of_months = self.of_months.iter().map(|(month, days)| (&readers.months[*month], days));
        for (reader, days) in of_months.chain((!self.of_year.is_empty()).then_some((&readers.year[0], &self.of_year))) {
            parts.extend(of_days(reader, days, selector)?);
        }
        Ok(parts)
    }
}

/// What `days` of the one service of `selector` come to.
fn of_days(reader: &SegmentReader, days: &BTreeSet<i64>, selector: &Selector) -> Outcome<Option<StackSums>> {
    let series = block_on(reader.select_series(selector))?;
    let windows = block_on(reader.cover_days(&series, days, ReadFrom::Widest))?.windows;
    let (rows, entries) = (block_on(reader.series())?, block_on(reader.dictionaries())?);
    let Some(row) = series.min().and_then(|id| rows.get(id)) else { return Ok(None) };
    let entry = entries[row.dictionary_id as usize].clone();
    let selection = DictionarySelection { entry, profiles: Vec::new(), windows };
    Ok(Some(block_on(reader.sum_stacks(&selection, &mut ScanReport::default()))?))
}

/// The segments of the days of a fleet with `per_day` profiles a day, whose times are spread over the year.
fn days_of(fleet: &Fleet, per_day: usize) -> Outcome<Vec<SealedSegment>> {
    let mut days: Vec<Vec<DictionaryInput>> = Vec::new();
    for service in fleet.services() {
        let mut interner = Interner::new(1);
        let ids = interner.intern(&service.universe())?.stacks;
        let scrapes: Vec<Scrape> = service.run().collect();
        for (day, scrapes) in scrapes.chunks(per_day).enumerate() {
            if days.len() <= day {
                days.push(Vec::new());
            }
            days[day].push(day_of(&service, &interner, &ids, day, scrapes)?);
        }
    }
    let options = options(RollUps::HoursAndDays);
    let built = days
        .into_iter()
        .map(|dictionaries| Ok(seal(build_tables(SegmentInput { dictionaries }, &options)?, &options)?));
    built.collect()
}

fn day_of(
    service: &FleetService,
    interner: &Interner,
    ids: &[u32],
    day: usize,
    scrapes: &[Scrape],
) -> Outcome<DictionaryInput> {
    let mut places: BTreeMap<u32, u32> = BTreeMap::new();
    for stack in scrapes.iter().flat_map(|scrape| &scrape.stacks) {
        places.entry(ids[*stack as usize]).or_default();
    }
    let selected: Vec<u32> = places.keys().copied().collect();
    for (place, at) in places.values_mut().zip(0..) {
        *place = at;
    }
    let sealed = interner.seal(&SealSelection { stacks: Some(&selected), ..SealSelection::default() }).sealed;
    let step = DAY / i64::try_from(scrapes.len().max(1))?;
    let start = YEAR_START + i64::try_from(day)? * DAY;
    let mut profiles = Vec::with_capacity(scrapes.len());
    for (at, scrape) in (0..).zip(scrapes) {
        let time = start + at * step;
        let id = ProfileId::from_parts(u64::try_from(time / 1_000_000)?, u128::from(at.unsigned_abs()));
        let meta = ProfileMeta {
            period: 10_000_000,
            duration_nano: 15_000_000_000,
            main_mapping: if service.has_addresses() { 0 } else { NONE },
            ..ProfileMeta::new(id, time)
        };
        let stacks = scrape.stacks.iter().map(|stack| places[&ids[*stack as usize]]).collect();
        profiles.push(ProfileInput {
            meta,
            stacks,
            values: scrape.values.clone(),
            label_sets: Vec::new(),
            observed: Observed::default(),
        });
    }
    let series = SeriesInput { labels: service.labels(), profile_type: service.profile_type(), profiles };
    Ok(DictionaryInput { service_name: service.name(), sealed, series: vec![series] })
}

fn roll_up(segments: &[SealedSegment], rollups: RollUps) -> Outcome<SealedSegment> {
    let inputs: Vec<DaysOf> =
        readers(segments).into_iter().map(|reader| DaysOf { reader: Arc::new(reader), days: None }).collect();
    let options = options(rollups);
    Ok(seal(block_on(roll_up_days(&inputs, &options))?, &options)?)
}

fn readers(segments: &[SealedSegment]) -> Vec<SegmentReader> {
    readers_with(&Arc::new(DictionaryCache::new(1 << 30)), segments)
}

fn readers_with(cache: &Arc<DictionaryCache>, segments: &[SealedSegment]) -> Vec<SegmentReader> {
    let source = |segment: &SealedSegment| Arc::new(MemorySource::from_sealed(segment));
    segments.iter().map(|segment| SegmentReader::with_cache(source(segment), Arc::clone(cache))).collect()
}

fn one(reader: &SegmentReader, selector: &Selector, from: ReadFrom) -> Outcome<ValueTree> {
    total(std::slice::from_ref(reader), selector, from)
}

fn total(readers: &[SegmentReader], selector: &Selector, from: ReadFrom) -> Outcome<ValueTree> {
    let mut trees = Vec::new();
    let mut report = ScanReport::default();
    for reader in readers {
        for selection in block_on(reader.select_from(selector, &TimeRange::ALL, from, &mut report))? {
            trees.push((block_on(reader.merge_dictionary(&selection, &mut report))?, 0));
        }
    }
    Ok(merge(trees, 1))
}

fn equal(a: &ValueTree, b: &ValueTree) -> Outcome<()> {
    let folded = |tree| fold(tree, &FoldOptions { max_nodes: 0 }).folded();
    match folded(a) == folded(b) && a.totals(0)[0] != 0 {
        true => Ok(()),
        false => Err("sums differ".into()),
    }
}

/// Requests and bytes of a merge: the first one, and one more that finds footers, small tables and symbols kept.
fn requests(
    report: &Report,
    what: &str,
    segments: &[&SealedSegment],
    selector: &Selector,
    from: ReadFrom,
) -> Outcome<()> {
    let counts = Arc::new(Counts::default());
    let cache = Arc::new(DictionaryCache::new(1 << 30));
    let counted = |segment: &&SealedSegment| {
        let source = Counted {
            source: MemorySource::from_sealed(segment),
            counts: Arc::clone(&counts),
            footers: footers(segment),
        };
        SegmentReader::with_cache(Arc::new(source), Arc::clone(&cache))
    };
    let readers: Vec<SegmentReader> = segments.iter().map(counted).collect();
    for kept in ["nothing kept", "symbols kept"] {
        total(&readers, selector, from)?;
        let (requests, bytes) = counts.take();
        report.figure(&format!("{what}: requests, {kept}"), requests as f64, "");
        report.figure(&format!("{what}: bytes read, {kept}"), bytes as f64 / 1e3, "KB");
    }
    Ok(())
}

fn footers(segment: &SealedSegment) -> BTreeMap<Table, u64> {
    segment.tables.iter().map(|sealed| (sealed.table, sealed.footer_bytes)).collect()
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    fn add(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take(&self) -> (u64, u64) {
        (self.requests.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed))
    }
}

/// Counts what a bucket would be asked: a footer, or the ranges of one fetch, is one request.
struct Counted {
    source: MemorySource,
    counts: Arc<Counts>,
    footers: BTreeMap<Table, u64>,
}

struct CountedFile {
    file: Box<dyn AsyncFileReader>,
    counts: Arc<Counts>,
    footer: u64,
}

impl TableSource for Counted {
    fn reader<'a: 'b, 'b>(&'a self, table: Table) -> BoxFuture<'b, flamestore_model::Result<Box<dyn AsyncFileReader>>>
    where
        Self: 'b,
    {
        Box::pin(async move {
            let file = self.source.reader(table).await?;
            let footer = self.footers.get(&table).copied().unwrap_or_default();
            Ok(Box::new(CountedFile { file, counts: Arc::clone(&self.counts), footer }) as Box<dyn AsyncFileReader>)
        })
    }

    fn has(&self, table: Table) -> bool {
        self.source.has(table)
    }
}

impl AsyncFileReader for CountedFile {
    fn get_bytes(&mut self, range: std::ops::Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.counts.add(range.end - range.start);
        self.file.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<std::ops::Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        self.counts.add(ranges.iter().map(|range| range.end - range.start).sum());
        self.file.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        self.counts.add(self.footer);
        self.file.get_metadata(options)
    }
}
