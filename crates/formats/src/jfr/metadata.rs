//! The classes of a chunk: which fields its events and constants have, in which order, of which class.
//!
//! ```text
//! metadata event   size  type 0  start  duration  id   texts (count, each)   root element
//! element          name  attributes (count, key and value each)  children (count, each)
//! root ─ metadata ─ class {id, name} ─ field {name, class, constantPool, dimension} ─ annotation {class, value}
//! ```
//!
//! A class may hold others in place. One that holds itself, or too many in each other, is kept but cannot be read: reading a
//! value always takes at least a byte or nothing at all, so its cost is bounded by the bytes.

use std::sync::Arc;

use flamestore_model::Result;
use hashbrown::HashMap;

use super::cursor::Cursor;

/// Elements of all kinds.
const ELEMENTS_MAX: usize = 1 << 18;
/// Texts, and elements in each other.
const TEXTS_MAX: usize = 1 << 18;
const DEPTH_MAX: usize = 16;
/// Classes that lie in each other.
const NESTING_MAX: usize = 16;

/// The classes of a chunk by number, which is not their id.
#[derive(Default)]
pub(super) struct Classes {
    pub(super) classes: Vec<Class>,
    ids: HashMap<i64, u32>,
    /// The class of texts.
    pub(super) text: Option<u32>,
}

/// A class.
pub(super) struct Class {
    pub(super) id: i64,
    pub(super) name: Arc<str>,
    pub(super) fields: Vec<Field>,
    pub(super) kind: Kind,
    /// Whether it holds no field, or only fields that hold none.
    pub(super) is_empty: bool,
    /// Whether it holds itself, an unknown class, or too many in each other.
    pub(super) is_broken: bool,
}

/// How a value of a class is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its fields, one after the other.
    #[default]
    Object,
    Byte,
    Short,
    Int,
    Long,
    Float,
    Double,
    Text,
}

/// A field of a class.
pub(super) struct Field {
    pub(super) name: Arc<str>,
    class_id: i64,
    /// The number of its class.
    pub(super) class: u32,
    /// Whether it holds the key of a constant.
    pub(super) is_constant: bool,
    /// Whether it holds a count of values, and them.
    pub(super) is_list: bool,
    /// How its number is written, where it holds one number: the key of a constant too. Nearly all fields of events and frames do.
    pub(super) number: Option<Kind>,
    /// What its number counts.
    pub(super) unit: TimeUnit,
    annotations: Vec<(i64, Arc<str>)>,
}

/// What a span or a point of time counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TimeUnit {
    /// The chunk's ticks, also where the class says nothing.
    #[default]
    Ticks,
    /// This many nanoseconds.
    Nanoseconds(i64),
}

impl Classes {
    /// The classes that the metadata event at the cursor declares.
    pub(super) fn read(mut cursor: Cursor<'_>) -> Result<Self> {
        let start = cursor.position();
        let size = cursor.count(0)?;
        cursor = cursor.until(start.saturating_add(size));
        if cursor.long()? != 0 {
            return Err(cursor.wrong("the metadata is another event"));
        }
        for _ in 0..3 {
            cursor.long()?;
        }
        let count = cursor.count(1)?;
        if count > TEXTS_MAX {
            return Err(cursor.wrong("the metadata has too many texts").with("limit", TEXTS_MAX).with("found", count));
        }
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            texts.push(Arc::from(String::from_utf8_lossy(&cursor.text()?.to_bytes())));
        }
        let mut reader = ElementReader { texts: &texts, elements: 0, classes: Vec::new() };
        reader.element(&mut cursor, DEPTH_MAX, Parent::None)?;
        Ok(Self::of(reader.classes))
    }

    fn of(classes: Vec<Class>) -> Self {
        let mut out = Self { classes, ..Self::default() };
        for (at, class) in (0..).zip(&mut out.classes) {
            out.ids.insert(class.id, at);
            class.kind = match &*class.name {
                "byte" | "boolean" => Kind::Byte,
                "short" | "char" => Kind::Short,
                "int" => Kind::Int,
                "long" => Kind::Long,
                "float" => Kind::Float,
                "double" => Kind::Double,
                "java.lang.String" => Kind::Text,
                _ => Kind::Object,
            };
            if class.kind == Kind::Text {
                out.text = Some(at);
            }
        }
        let names: HashMap<i64, Arc<str>> = out.classes.iter().map(|class| (class.id, class.name.clone())).collect();
        let kinds: Vec<Kind> = out.classes.iter().map(|class| class.kind).collect();
        for class in &mut out.classes {
            for field in &mut class.fields {
                match out.ids.get(&field.class_id) {
                    Some(found) => field.class = *found,
                    None => class.is_broken = true,
                }
                field.number = match kinds[field.class as usize] {
                    _ if field.is_list => None,
                    _ if field.is_constant => Some(Kind::Long),
                    Kind::Object | Kind::Text => None,
                    number => Some(number),
                };
                field.unit = unit_of(&field.annotations, &names);
            }
        }
        let mut known = vec![None; out.classes.len()];
        for at in 0..out.classes.len() {
            let nested = out.nesting(at, NESTING_MAX, &mut known);
            out.classes[at].is_broken |= nested.is_none();
            out.classes[at].is_empty = nested == Some(false);
        }
        // Fields that take no bytes would take time.
        let is_empty: Vec<bool> = out.classes.iter().map(|class| class.is_empty).collect();
        for class in &mut out.classes {
            class.fields.retain(|field| field.is_constant || field.is_list || !is_empty[field.class as usize]);
        }
        out
    }

    /// Whether a value of class `at` takes any bytes; `None` where it cannot be read.
    fn nesting(&self, at: usize, depth_left: usize, known: &mut [Option<Option<bool>>]) -> Option<bool> {
        if let Some(known) = known[at] {
            return known;
        }
        let class = &self.classes[at];
        let mut takes_bytes = class.kind != Kind::Object;
        let mut is_whole = !class.is_broken && depth_left > 0;
        // Until it is known, a class that holds itself finds itself broken.
        known[at] = Some(None);
        for field in &class.fields {
            if !is_whole {
                break;
            }
            if field.is_constant {
                takes_bytes = true;
                continue;
            }
            let nested = self.nesting(field.class as usize, depth_left - 1, known);
            is_whole &= nested.is_some();
            takes_bytes |= field.is_list || nested == Some(true);
        }
        known[at] = Some(is_whole.then_some(takes_bytes));
        is_whole.then_some(takes_bytes)
    }

    /// The number of the class with this id.
    pub(super) fn number(&self, id: i64) -> Option<u32> {
        self.ids.get(&id).copied()
    }

    /// The class `number`, which [`Self::number`] or a field gave.
    pub(super) fn get(&self, number: u32) -> &Class {
        &self.classes[number as usize]
    }
}

fn unit_of(annotations: &[(i64, Arc<str>)], names: &HashMap<i64, Arc<str>>) -> TimeUnit {
    let of_time = annotations.iter().find(|(class, _)| {
        names.get(class).is_some_and(|name| matches!(&**name, "jdk.jfr.Timespan" | "jdk.jfr.Timestamp"))
    });
    match of_time.map_or("", |(_, value)| value) {
        "NANOSECONDS" | "NANOSECONDS_SINCE_EPOCH" => TimeUnit::Nanoseconds(1),
        "MICROSECONDS" => TimeUnit::Nanoseconds(1_000),
        "MILLISECONDS" | "MILLISECONDS_SINCE_EPOCH" => TimeUnit::Nanoseconds(1_000_000),
        "SECONDS" | "SECONDS_SINCE_EPOCH" => TimeUnit::Nanoseconds(1_000_000_000),
        _ => TimeUnit::Ticks,
    }
}

/// What an element lies in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parent {
    None,
    Class,
    Field,
}

struct ElementReader<'t> {
    texts: &'t [Arc<str>],
    elements: usize,
    classes: Vec<Class>,
}

impl<'t> ElementReader<'t> {
    fn text(&self, cursor: &mut Cursor<'_>) -> Result<&'t Arc<str>> {
        let id = cursor.int()?;
        let text = usize::try_from(id).ok().and_then(|id| self.texts.get(id));
        text.ok_or_else(|| cursor.wrong("the metadata has no such text").with("text", id))
    }

    fn element(&mut self, cursor: &mut Cursor<'_>, depth_left: usize, parent: Parent) -> Result<()> {
        self.elements += 1;
        let Some(depth_left) = depth_left.checked_sub(1).filter(|_| self.elements <= ELEMENTS_MAX) else {
            return Err(cursor.wrong("the metadata has too many elements").with("limit", ELEMENTS_MAX));
        };
        let name = self.text(cursor)?;
        let mut attributes = Attributes::default();
        for _ in 0..cursor.count(2)? {
            attributes.take(self.text(cursor)?, self.text(cursor)?);
        }
        let own = self.declare(name, &attributes, parent);
        let children = cursor.count(3)?;
        for _ in 0..children {
            self.element(cursor, depth_left, own)?;
        }
        Ok(())
    }

    /// Notes what an element declares; the answer is what its children lie in.
    fn declare(&mut self, name: &str, attributes: &Attributes<'_>, parent: Parent) -> Parent {
        match (name, parent, self.classes.last_mut()) {
            ("class", ..) => {
                self.classes.push(Class {
                    id: id_of(attributes.id),
                    name: shared(attributes.name),
                    fields: Vec::new(),
                    kind: Kind::Object,
                    is_empty: false,
                    is_broken: false,
                });
                Parent::Class
            }
            ("field", Parent::Class, Some(class)) => {
                class.fields.push(Field {
                    name: shared(attributes.name),
                    class_id: id_of(attributes.class),
                    class: 0,
                    is_constant: attributes.constant_pool.is_some_and(|text| &**text == "true"),
                    is_list: attributes.dimension.is_some_and(|text| &**text == "1"),
                    number: None,
                    unit: TimeUnit::Ticks,
                    annotations: Vec::new(),
                });
                Parent::Field
            }
            ("annotation", Parent::Field, Some(class)) => {
                if let Some(field) = class.fields.last_mut() {
                    field.annotations.push((id_of(attributes.class), shared(attributes.value)));
                }
                Parent::None
            }
            _ => Parent::None,
        }
    }
}

/// The attributes of an element that are read.
#[derive(Default)]
struct Attributes<'t> {
    id: Option<&'t Arc<str>>,
    name: Option<&'t Arc<str>>,
    class: Option<&'t Arc<str>>,
    constant_pool: Option<&'t Arc<str>>,
    dimension: Option<&'t Arc<str>>,
    value: Option<&'t Arc<str>>,
}

impl<'t> Attributes<'t> {
    fn take(&mut self, key: &str, text: &'t Arc<str>) {
        let slot = match key {
            "id" => &mut self.id,
            "name" => &mut self.name,
            "class" => &mut self.class,
            "constantPool" => &mut self.constant_pool,
            "dimension" => &mut self.dimension,
            "value" => &mut self.value,
            _ => return,
        };
        *slot = Some(text);
    }
}

/// A name, shared with the texts: many elements may have one long name.
fn shared(text: Option<&Arc<str>>) -> Arc<str> {
    text.map_or_else(|| Arc::from(""), Arc::clone)
}

/// An id; -1, which no class has, where it is none.
fn id_of(text: Option<&Arc<str>>) -> i64 {
    text.filter(|text| text.len() <= 20).and_then(|text| text.parse().ok()).unwrap_or(-1)
}
