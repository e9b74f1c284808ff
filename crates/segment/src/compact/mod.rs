//! Merges segments: from readers of many to the inputs of few, piece by piece.
//!
//! ```text
//! inputs ──▶ service by service, in order of names ──▶ series by series ──▶ profiles by time ──▶ piece ──▶ next piece
//!             one merged dictionary                     a batch of series    a chunk at a time    at most piece_bytes_max
//! ```
//!
//! Every input has its services, and in each the series, in this very order, so all are read from front to back (once per
//! profile type: series are sorted by type first).
//!
//! Holds always: every profile of the inputs that no [`DropRule`] fits is in exactly one piece, whole; two that are equal
//! both stay. A dictionary of a piece has no stack and no label set that no sample of the piece uses. A service is spread
//! over two pieces only where it does not fit into one.
//!
//! Bounded: a piece by [`MergeLimits::piece_bytes_max`], which one profile or one dictionary can pass; dictionaries that are merged at one
//! time by [`MergeLimits::dictionary_bytes_max`], which one dictionary, the merged one and a map of ids per input can pass;
//! of every input 40 bytes a series and 150 a service stay in memory, and the names of distinct series; footers as the cache of the readers has room.

mod piece;
mod rules;
mod series;
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use flamestore_model::{Error, Result, Selector, TimeRange};

use crate::schema::Table;
use crate::{DictionaryEntry, ScanReport, SegmentInput, SegmentReader};
use piece::Piece;
use rules::Rules;
use series::{InputSeries, SeriesNames};
use service::OpenService;

/// Profiles to leave out: those of the series `selector` fits that were taken within `range`.
#[derive(Clone, Debug)]
pub struct DropRule {
    /// Which series.
    pub selector: Selector,
    /// When their profiles were taken.
    pub range: TimeRange,
}

/// What bounds the memory of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeLimits {
    /// Decoded bytes at which a piece is given out.
    pub piece_bytes_max: usize,
    /// Decoded bytes of the dictionaries that are merged at one time.
    pub dictionary_bytes_max: usize,
}

impl Default for MergeLimits {
    fn default() -> Self {
        Self { piece_bytes_max: 192 << 20, dictionary_bytes_max: 32 << 20 }
    }
}

/// Why a merge did not go on, and which input is to blame if one is.
#[derive(Debug)]
pub struct MergeError {
    /// The number of the input that could not be read.
    pub input: Option<usize>,
    /// What was wrong with it.
    pub error: Error,
}

/// The result of a step of a merge.
pub type MergeResult<T> = std::result::Result<T, MergeError>;

impl MergeError {
    pub(super) fn of(input: usize) -> impl Fn(Error) -> Self {
        move |error| Self { input: Some(input), error }
    }
}

/// Merges segments, piece by piece.
#[derive(Debug)]
pub struct SegmentMerger {
    inputs: Vec<Input>,
    rules: Rules,
    limits: MergeLimits,
    /// By name, the last one first.
    services: Vec<ServiceParts>,
    open: Option<OpenService>,
    dropped: u64,
    report: ScanReport,
}

/// A segment that is merged.
#[derive(Debug)]
struct Input {
    reader: Arc<SegmentReader>,
    dictionaries: Arc<Vec<DictionaryEntry>>,
    /// Its series by dictionary.
    series: Vec<Vec<InputSeries>>,
    /// Bytes of an average decoded profile.
    profile_bytes: u64,
    /// Bytes of a decoded sample at most.
    sample_bytes_max: u64,
}

/// A service and where it is: the number of the input, and its dictionary there.
#[derive(Debug)]
struct ServiceParts {
    name: String,
    parts: Vec<(usize, usize)>,
}

impl SegmentMerger {
    /// A merge of the segments of `inputs`, without the profiles that `drop` fits.
    ///
    /// # Errors
    /// As all reads of a segment.
    pub async fn new(inputs: Vec<Arc<SegmentReader>>, drop: Vec<DropRule>, limits: MergeLimits) -> MergeResult<Self> {
        let mut opened = Vec::with_capacity(inputs.len());
        let mut names = SeriesNames::default();
        for (at, reader) in inputs.into_iter().enumerate() {
            opened.push(Input::open(reader, &mut names).await.map_err(MergeError::of(at))?);
        }
        let mut services: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, input) in opened.iter().enumerate() {
            for (id, entry) in input.dictionaries.iter().enumerate() {
                services.entry(&entry.service_name).or_default().push((at, id));
            }
        }
        let service = |(name, parts): (&str, _)| ServiceParts { name: name.to_owned(), parts };
        let services = services.into_iter().rev().map(service).collect();
        let rules = Rules::new(drop);
        Ok(Self { inputs: opened, rules, limits, services, open: None, dropped: 0, report: ScanReport::default() })
    }

    /// The next piece: what one segment is built from. `None` when there is nothing left.
    ///
    /// # Errors
    /// As all reads of a segment.
    pub async fn next(&mut self) -> MergeResult<Option<SegmentInput>> {
        let mut piece = Piece::new(self.limits.piece_bytes_max);
        while !piece.is_full() {
            let mut service = match self.open.take() {
                Some(service) => service,
                None => match self.next_service(&piece).await? {
                    Some(service) => service,
                    None => break,
                },
            };
            let more = service.fill(&self.inputs, &mut piece, &mut self.report).await?;
            self.dropped += std::mem::take(&mut service.dropped);
            self.open = more.then_some(service);
        }
        Ok(piece.finish())
    }

    /// How many rows of `profiles` were left out so far.
    pub fn dropped_profiles(&self) -> u64 {
        self.dropped
    }

    /// What was read so far.
    pub fn report(&self) -> ScanReport {
        self.report
    }

    /// Opens the next service that has a profile to keep; `None` when there is none, or when it should go to the piece
    /// after `piece`.
    async fn next_service(&mut self, piece: &Piece) -> MergeResult<Option<OpenService>> {
        while let Some(parts) = self.services.last() {
            if !piece.is_empty() && !piece.has_room(self.service_bytes(parts)) {
                return Ok(None);
            }
            let Some(parts) = self.services.pop() else { break };
            let limits = &self.limits;
            let opened = OpenService::open(&self.inputs, parts, &self.rules, limits, &mut self.report).await?;
            match opened {
                Ok(service) => return Ok(Some(service)),
                Err(dropped) => self.dropped += dropped,
            }
        }
        Ok(None)
    }

    /// About how many bytes the service takes when decoded, if all of it is kept.
    fn service_bytes(&self, service: &ServiceParts) -> u64 {
        let bytes = |(input, dictionary): &(usize, usize)| {
            let input = &self.inputs[*input];
            let profiles: u64 = input.series[*dictionary].iter().map(|series| u64::from(series.profiles)).sum();
            profiles * input.profile_bytes
        };
        let dictionary =
            |(input, dictionary): &(usize, usize)| self.inputs[*input].dictionaries[*dictionary].decoded_bytes();
        // the merged dictionary is at least as large as the largest
        service.parts.iter().map(bytes).sum::<u64>() + service.parts.iter().map(dictionary).max().unwrap_or(0)
    }
}

impl Input {
    async fn open(reader: Arc<SegmentReader>, names: &mut SeriesNames) -> Result<Self> {
        let dictionaries = reader.dictionaries().await?;
        let series = names.by_dictionary(&*reader.series().await?, dictionaries.len());
        let (samples, profiles) = (reader.rows(Table::Samples).await?, reader.rows(Table::Profiles).await?);
        let (observed_max, observed) = reader.observed_bytes().await?;
        let sample_bytes = samples.saturating_mul(piece::SAMPLE_BYTES).saturating_add(observed);
        let profile_bytes = piece::PROFILE_BYTES + sample_bytes / profiles.max(1);
        let sample_bytes_max = piece::SAMPLE_BYTES + observed_max;
        Ok(Self { reader, dictionaries, series, profile_bytes, sample_bytes_max })
    }
}

impl DictionaryEntry {
    /// About how many bytes the dictionary takes when decoded.
    pub(crate) fn decoded_bytes(&self) -> u64 {
        let rows = |span: crate::Span, bytes: u64| u64::from(span.count) * bytes;
        rows(self.strings, 40)
            + rows(self.mappings, 48)
            + rows(self.functions, 20)
            + rows(self.locations, 17)
            + rows(self.location_rows, 20)
            + rows(self.label_set_rows, 24)
            + rows(self.call_sites, 8)
            + rows(self.stacks, 4)
    }
}
