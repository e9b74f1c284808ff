//! What a merged profile says of itself, and its last touches.

use flamestore_calltree::NONE;
use flamestore_formats::ProfileBuilder;
use flamestore_model::{ProfileBatch, ProfileId, Result};
use flamestore_segment::ProfileMeta;

/// The header of a merge, by pprof's rules: the earliest time, the sum of durations, the largest period, all comments once,
/// the first default type and page, and the earliest profile's main mapping, drop and keep frames.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    first: Option<First>,
    time_unix_nano: i64,
    duration_nano: i64,
    period: i64,
    /// With the time of the profile that said it first.
    comments: Vec<(i64, Vec<u8>)>,
    default_sample_type: Option<(i64, Vec<u8>)>,
    doc_url: Option<(i64, Vec<u8>)>,
}

#[derive(Clone, Debug)]
struct First {
    order: (i64, ProfileId),
    main_mapping: u32,
    drop_frames: Vec<u8>,
    keep_frames: Vec<u8>,
}

impl Header {
    /// Adds what a profile says of itself; its main mapping is `main_mapping` of the output.
    pub(super) fn add(&mut self, meta: &ProfileMeta, main_mapping: u32) {
        let time = meta.time_unix_nano;
        let order = (time, meta.id);
        if time != 0 && (self.time_unix_nano == 0 || time < self.time_unix_nano) {
            self.time_unix_nano = time;
        }
        self.duration_nano = self.duration_nano.saturating_add(meta.duration_nano);
        self.period = if self.first.is_none() { meta.period } else { self.period.max(meta.period) };
        if self.first.as_ref().is_none_or(|first| order < first.order) {
            let (drop_frames, keep_frames) = (meta.drop_frames.clone(), meta.keep_frames.clone());
            self.first = Some(First { order, main_mapping, drop_frames, keep_frames });
        }
        for comment in &meta.comments {
            match self.comments.iter_mut().find(|(_, known)| known == comment) {
                Some((first, _)) => *first = time.min(*first),
                None => self.comments.push((time, comment.clone())),
            }
        }
        said_first(&mut self.default_sample_type, time, &meta.default_sample_type);
        said_first(&mut self.doc_url, time, &meta.doc_url);
    }
}

fn said_first(kept: &mut Option<(i64, Vec<u8>)>, time: i64, said: &[u8]) {
    if !said.is_empty() && kept.as_ref().is_none_or(|(first, _)| time < *first) {
        *kept = Some((time, said.to_vec()));
    }
}

/// The profile of `builder` under `header`, its main mapping first.
///
/// # Errors
/// `Exhausted` when a table has too many rows.
pub(super) fn finish(mut builder: ProfileBuilder, header: &Header) -> Result<ProfileBatch> {
    let mut comments = header.comments.clone();
    comments.sort_by_key(|(time, _)| *time);
    let comments = comments.iter().map(|(_, comment)| builder.string(comment)).collect();
    let text = |said: &Option<(i64, Vec<u8>)>| said.as_ref().map(|(_, text)| text.clone()).unwrap_or_default();
    let default_sample_type = builder.string(text(&header.default_sample_type));
    let doc_url = builder.string(text(&header.doc_url));
    let first = header.first.as_ref();
    let drop_frames = builder.string(first.map(|first| first.drop_frames.as_slice()).unwrap_or_default());
    let keep_frames = builder.string(first.map(|first| first.keep_frames.as_slice()).unwrap_or_default());
    let out = builder.header_mut();
    out.period = header.period;
    out.time_unix_nano = header.time_unix_nano;
    out.duration_nano = header.duration_nano;
    (out.comments, out.default_sample_type, out.doc_url) = (comments, default_sample_type, doc_url);
    (out.drop_frames, out.keep_frames) = (drop_frames, keep_frames);
    let mut batch = builder.finish()?;
    main_mapping_first(&mut batch, first.map_or(NONE, |first| first.main_mapping));
    Ok(batch)
}

/// Moves mapping `main` to the front; the others keep their order.
fn main_mapping_first(batch: &mut ProfileBatch, main: u32) {
    if main == NONE || main == 0 {
        return;
    }
    batch.symbols.mappings[..=main as usize].rotate_right(1);
    for location in &mut batch.symbols.locations {
        location.mapping = match location.mapping {
            mapping if mapping == main => 0,
            mapping if mapping < main => mapping + 1,
            mapping => mapping,
        };
    }
}
