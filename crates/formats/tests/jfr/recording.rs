//! Builds recordings: classes, constants and events of a chunk, as bytes.

use crate::wire::varint;

/// A field: name, class, whether it holds a constant's key, whether it is a list, the unit of its time.
pub(crate) type Field = (&'static str, u64, bool, bool, &'static str);

#[derive(Clone)]
pub(crate) struct Chunk {
    pub(crate) classes: Vec<(u64, &'static str, Vec<Field>)>,
    /// Class, key and value of each.
    pub(crate) constants: Vec<(u64, u64, Vec<u8>)>,
    /// Class and fields of each.
    pub(crate) events: Vec<(u64, Vec<u8>)>,
    pub(crate) start_nanos: i64,
    pub(crate) start_ticks: i64,
    pub(crate) ticks_per_second: i64,
}

pub(crate) const LONG: u64 = 10;
pub(crate) const INT: u64 = 11;
pub(crate) const BOOLEAN: u64 = 12;
pub(crate) const STRING: u64 = 13;
pub(crate) const SYMBOL: u64 = 20;
pub(crate) const CLASS: u64 = 21;
pub(crate) const METHOD: u64 = 22;
pub(crate) const FRAME: u64 = 23;
pub(crate) const STACK: u64 = 24;
pub(crate) const THREAD: u64 = 25;
pub(crate) const STATE: u64 = 26;
const TIMESPAN: u64 = 30;

/// A field of a number or a text.
pub(crate) const fn plain(name: &'static str, class: u64) -> Field {
    (name, class, false, false, "")
}

/// A field of a span of time in ticks.
pub(crate) const fn ticks(name: &'static str) -> Field {
    (name, LONG, false, false, "TICKS")
}

/// A field that holds the key of a constant.
pub(crate) const fn constant(name: &'static str, class: u64) -> Field {
    (name, class, true, false, "")
}

/// A text in UTF-8.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [vec![3], varint(text.len() as u64), text.as_bytes().to_vec()].concat()
}

pub(crate) fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| varint(*number)).collect()
}

impl Chunk {
    /// The classes that a JDK has, the stack `App.leaf` (line 7) called by `App.main`, a thread, two states; no events.
    /// Two ticks are a nanosecond.
    pub(crate) fn new() -> Self {
        let classes = vec![
            (LONG, "long", vec![]),
            (INT, "int", vec![]),
            (BOOLEAN, "boolean", vec![]),
            (STRING, "java.lang.String", vec![]),
            (14, "float", vec![]),
            (SYMBOL, "jdk.types.Symbol", vec![plain("string", STRING)]),
            (CLASS, "java.lang.Class", vec![constant("name", SYMBOL)]),
            (
                METHOD,
                "jdk.types.Method",
                vec![constant("type", CLASS), constant("name", SYMBOL), constant("descriptor", SYMBOL)],
            ),
            (FRAME, "jdk.types.StackFrame", vec![constant("method", METHOD), plain("lineNumber", INT)]),
            (STACK, "jdk.types.StackTrace", vec![plain("truncated", BOOLEAN), ("frames", FRAME, false, true, "")]),
            (
                THREAD,
                "java.lang.Thread",
                vec![
                    plain("osName", STRING),
                    plain("osThreadId", LONG),
                    plain("javaName", STRING),
                    plain("javaThreadId", LONG),
                ],
            ),
            (STATE, "jdk.types.ThreadState", vec![plain("name", STRING)]),
            (TIMESPAN, "jdk.jfr.Timespan", vec![]),
        ];
        let frame = |method, line| numbers(&[method, line]);
        let constants = vec![
            (SYMBOL, 1, text("com/shop/App")),
            (SYMBOL, 2, text("main")),
            (SYMBOL, 3, text("leaf")),
            (SYMBOL, 4, text("()V")),
            (SYMBOL, 5, text("[Lcom/shop/Cart;")),
            (CLASS, 1, numbers(&[1])),
            (CLASS, 2, numbers(&[5])),
            (METHOD, 1, numbers(&[1, 2, 4])),
            (METHOD, 2, numbers(&[1, 3, 4])),
            // A line of -1 is not known.
            (STACK, 1, [vec![0], varint(2), frame(2, 7), frame(1, 0xffff_ffff)].concat()),
            (THREAD, 1, [text("os"), varint(77), text("worker"), varint(3)].concat()),
            (STATE, 1, text("STATE_RUNNABLE")),
            (STATE, 2, text("STATE_SLEEPING")),
        ];
        Self {
            classes,
            constants,
            events: vec![],
            start_nanos: 1_000_000,
            start_ticks: 500,
            ticks_per_second: 2_000_000_000,
        }
    }

    /// A class of events.
    pub(crate) fn class(&mut self, id: u64, name: &'static str, fields: &[Field]) -> &mut Self {
        let start = [plain("startTime", LONG)];
        self.classes.push((id, name, start.iter().chain(fields).copied().collect()));
        self
    }

    /// An event: its time in ticks, its other fields.
    pub(crate) fn event(&mut self, class: u64, time: u64, fields: &[Vec<u8>]) -> &mut Self {
        self.events.push((class, [varint(time), fields.concat()].concat()));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body: Vec<u8> = self.events.iter().flat_map(|(class, fields)| event(*class, fields)).collect();
        let metadata_at = 68 + body.len();
        body.extend(event(0, &self.metadata()));
        let constants_at = 68 + body.len();
        body.extend(event(1, &self.pools()));
        let mut out = b"FLR\0\0\x02\0\x01".to_vec();
        let size = i64::try_from(68 + body.len()).unwrap();
        let [metadata_at, constants_at] = [metadata_at, constants_at].map(|at| i64::try_from(at).unwrap());
        let header =
            [size, constants_at, metadata_at, self.start_nanos, 9_000, self.start_ticks, self.ticks_per_second];
        out.extend(header.iter().flat_map(|number| number.to_be_bytes()));
        out.extend(1u32.to_be_bytes());
        out.extend(body);
        out
    }

    fn metadata(&self) -> Vec<u8> {
        let mut texts = Texts(Vec::new());
        let classes: Vec<Vec<u8>> = self
            .classes
            .iter()
            .map(|(id, name, fields)| {
                let fields = fields.iter().map(|(name, class, is_constant, is_list, unit)| {
                    let mut attributes = vec![("name", (*name).to_owned()), ("class", class.to_string())];
                    attributes.extend(is_constant.then(|| ("constantPool", "true".to_owned())));
                    attributes.extend(is_list.then(|| ("dimension", "1".to_owned())));
                    let annotation = [("class", TIMESPAN.to_string()), ("value", (*unit).to_owned())];
                    let annotations: Vec<Vec<u8>> =
                        (!unit.is_empty()).then(|| texts.element("annotation", &annotation, &[])).into_iter().collect();
                    texts.element("field", &attributes, &annotations)
                });
                let fields: Vec<Vec<u8>> = fields.collect();
                texts.element("class", &[("id", id.to_string()), ("name", (*name).to_owned())], &fields)
            })
            .collect();
        let metadata = texts.element("metadata", &[], &classes);
        let root = texts.element("root", &[], &[metadata]);
        let Texts(texts) = texts;
        let texts = [varint(texts.len() as u64), texts.iter().flat_map(|name| text(name)).collect()].concat();
        [numbers(&[0, 0, 1]), texts, root].concat()
    }

    fn pools(&self) -> Vec<u8> {
        let constants =
            self.constants.iter().map(|(class, key, value)| [numbers(&[*class, 1, *key]), value.clone()].concat());
        let head = [numbers(&[0, 0, 0]), vec![0], varint(self.constants.len() as u64)].concat();
        [head, constants.flatten().collect()].concat()
    }
}

struct Texts(Vec<String>);

impl Texts {
    fn id(&mut self, text: &str) -> u64 {
        let at = self.0.iter().position(|known| known == text).unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        });
        at as u64
    }

    fn element(&mut self, name: &str, attributes: &[(&str, String)], children: &[Vec<u8>]) -> Vec<u8> {
        let mut out = varint(self.id(name));
        out.extend(varint(attributes.len() as u64));
        for (key, value) in attributes {
            out.extend(varint(self.id(key)));
            out.extend(varint(self.id(value)));
        }
        out.extend(varint(children.len() as u64));
        out.extend(children.concat());
        out
    }
}

/// An event with its size in front, in four bytes as the JDK writes it.
pub(crate) fn event(class: u64, fields: &[u8]) -> Vec<u8> {
    let class = varint(class);
    let size = 4 + class.len() + fields.len();
    let bits = |shift: usize| (size >> shift & 0x7f).to_le_bytes()[0];
    [vec![bits(0) | 0x80, bits(7) | 0x80, bits(14) | 0x80, bits(21)], class, fields.to_vec()].concat()
}
