//! What of the selected profiles is asked for: profiles by id, samples by span and trace.
//!
//! A span or a trace is found in the columns of observations, and in label sets, where older segments and clients have it.

use flamestore_calltree::{LabelBytes, Observation};
use flamestore_model::{NONE, Result};
use flamestore_segment::{ProfileRow, ProfileSamples, ScanReport};
use hashbrown::HashMap;

use super::load::Loaded;
use crate::answer::Pick;
use crate::selection::Unit;

const SPAN_KEYS: [&[u8]; 2] = [b"span_id", b"profile_id"];
const TRACE_KEY: &[u8] = b"trace_id";

/// Those of `profiles` that are asked for.
///
/// # Errors
/// `Corrupt` when the segment is damaged.
pub(super) async fn profiles(
    unit: &Unit,
    profiles: &[ProfileRow],
    pick: &Pick,
    scan: &mut ScanReport,
) -> Result<Vec<ProfileRow>> {
    let details = unit.details(profiles, scan).await?;
    let picked = profiles.iter().zip(&details).filter(|(_, detail)| pick.profiles.contains(&detail.meta.id));
    Ok(picked.map(|(row, _)| *row).collect())
}

/// Leaves the samples that are asked for, and the profiles that have one.
pub(super) fn samples(loaded: &mut Loaded, pick: &Pick) {
    if pick.spans.is_empty() && pick.traces.is_empty() {
        return;
    }
    let dictionary = &loaded.sealed.dictionary;
    // What label sets alone say: whether span and trace are asked for.
    let mut of_sets: HashMap<u32, (bool, bool)> = HashMap::new();
    for samples in &mut loaded.samples {
        let set_of = |row: usize| samples.label_sets.get(row).copied().unwrap_or(NONE);
        let mut is_picked = |row: &usize| {
            let set = set_of(*row);
            let Observation { span_id, trace_id, .. } = samples.observed.get(*row);
            let (in_set, of_trace) = *of_sets.entry(set).or_insert_with(|| {
                let mut found = (false, false);
                dictionary.row_labels(set, &Observation::NONE, |key, value| look(key, value, pick, &mut found));
                found
            });
            let has_span = in_set || (span_id != [0; 8] && pick.spans.contains(&span_id));
            let has_trace = of_trace || (trace_id != [0; 16] && pick.traces.contains(&trace_id));
            (has_span || pick.spans.is_empty()) && (has_trace || pick.traces.is_empty())
        };
        let rows: Vec<usize> = (0..samples.stacks.len()).filter(&mut is_picked).collect();
        *samples = ProfileSamples {
            stacks: rows.iter().map(|row| samples.stacks[*row]).collect(),
            values: rows.iter().map(|row| samples.values[*row]).collect(),
            label_sets: rows.iter().map(|row| set_of(*row)).collect(),
            observed: samples.observed.take(&rows),
        };
    }
    let kept: Vec<bool> = loaded.samples.iter().map(|samples| !samples.stacks.is_empty()).collect();
    let mut at = kept.iter();
    loaded.samples.retain(|_| at.next().copied().unwrap_or_default());
    let mut at = kept.iter();
    loaded.details.retain(|_| at.next().copied().unwrap_or_default());
}

fn look(key: &[u8], value: LabelBytes<'_>, pick: &Pick, (span, trace): &mut (bool, bool)) {
    let LabelBytes::Str(text) = value else { return };
    if SPAN_KEYS.contains(&key) {
        *span |= hexadecimal(text).is_some_and(|id| pick.spans.contains(&id));
    }
    if key == TRACE_KEY {
        *trace |= hexadecimal(text).is_some_and(|id| pick.traces.contains(&id));
    }
}

/// The bytes of an id of two digits a byte.
fn hexadecimal<const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    let mut id = [0; BYTES];
    if text.len() != 2 * BYTES {
        return None;
    }
    for (byte, digits) in id.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()?;
    }
    Some(id)
}
