//! Frame names.

use std::borrow::Cow;

use crate::Dictionary;

/// The name of a frame: of line `line_index` (0 is the innermost) of a location. A location without lines is one frame.
///
/// # Panics
/// When there is no such location or line.
pub fn frame_name(_dictionary: &Dictionary, _location: u32, _line_index: usize) -> Cow<'_, str> {
    todo!()
}
