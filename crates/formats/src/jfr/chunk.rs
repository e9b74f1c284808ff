//! A chunk: its header, its classes, where its constants lie, its events.
//!
//! ```text
//! header     "FLR\0"  major u16  minor u16  size i64  constants at i64  metadata at i64
//!            start ns i64  duration ns i64  start ticks i64  ticks a second i64  features i32 (bit 0: varints)    68 bytes
//! event      size  class id  its fields, startTime first
//! constants  size  class id 1  start  duration  distance to those before  flags  pools (count: class id, constants (count: key, value))
//! ```
//!
//! Constants are looked up where they lie. Sets of constants refer to the one before; a set must end where the next one starts, or
//! earlier, so reading them all takes no longer than the chunk is.

use flamestore_model::{Error, Result};
use hashbrown::HashMap;

use super::cursor::{Cursor, Text};
use super::metadata::{Class, Classes, Field, Kind, TimeUnit};
use crate::Limits;
use crate::limits::within;

const HEADER_BYTES: usize = 68;
const MAGIC: [u8; 4] = *b"FLR\0";
/// Bytes or units of a text that is compared with something.
const SHORT_TEXT_MAX: usize = 256;
/// The most constants that room is made for at once, before they are seen.
const CONSTANTS_RESERVED_MAX: usize = 1 << 14;
const METADATA: i64 = 0;
const CONSTANTS: i64 = 1;

/// A chunk that can be read.
pub(super) struct Chunk<'a> {
    cursor: Cursor<'a>,
    pub(super) clock: Clock,
    pub(super) classes: Classes,
    constants: HashMap<(u32, i64), u32>,
}

/// What the ticks of a chunk mean.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) start_nanos: i64,
    pub(super) duration_nanos: i64,
    start_ticks: i64,
    ticks_per_second: i64,
}

/// A value of a field.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Int(i64),
    Float(f64),
    Text(Text<'a>),
    /// The constant of a class with this key.
    Constant(u32, i64),
    /// The fields of a class at this place.
    Object(u32, usize),
    /// A list of so many values of a class; the first lies here. Keys of constants, if the flag is set.
    List {
        class: u32,
        is_constant: bool,
        count: usize,
        at: usize,
    },
}

/// The chunk that `bytes` start with, and the bytes behind it.
pub(super) fn split_chunk(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let header = bytes.first_chunk::<HEADER_BYTES>().filter(|header| header.starts_with(&MAGIC));
    let Some(header) = header else {
        return Err(Error::invalid("not a JFR recording: no chunk starts here").with("bytes_left", bytes.len()));
    };
    let major = u16::from_be_bytes([header[4], header[5]]);
    if !(1..=2).contains(&major) {
        return Err(Error::invalid("JFR: the version is neither 1 nor 2").with("version", major));
    }
    let mut size = [0; 8];
    size.copy_from_slice(&header[8..16]);
    let size = i64::from_be_bytes(size);
    let whole = usize::try_from(size).ok().filter(|size| (HEADER_BYTES..=bytes.len()).contains(size));
    match whole {
        Some(size) => Ok(bytes.split_at(size)),
        None => Err(Error::invalid("JFR: a chunk is not whole").with("size", size).with("bytes_left", bytes.len())),
    }
}

impl<'a> Chunk<'a> {
    /// The chunk in `bytes`, all of them.
    pub(super) fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self> {
        let mut header = Cursor::new(bytes, false).moved(16);
        let [constants_at, metadata_at, start_nanos, duration_nanos, start_ticks, ticks_per_second] =
            [header.long()?, header.long()?, header.long()?, header.long()?, header.long()?, header.long()?];
        let is_compressed = header.int()? & 1 == 1;
        if ticks_per_second <= 0 {
            return Err(header.wrong("a second has no ticks").with("ticks_per_second", ticks_per_second));
        }
        let clock = Clock { start_nanos, duration_nanos, start_ticks, ticks_per_second };
        let cursor = Cursor::new(bytes, is_compressed);
        let place = |at: i64| {
            let found = usize::try_from(at).ok().filter(|at| (HEADER_BYTES..bytes.len()).contains(at));
            found.ok_or_else(|| header.wrong("a place lies outside of its chunk").with("place", at))
        };
        let classes = Classes::read(cursor.moved(place(metadata_at)?))?;
        let mut chunk = Self { cursor, clock, classes, constants: HashMap::new() };
        if constants_at != 0 {
            chunk.all_constants(place(constants_at)?, limits)?;
        }
        Ok(chunk)
    }

    fn all_constants(&mut self, last: usize, limits: &Limits) -> Result<()> {
        let (mut at, mut end_max) = (last, usize::MAX);
        loop {
            let mut cursor = self.cursor.moved(at);
            let size = cursor.count(0)?;
            let end = at.saturating_add(size);
            if end > end_max {
                return Err(cursor.wrong("constants run into those that follow"));
            }
            let before = self.constants(cursor.until(end), limits)?;
            if before == 0 {
                return Ok(());
            }
            let earlier = i64::try_from(at).ok().and_then(|at| at.checked_add(before));
            let earlier = earlier.and_then(|earlier| usize::try_from(earlier).ok());
            let Some(earlier) = earlier.filter(|earlier| (HEADER_BYTES..at).contains(earlier)) else {
                return Err(cursor
                    .wrong("constants refer to a place that is not before them")
                    .with("distance", before));
            };
            (at, end_max) = (earlier, at);
        }
    }

    /// Notes where a set of constants lie; the answer is the distance to the one before. What is known already stays.
    fn constants(&mut self, mut cursor: Cursor<'a>, limits: &Limits) -> Result<i64> {
        if cursor.long()? != CONSTANTS {
            return Err(cursor.wrong("the constants are another event"));
        }
        cursor.long()?;
        cursor.long()?;
        let before = cursor.long()?;
        cursor.byte()?;
        let pools = cursor.count(2)?;
        for _ in 0..pools {
            let id = cursor.long()?;
            let Some(class) = self.classes.number(id) else {
                return Err(cursor.wrong("constants are of an unknown class").with("class", id));
            };
            let count = cursor.count(1)?;
            self.constants.reserve(count.min(CONSTANTS_RESERVED_MAX));
            for _ in 0..count {
                let key = cursor.long()?;
                let at = u32::try_from(cursor.position()).unwrap_or(u32::MAX);
                self.constants.entry((class, key)).or_insert(at);
                within("strings_max", limits.strings_max, self.constants.len())?;
                self.skip(&mut cursor, class)?;
            }
        }
        Ok(before)
    }

    /// Calls `each` with the class and the fields of every event.
    pub(super) fn each_event(&self, mut each: impl FnMut(u32, Cursor<'a>) -> Result<()>) -> Result<()> {
        let mut at = HEADER_BYTES;
        while self.cursor.moved(at).left() > 0 {
            let mut cursor = self.cursor.moved(at);
            let size = cursor.count(0)?;
            let end = at.saturating_add(size);
            let header_end = cursor.position();
            if size == 0 || end < header_end || end - at > self.cursor.moved(at).left() {
                return Err(cursor.wrong("an event has a wrong size").with("size", size));
            }
            cursor = cursor.until(end);
            let id = cursor.long()?;
            if id != METADATA && id != CONSTANTS {
                let Some(class) = self.classes.number(id) else {
                    return Err(cursor.wrong("an event is of an unknown class").with("class", id));
                };
                each(class, cursor)?;
            }
            at = end;
        }
        Ok(())
    }

    /// Moves past a value of `class`.
    fn skip(&self, cursor: &mut Cursor<'a>, class: u32) -> Result<()> {
        let class = self.classes.get(class);
        match class.kind {
            Kind::Text => cursor.text().map(drop),
            Kind::Object => {
                readable(class, cursor)?;
                class.fields.iter().try_for_each(|field| self.skip_field(cursor, field))
            }
            number => cursor.skip_number(number),
        }
    }

    #[inline]
    pub(super) fn skip_field(&self, cursor: &mut Cursor<'a>, field: &Field) -> Result<()> {
        match field.number {
            Some(kind) => cursor.skip_number(kind),
            None => self.skip_values(cursor, field),
        }
    }

    fn skip_values(&self, cursor: &mut Cursor<'a>, field: &Field) -> Result<()> {
        let count = if field.is_list { cursor.count(0)? } else { 1 };
        if self.takes_nothing(field) {
            return Ok(());
        }
        for _ in 0..count {
            if field.is_constant {
                cursor.long()?;
            } else {
                self.skip(cursor, field.class)?;
            }
        }
        Ok(())
    }

    /// Whether a value of `field` takes no bytes, so that any count of them is read in no time.
    fn takes_nothing(&self, field: &Field) -> bool {
        !field.is_constant && self.classes.get(field.class).is_empty
    }

    /// `Ok` when values of `class` can be read.
    pub(super) fn check_readable(&self, class: u32, cursor: &Cursor<'_>) -> Result<()> {
        readable(self.classes.get(class), cursor)
    }

    /// The value of `field` at the cursor, which moves past it.
    #[inline]
    pub(super) fn field(&self, cursor: &mut Cursor<'a>, field: &Field) -> Result<Value<'a>> {
        if let Some(kind) = field.number {
            return match field.is_constant {
                true => Ok(Value::Constant(field.class, cursor.long()?)),
                false => number(cursor, kind),
            };
        }
        let is_object = !field.is_constant && self.classes.get(field.class).kind == Kind::Object;
        if !field.is_list && !is_object {
            return self.field_here(cursor, field);
        }
        let value = self.field_here(&mut { *cursor }, field)?;
        self.skip_field(cursor, field)?;
        Ok(value)
    }

    /// The value of `field` at the cursor, which moves past it unless it is a list or an object.
    #[inline]
    fn field_here(&self, cursor: &mut Cursor<'a>, field: &Field) -> Result<Value<'a>> {
        let Field { class, is_constant, .. } = *field;
        if field.is_list {
            let count = cursor.count(0)?;
            let count = if self.takes_nothing(field) { 0 } else { count };
            return Ok(Value::List { class, is_constant, count, at: cursor.position() });
        }
        match is_constant {
            true => Ok(Value::Constant(class, cursor.long()?)),
            false => self.value_here(cursor, class),
        }
    }

    /// The value of `class` at the cursor, which moves past it unless it is an object.
    fn value_here(&self, cursor: &mut Cursor<'a>, class: u32) -> Result<Value<'a>> {
        match self.classes.get(class).kind {
            Kind::Text => Ok(Value::Text(cursor.text()?)),
            Kind::Object => Ok(Value::Object(class, cursor.position())),
            kind => number(cursor, kind),
        }
    }

    /// The value that a constant stands for; `None` where there is no such constant.
    pub(super) fn resolve(&self, value: Value<'a>) -> Result<Option<Value<'a>>> {
        let (class, key) = match value {
            Value::Constant(class, key) => (class, key),
            Value::Text(Text::Ref(key)) => match self.classes.text {
                Some(class) => (class, key),
                None => return Ok(None),
            },
            other => return Ok(Some(other)),
        };
        let Some(at) = self.constants.get(&(class, key)) else { return Ok(None) };
        self.value_here(&mut self.cursor.moved(*at as usize), class).map(Some)
    }

    /// The values of the fields `names` of an object or a constant.
    pub(super) fn fields<const N: usize>(&self, value: Value<'a>, names: [&str; N]) -> Result<[Option<Value<'a>>; N]> {
        let mut found = [None; N];
        let Some(Value::Object(class, at)) = self.resolve(value)? else { return Ok(found) };
        let mut cursor = self.cursor.moved(at);
        let class = self.classes.get(class);
        readable(class, &cursor)?;
        let mut missing = N;
        for field in &class.fields {
            let Some(slot) = names.iter().position(|name| **name == *field.name) else {
                self.skip_field(&mut cursor, field)?;
                continue;
            };
            missing -= usize::from(found[slot].is_none());
            if missing == 0 {
                found[slot] = Some(self.field_here(&mut cursor, field)?);
                break;
            }
            found[slot] = Some(self.field(&mut cursor, field)?);
        }
        Ok(found)
    }

    /// Calls `each` with the fields `names` of every object of a list.
    pub(super) fn each_object<const N: usize>(
        &self,
        list: Value<'a>,
        names: [&str; N],
        mut each: impl FnMut([Option<Value<'a>>; N]) -> Result<()>,
    ) -> Result<()> {
        let Value::List { class, is_constant, count, at } = list else { return Ok(()) };
        let mut cursor = self.cursor.moved(at);
        if is_constant {
            for _ in 0..count {
                each(self.fields(Value::Constant(class, cursor.long()?), names)?)?;
            }
            return Ok(());
        }
        let class = self.classes.get(class);
        readable(class, &cursor)?;
        if class.kind != Kind::Object {
            return Err(cursor.wrong("a list holds no objects").with("class", &class.name));
        }
        let slot = |field: &Field| names.iter().position(|name| **name == *field.name);
        let slots: Vec<Option<usize>> = class.fields.iter().map(slot).collect();
        for _ in 0..count {
            let mut found = [None; N];
            for (field, slot) in class.fields.iter().zip(&slots) {
                match slot {
                    Some(slot) => found[*slot] = Some(self.field(&mut cursor, field)?),
                    None => self.skip_field(&mut cursor, field)?,
                }
            }
            each(found)?;
        }
        Ok(())
    }

    /// The text of a value: itself, or that of the field `name` of an object, as symbols and states have it.
    pub(super) fn text(&self, value: Option<Value<'a>>, name: &str) -> Result<Vec<u8>> {
        self.text_in_place(value, name).map(Text::to_bytes)
    }

    /// Appends [`Self::text`] to `out`.
    pub(super) fn append_text(&self, value: Option<Value<'a>>, name: &str, out: &mut Vec<u8>) -> Result<()> {
        self.text_in_place(value, name).map(|text| text.append_to(out))
    }

    /// [`Self::text`], but empty where it is longer than any that is compared with something: those are read event by event.
    pub(super) fn short_text(&self, value: Option<Value<'a>>, name: &str) -> Result<Vec<u8>> {
        let text = self.text_in_place(value, name)?;
        Ok(if text.len() > SHORT_TEXT_MAX { Vec::new() } else { text.to_bytes() })
    }

    fn text_in_place(&self, value: Option<Value<'a>>, name: &str) -> Result<Text<'a>> {
        let mut value = value;
        // A text may be a constant of an object of a constant text, and no more.
        for _ in 0..4 {
            let Some(known) = value else { return Ok(Text::Empty) };
            value = match self.resolve(known)? {
                Some(Value::Text(text @ Text::Ref(_))) => Some(Value::Text(text)),
                Some(Value::Text(text)) => return Ok(text),
                Some(object @ Value::Object(..)) => self.fields(object, [name])?[0],
                _ => return Ok(Text::Empty),
            };
        }
        Ok(Text::Empty)
    }
}

impl Clock {
    /// A point of time in nanoseconds since 1970.
    pub(super) fn time(&self, value: i64, unit: TimeUnit) -> i64 {
        match unit {
            TimeUnit::Ticks => {
                let since = i128::from(value) - i128::from(self.start_ticks);
                clamp(i128::from(self.start_nanos) + self.nanos_of(since))
            }
            TimeUnit::Nanoseconds(nanos) => value.saturating_mul(nanos),
        }
    }

    /// A span of time in nanoseconds.
    pub(super) fn span(&self, value: i64, unit: TimeUnit) -> i64 {
        match unit {
            TimeUnit::Ticks => clamp(self.nanos_of(i128::from(value))),
            TimeUnit::Nanoseconds(nanos) => value.saturating_mul(nanos),
        }
    }

    fn nanos_of(&self, ticks: i128) -> i128 {
        // Seconds and what is left of one by themselves come to the same, and take no division of 128 bits.
        if let (Ok(ticks), 1..=9_000_000_000) = (i64::try_from(ticks), self.ticks_per_second) {
            let (seconds, rest) = (ticks / self.ticks_per_second, ticks % self.ticks_per_second);
            return i128::from(seconds) * 1_000_000_000 + i128::from(rest * 1_000_000_000 / self.ticks_per_second);
        }
        ticks * 1_000_000_000 / i128::from(self.ticks_per_second)
    }
}

/// The number of this kind at the cursor, which moves past it; none is 0.
#[inline]
fn number<'a>(cursor: &mut Cursor<'a>, kind: Kind) -> Result<Value<'a>> {
    Ok(match kind {
        Kind::Byte => Value::Int(i64::from(cursor.byte()?)),
        Kind::Short => Value::Int(cursor.short()?),
        Kind::Int => Value::Int(cursor.int()?),
        Kind::Long => Value::Int(cursor.long()?),
        Kind::Float => Value::Float(f64::from(f32::from_be_bytes(cursor.array()?))),
        Kind::Double => Value::Float(f64::from_be_bytes(cursor.array()?)),
        Kind::Text | Kind::Object => Value::Int(0),
    })
}

fn readable(class: &Class, cursor: &Cursor<'_>) -> Result<()> {
    match class.is_broken {
        true => Err(cursor.wrong("a class cannot be read").with("class", &class.name)),
        false => Ok(()),
    }
}

fn clamp(nanos: i128) -> i64 {
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}
