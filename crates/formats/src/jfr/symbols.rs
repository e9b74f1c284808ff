//! One profile that grows event by event: stacks, methods, threads and texts of a chunk are looked up once for each.

use flamestore_model::{Function, Label, LabelValue, Line, NONE, Result};
use hashbrown::HashMap;

use super::chunk::{Chunk, Value};
use super::events::ProfileSpec;
use crate::limits::within;
use crate::{Limits, ProfileBuilder};

/// How many times the bytes of a recording may be handled again as parts of names.
const HANDLED_TIMES_MAX: usize = 16;

/// What the profiles of a recording took of the limits that they share.
#[derive(Default)]
pub(super) struct Spent {
    samples: usize,
    stack_locations: usize,
    labels: usize,
    text_bytes: usize,
    handled_bytes: usize,
}

/// The class and the key of a constant.
type Key = (u32, i64);

/// One profile of a recording, and what was looked up for it in the current chunk.
pub(super) struct Growing {
    pub(super) builder: ProfileBuilder,
    /// The locations of all stacks that were looked up, and where those of each are.
    stacks: Vec<u32>,
    stack_places: HashMap<Key, (usize, usize)>,
    /// The last one: events that follow each other often have the same.
    last_stack: (Option<Key>, (usize, usize)),
    methods: HashMap<Key, u32>,
    /// The location of a line of a method.
    frames: HashMap<(Key, i64), u32>,
    /// The names of classes that have methods.
    classes: HashMap<Key, Vec<u8>>,
    threads: HashMap<Key, Vec<Label>>,
    texts: HashMap<Key, u32>,
    /// The numbers of names that are the same for all events.
    names: Vec<(&'static str, u32)>,
    /// Room for the name of a method.
    name: Vec<u8>,
}

impl Growing {
    pub(super) fn new(spec: &ProfileSpec) -> Self {
        let mut builder = ProfileBuilder::new();
        for (ty, unit) in spec.types {
            builder.sample_type(ty, unit);
        }
        Self {
            builder,
            stacks: Vec::new(),
            stack_places: HashMap::new(),
            last_stack: (None, (0, 0)),
            methods: HashMap::new(),
            frames: HashMap::new(),
            classes: HashMap::new(),
            threads: HashMap::new(),
            texts: HashMap::new(),
            names: Vec::new(),
            name: Vec::new(),
        }
    }

    /// Forgets the constants of the last chunk: keys mean something else in the next one.
    pub(super) fn end_chunk(&mut self) {
        self.stacks.clear();
        self.stack_places.clear();
        self.last_stack = (None, (0, 0));
        self.methods.clear();
        self.frames.clear();
        self.classes.clear();
        self.threads.clear();
        self.texts.clear();
    }
}

/// Adds to one profile from one chunk.
pub(super) struct Adder<'g, 'a> {
    pub(super) growing: &'g mut Growing,
    pub(super) spent: &'g mut Spent,
    pub(super) chunk: &'g Chunk<'a>,
    pub(super) limits: &'g Limits,
}

impl<'a> Adder<'_, 'a> {
    /// The number of a string.
    pub(super) fn string(&mut self, text: &[u8]) -> Result<u32> {
        let Limits { string_bytes_max, decompressed_bytes_max, strings_max, .. } = *self.limits;
        within("string_bytes_max", string_bytes_max, text.len())?;
        self.spent.handled_bytes += text.len();
        let handled_max = decompressed_bytes_max.saturating_mul(HANDLED_TIMES_MAX);
        within("decompressed_bytes_max", handled_max, self.spent.handled_bytes)?;
        let known = self.growing.builder.strings_len();
        let id = self.growing.builder.string(text);
        if self.growing.builder.strings_len() > known {
            self.spent.text_bytes += text.len();
            within("decompressed_bytes_max", decompressed_bytes_max, self.spent.text_bytes)?;
            within("strings_max", strings_max, known + 1)?;
        }
        Ok(id)
    }

    /// The number of a name that events have in common.
    pub(super) fn name(&mut self, name: &'static str) -> Result<u32> {
        if let Some((_, id)) = self.growing.names.iter().find(|(known, _)| *known == name) {
            return Ok(*id);
        }
        let id = self.string(name.as_bytes())?;
        self.growing.names.push((name, id));
        Ok(id)
    }

    /// Adds a sample. A stack that the recording does not hold is empty.
    pub(super) fn sample(&mut self, stack: Option<Value<'a>>, values: [i64; 2], labels: &[Label]) -> Result<()> {
        let key = match stack {
            Some(Value::Constant(class, key)) => Some((class, key)),
            _ => None,
        };
        if let Some(key) = key
            && self.growing.last_stack.0 != Some(key)
        {
            let at = match self.growing.stack_places.get(&key) {
                Some(known) => *known,
                None => self.place_stack(key)?,
            };
            self.growing.last_stack = (Some(key), at);
        }
        let place = if key.is_some() { self.growing.last_stack.1 } else { (0, 0) };
        let stack = &self.growing.stacks[place.0..place.1];
        self.spent.samples += 1;
        self.spent.stack_locations += stack.len();
        self.spent.labels += labels.len();
        within("samples_max", self.limits.samples_max, self.spent.samples)?;
        within("stack_locations_max", self.limits.stack_locations_max, self.spent.stack_locations)?;
        within("labels_per_sample_max", self.limits.labels_per_sample_max, labels.len())?;
        within("labels_max", self.limits.labels_max, self.spent.labels)?;
        self.growing.builder.add_row(stack, &values, labels);
        Ok(())
    }

    /// Adds the locations of a stack, leaf first, to those that are known; where they are.
    fn place_stack(&mut self, key: Key) -> Result<(usize, usize)> {
        let start = self.growing.stacks.len();
        self.add_stack(Value::Constant(key.0, key.1))?;
        let place = (start, self.growing.stacks.len());
        self.growing.stack_places.insert(key, place);
        Ok(place)
    }

    fn add_stack(&mut self, stack: Value<'a>) -> Result<()> {
        let chunk = self.chunk;
        let [Some(frames)] = chunk.fields(stack, ["frames"])? else { return Ok(()) };
        if let Value::List { count, .. } = frames {
            within("stack_depth_max", self.limits.stack_depth_max, count)?;
        }
        let start = self.growing.stacks.len();
        chunk.each_object(frames, ["method", "lineNumber"], |[method, line]| {
            let location = self.frame(method, line)?;
            within("locations_max", self.limits.locations_max, location as usize + 1)?;
            self.growing.stacks.push(location);
            Ok(())
        })?;
        self.spent.stack_locations += self.growing.stacks.len() - start;
        within("stack_locations_max", self.limits.stack_locations_max, self.spent.stack_locations)
    }

    fn frame(&mut self, method: Option<Value<'a>>, line: Option<Value<'a>>) -> Result<u32> {
        let Some(Value::Constant(class, key)) = method else {
            return Ok(self.growing.builder.location(NONE, 0, false, &[]));
        };
        let line = if let Some(Value::Int(line)) = line { line.max(0) } else { 0 };
        if let Some(known) = self.growing.frames.get(&((class, key), line)) {
            return Ok(*known);
        }
        let function = match self.growing.methods.get(&(class, key)) {
            Some(known) => *known,
            None => {
                let function = self.function(Value::Constant(class, key))?;
                self.growing.methods.insert((class, key), function);
                function
            }
        };
        let lines = [Line { function, line, column: 0 }];
        let lines = if function == NONE { &[] } else { lines.as_slice() };
        let location = self.growing.builder.location(NONE, 0, false, lines);
        self.growing.frames.insert(((class, key), line), location);
        Ok(location)
    }

    /// The function that a method is; [`NONE`] where the recording does not hold it.
    fn function(&mut self, method: Value<'a>) -> Result<u32> {
        let chunk = self.chunk;
        let [class, name, descriptor] = chunk.fields(method, ["type", "name", "descriptor"])?;
        if name.is_none() {
            return Ok(NONE);
        }
        let mut text = std::mem::take(&mut self.growing.name);
        text.clear();
        self.append_class(class, &mut text)?;
        let class_end = text.len();
        if class_end > 0 {
            text.push(b'.');
        }
        chunk.append_text(name, "string", &mut text)?;
        let shown_end = text.len();
        chunk.append_text(descriptor, "string", &mut text)?;
        let system_name = self.string(&text)?;
        text[..class_end].iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'.');
        let shown = self.string(&text[..shown_end])?;
        self.growing.name = text;
        Ok(self.growing.builder.function(Function { name: shown, system_name, ..Function::default() }))
    }

    /// Appends the name of a class, as the recording has it.
    fn append_class(&mut self, class: Option<Value<'a>>, out: &mut Vec<u8>) -> Result<()> {
        let Some(class) = class else { return Ok(()) };
        let constant = if let Value::Constant(class, key) = class { Some((class, key)) } else { None };
        if let Some(known) = constant.and_then(|constant| self.growing.classes.get(&constant)) {
            out.extend_from_slice(known);
            return Ok(());
        }
        let start = out.len();
        self.chunk.append_text(self.chunk.fields(class, ["name"])?[0], "string", out)?;
        within("string_bytes_max", self.limits.string_bytes_max, out.len() - start)?;
        if let Some(constant) = constant {
            self.growing.classes.insert(constant, out[start..].to_vec());
        }
        Ok(())
    }

    /// Adds the labels of a thread: its name and its number, the system's where it is known.
    pub(super) fn thread(&mut self, thread: Option<Value<'a>>, labels: &mut Vec<Label>) -> Result<()> {
        let Some(Value::Constant(class, key)) = thread else { return Ok(()) };
        if let Some(known) = self.growing.threads.get(&(class, key)) {
            labels.extend_from_slice(known);
            return Ok(());
        }
        let chunk = self.chunk;
        let names = ["javaName", "osName", "osThreadId", "javaThreadId"];
        let [java_name, os_name, os_id, java_id] = chunk.fields(Value::Constant(class, key), names)?;
        let mut known = Vec::new();
        let java_name = chunk.text(java_name, "string")?;
        let name = if java_name.is_empty() { chunk.text(os_name, "string")? } else { java_name };
        if !name.is_empty() {
            known.push(self.text_label("thread_name", &name)?);
        }
        let number = |value| if let Some(Value::Int(number)) = value { number } else { 0 };
        let id = if number(os_id) == 0 { number(java_id) } else { number(os_id) };
        if id != 0 {
            known.push(Label { key: self.name("thread_id")?, value: LabelValue::Num(id, 0) });
        }
        labels.extend_from_slice(&known);
        self.growing.threads.insert((class, key), known);
        Ok(())
    }

    /// Adds the label `key` of a text, or of the text in the field `field` of an object, if it is not empty.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        value: Option<Value<'a>>,
        field: &str,
        labels: &mut Vec<Label>,
    ) -> Result<()> {
        let constant = match value {
            None => return Ok(()),
            Some(Value::Constant(class, key)) => Some((class, key)),
            Some(_) => None,
        };
        let known = constant.and_then(|constant| self.growing.texts.get(&constant).copied());
        let text = match known {
            Some(known) => known,
            None => {
                let text = self.chunk.text(value, field)?;
                let inner = if text.is_empty() { self.inner_text(value, field)? } else { text };
                self.string(&readable_class(inner))?
            }
        };
        if let Some(constant) = constant {
            self.growing.texts.insert(constant, text);
        }
        if text != 0 {
            labels.push(Label { key: self.name(key)?, value: LabelValue::Str(text) });
        }
        Ok(())
    }

    /// The text of the symbol in the field `field` of an object.
    fn inner_text(&self, value: Option<Value<'a>>, field: &str) -> Result<Vec<u8>> {
        let Some(value) = value else { return Ok(Vec::new()) };
        self.chunk.text(self.chunk.fields(value, [field])?[0], "string")
    }

    /// A label of a text.
    pub(super) fn text_label(&mut self, key: &'static str, text: &[u8]) -> Result<Label> {
        Ok(Label { key: self.name(key)?, value: LabelValue::Str(self.string(text)?) })
    }
}

/// The name of a class as Java writes it: `java/lang/Object` and `[Ljava/lang/Object;` as `java.lang.Object` and
/// `java.lang.Object[]`. Anything else stays as it is.
fn readable_class(name: Vec<u8>) -> Vec<u8> {
    let dimensions = name.iter().take_while(|byte| **byte == b'[').count();
    let element = &name[dimensions..];
    let element: &[u8] = match (dimensions, element) {
        (0, element) => element,
        (_, [b'L', class @ .., b';']) => class,
        (_, b"Z") => b"boolean",
        (_, b"B") => b"byte",
        (_, b"C") => b"char",
        (_, b"S") => b"short",
        (_, b"I") => b"int",
        (_, b"J") => b"long",
        (_, b"F") => b"float",
        (_, b"D") => b"double",
        _ => return name,
    };
    let dotted = element.iter().map(|byte| if *byte == b'/' { b'.' } else { *byte });
    dotted.chain(b"[]".repeat(dimensions)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_as_java_writes_them() {
        let names = [
            ("java/lang/String", "java.lang.String"),
            ("[[B", "byte[][]"),
            ("[Ljava/util/Map;", "java.util.Map[]"),
            ("[", "["),
            ("", ""),
        ];
        for (name, expected) in names {
            assert_eq!(String::from_utf8_lossy(&readable_class(name.into())), expected);
        }
    }
}
