//! One stored profile as a pprof file, with all its sample types: equal to what was pushed under pprof's own merge rules.

use std::collections::{BTreeMap, HashMap};

use flamestore_calltree::{Dictionary, LabelBytes, Observation, SealedDictionary};
use flamestore_formats::{ProfileBuilder, encode_pprof, gzip};
use flamestore_model::{Error, Label, LabelValue, Mapping, NONE, ProfileId, ProfileType, Result};
use flamestore_segment::{ProfileDetail, ProfileSamples, ScanReport, SegmentReader};

use super::{ExportOptions, PROFILES_AT_ONCE};

/// One sample type of a profile.
pub(super) struct Column {
    ty: ProfileType,
    detail: ProfileDetail,
    samples: ProfileSamples,
}

/// Takes a profile as a file: its id, how many samples it has, its bytes.
pub(super) type TakeFile<'a> = dyn FnMut(ProfileId, usize, &[u8]) -> Result<()> + Send + 'a;

/// Gives every selected profile to `each` as a file.
pub(super) async fn segment(reader: &SegmentReader, options: &ExportOptions, each: &mut TakeFile<'_>) -> Result<u64> {
    let mut scan = ScanReport::default();
    let (series, mut profiles) = (reader.series().await?, 0);
    for selection in super::select(reader, options, &mut scan).await? {
        let sealed = reader.load_dictionary(selection.entry.dictionary_id, &mut scan).await?;
        let mut sources: BTreeMap<ProfileId, Vec<ProfileDetail>> = BTreeMap::new();
        for detail in reader.profile_details(&selection.profiles, &mut scan).await? {
            sources.entry(detail.meta.id).or_default().push(detail);
        }
        let sources: Vec<Vec<ProfileDetail>> = sources.into_values().collect();
        for part in sources.chunks(PROFILES_AT_ONCE) {
            let rows: Vec<_> = part.iter().flatten().map(|detail| detail.row).collect();
            let mut samples = reader.samples(&selection.entry, &rows, &mut scan).await?.into_iter();
            for source in part {
                let mut columns = Vec::with_capacity(source.len());
                for (detail, samples) in source.iter().zip(&mut samples) {
                    let of = series.get(detail.row.series_id).ok_or_else(|| wrong("series", detail.row.series_id))?;
                    columns.push(Column { ty: of.profile_type.clone(), detail: detail.clone(), samples });
                }
                columns.sort_by_key(|column| column.detail.meta.value_index);
                let Some(first) = columns.first() else { continue };
                let (rows, bytes) = encode(&sealed, &columns)?;
                each(first.detail.meta.id, rows, &bytes)?;
                profiles += columns.len() as u64;
            }
        }
    }
    Ok(profiles)
}

/// The samples of a profile as a compressed file, and how many there are.
fn encode(sealed: &SealedDictionary, columns: &[Column]) -> Result<(usize, Vec<u8>)> {
    let mut symbols = Symbols::new(&sealed.dictionary);
    header(&mut symbols, columns)?;
    let rows = rows(columns);
    for ((stack, label_set, observation, _), values) in &rows {
        let path = path(sealed, *stack)?;
        let path = path.into_iter().map(|location| symbols.location(location)).collect::<Result<Vec<_>>>()?;
        let labels = symbols.labels(*label_set, observation)?;
        symbols.builder.add_row(&path, values, &labels);
    }
    Ok((rows.len(), gzip(&encode_pprof(&symbols.builder.finish()?))?))
}

/// Stack, label set, what else the labels say, and the number of the repetition.
type RowKey = (u32, u32, Observation, u32);

/// Values of all columns by what tells rows apart: what was one sample is one again.
fn rows(columns: &[Column]) -> BTreeMap<RowKey, Vec<i64>> {
    let mut rows: BTreeMap<RowKey, Vec<i64>> = BTreeMap::new();
    for (at, Column { samples, .. }) in columns.iter().enumerate() {
        let mut repeats: HashMap<(u32, u32, Observation), u32> = HashMap::new();
        for (row, (stack, value)) in samples.stacks.iter().zip(&samples.values).enumerate() {
            let label_set = samples.label_sets.get(row).copied().unwrap_or(NONE);
            let observation = samples.observed.get(row);
            let repeat = repeats.entry((*stack, label_set, observation)).or_default();
            let key = (*stack, label_set, observation, *repeat);
            let values = rows.entry(key).or_insert_with(|| vec![0; columns.len()]);
            values[at] = *value;
            *repeat += 1;
        }
    }
    rows
}

fn header(symbols: &mut Symbols<'_>, columns: &[Column]) -> Result<()> {
    let Some(Column { ty, detail, .. }) = columns.first() else { return Ok(()) };
    let meta = &detail.meta;
    if meta.main_mapping != NONE {
        // the first mapping of a file stands for the main binary
        symbols.mapping(meta.main_mapping)?;
    }
    let builder = &mut symbols.builder;
    for column in columns {
        builder.sample_type(&column.ty.sample_type, &column.ty.sample_unit);
    }
    builder.period(&ty.period_type, &ty.period_unit, meta.period).time(meta.time_unix_nano, meta.duration_nano);
    let comments = meta.comments.iter().map(|comment| builder.string(comment)).collect();
    let default_sample_type = builder.string(&meta.default_sample_type);
    let doc_url = builder.string(&meta.doc_url);
    let (drop_frames, keep_frames) = (builder.string(&meta.drop_frames), builder.string(&meta.keep_frames));
    let out = builder.header_mut();
    (out.comments, out.default_sample_type, out.doc_url) = (comments, default_sample_type, doc_url);
    (out.drop_frames, out.keep_frames) = (drop_frames, keep_frames);
    Ok(())
}

/// The locations of a stack, leaf first.
fn path(sealed: &SealedDictionary, stack: u32) -> Result<Vec<u32>> {
    let mut node = *sealed.leaves.get(stack as usize).ok_or_else(|| wrong("stack", stack))?;
    let mut path = Vec::new();
    while node != 0 {
        path.push(sealed.tree.location[node as usize]);
        node = sealed.tree.parent[node as usize];
    }
    Ok(path)
}

fn wrong(what: &str, id: u32) -> Error {
    Error::corrupt(format!("a {what} is not in its segment")).with("id", id)
}

/// Symbols on their way from a dictionary into a file.
struct Symbols<'a> {
    dictionary: &'a Dictionary,
    builder: ProfileBuilder,
    locations: HashMap<u32, u32>,
}

impl<'a> Symbols<'a> {
    fn new(dictionary: &'a Dictionary) -> Self {
        Self { dictionary, builder: ProfileBuilder::new(), locations: HashMap::new() }
    }

    fn string(&mut self, id: u32) -> u32 {
        self.builder.string(self.dictionary.strings.get(id))
    }

    /// A mapping of the file, and where it starts.
    fn mapping(&mut self, mapping: u32) -> Result<(u32, u64)> {
        let found = *self.dictionary.mappings.get(mapping as usize).ok_or_else(|| wrong("mapping", mapping))?;
        let (filename, build_id) = (self.string(found.filename), self.string(found.build_id));
        Ok((self.builder.mapping(Mapping { filename, build_id, ..found }), found.memory_start))
    }

    fn location(&mut self, location: u32) -> Result<u32> {
        if let Some(known) = self.locations.get(&location) {
            return Ok(*known);
        }
        let at = location as usize;
        let dictionary = self.dictionary;
        let mapping = *dictionary.locations.mapping.get(at).ok_or_else(|| wrong("location", location))?;
        let (mapping, start) = if mapping == NONE { (NONE, 0) } else { self.mapping(mapping)? };
        let mut lines = Vec::new();
        for mut line in dictionary.locations.lines(location) {
            if line.function != NONE {
                let mut function = dictionary.functions.get(line.function);
                function.name = self.string(function.name);
                function.system_name = self.string(function.system_name);
                function.filename = self.string(function.filename);
                line.function = self.builder.function(function);
            }
            lines.push(line);
        }
        let address = dictionary.locations.address[at].wrapping_add(start);
        let id = self.builder.location(mapping, address, dictionary.locations.is_folded[at], &lines);
        self.locations.insert(location, id);
        Ok(id)
    }

    fn labels(&mut self, set: u32, observation: &Observation) -> Result<Vec<Label>> {
        if set != NONE && set as usize >= self.dictionary.label_sets.len() {
            return Err(wrong("label set", set));
        }
        let Self { dictionary, builder, .. } = self;
        let mut labels = Vec::new();
        dictionary.row_labels(set, observation, |key, value| {
            let key = builder.string(key);
            let value = match value {
                LabelBytes::Str(text) => LabelValue::Str(builder.string(text)),
                LabelBytes::Num(number, unit) => LabelValue::Num(number, builder.string(unit)),
            };
            labels.push(Label { key, value });
        });
        Ok(labels)
    }
}
