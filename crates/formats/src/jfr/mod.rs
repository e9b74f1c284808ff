//! Java Flight Recorder: the recordings of the JDK, of async-profiler (and Pyroscope's agent), of Datadog's.
//!
//! | profile | events | values |
//! |---|---|---|
//! | `process_cpu` | `jdk.ExecutionSample` | samples, nanoseconds: each the period of the settings |
//! | `process_cpu` | `jdk.CPUTimeSample` | samples, nanoseconds: each its own period |
//! | `wall` | `profiler.WallClockSample`; execution samples where the profiler ran by the clock on the wall | samples, nanoseconds |
//! | `native` | `jdk.NativeMethodSample`: threads in native code, most of which wait | samples, nanoseconds |
//! | `memory` | `jdk.ObjectAllocationInNewTLAB`, `…OutsideTLAB`, `jdk.ObjectAllocationSample`, `profiler.Malloc` | objects, bytes |
//! | `memory` | `profiler.LiveObject` | objects, bytes: what is there |
//! | `mutex`, `block` | `jdk.JavaMonitorEnter`, `jdk.ThreadPark` | contentions, nanoseconds |
//!
//! A recording that has both kinds of samples of CPU time has them as two profiles: its execution samples are named `execution`.
//!
//! Each event is a row. Its labels: thread, state, class, context, span, and when it was. Ticks are turned into nanoseconds by
//! the clock of their chunk. Functions are named `pkg.Class.method`, their system names `pkg/Class.method(descriptor)`.
//!
//! The classes of a chunk say how its bytes are read, so a class may be made to read little as much: what that can come
//! to is bounded by the bytes, and what profiles hold by the limits, which they share.

mod chunk;
mod context;
mod cursor;
mod events;
mod metadata;
mod settings;
mod symbols;

use std::cell::Cell;

use bytes::Bytes;
use flamestore_model::{Error, Label, LabelValue, ProfileBatch, Result};
use hashbrown::HashMap;

use crate::limits::within;
use crate::{Limits, SPAN_ID, TIMESTAMP};
use chunk::{Chunk, Value, split_chunk};
use context::Contexts;
use cursor::Cursor;
use events::{Event, PROFILES, Profile, SLOTS, Slot};
use metadata::TimeUnit;
use settings::{Settings, ThreadState};
use symbols::{Adder, Growing, Spent};

/// What a recording does not say of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JfrOptions {
    /// What lies between two samples, where the recording does not say it: of a rate of 100 Hz, 10,000,000.
    pub period_nanos: Option<i64>,
    /// The labels that Pyroscope's agent sends beside the recording, compressed or not.
    pub labels: Option<Bytes>,
}

/// One profile of a recording.
#[derive(Clone, Debug)]
pub struct JfrProfile {
    /// The name of its profile type: `process_cpu`, `execution`, `wall`, `native`, `memory`, `mutex` or `block`.
    pub name: &'static str,
    /// Its two sample types and its samples.
    pub batch: ProfileBatch,
}

/// Reads a recording, compressed or not: a profile for each kind of event that it has.
///
/// # Errors
/// `Invalid` when the bytes are no whole recording, or a chunk contradicts itself, naming it; `Exhausted` when the profiles
/// together are over a limit.
pub fn decode_jfr(bytes: Bytes, options: &JfrOptions, limits: &Limits) -> Result<Vec<JfrProfile>> {
    let bytes = crate::decompress(bytes, limits)?;
    let labels = options.labels.clone().map(|labels| crate::decompress(labels, limits)).transpose()?;
    let contexts = match &labels {
        Some(labels) => {
            Contexts::read(labels, limits).map_err(|e| Error::new(e.kind(), "labels of the recording").because(e))?
        }
        None => Contexts::default(),
    };
    let mut recording = Recording {
        options,
        limits,
        contexts,
        spent: Spent::default(),
        states: HashMap::new(),
        labels: Vec::new(),
        profiles: std::array::from_fn(|_| None),
        time: None,
    };
    let (mut rest, mut number) = (&bytes[..], 0);
    while number == 0 || !rest.is_empty() {
        let (chunk, behind) = split_chunk(rest).map_err(|e| in_chunk(number, e))?;
        let read = Chunk::read(chunk, limits).and_then(|chunk| recording.chunk(&chunk));
        read.map_err(|e| in_chunk(number, e))?;
        (rest, number) = (behind, number + 1);
        within("profiles_max", limits.profiles_max, number)?;
    }
    recording.finish()
}

#[cold]
fn in_chunk(number: usize, error: Error) -> Error {
    Error::new(error.kind(), format!("chunk {number}")).because(error)
}

struct Recording<'a> {
    options: &'a JfrOptions,
    limits: &'a Limits,
    contexts: Contexts<'a>,
    spent: Spent,
    /// States of threads that were looked up in the current chunk, by class and key.
    states: HashMap<(u32, i64), ThreadState>,
    /// Room for the labels of an event.
    labels: Vec<Label>,
    /// In the order of [`PROFILES`].
    profiles: [Option<Growing>; PROFILES.len()],
    /// When the recording started and ended.
    time: Option<(i64, i64)>,
}

/// The most samples that room is made for at once, before they are read.
const ROWS_RESERVED_MAX: usize = 1 << 14;
/// Labels of most samples: the thread's name and number, its state, the time.
const LABELS_EXPECTED: usize = 4;

/// How an event's class is read.
struct Shape {
    event: Event,
    class_id: i64,
    /// For each field of the class.
    slots: Vec<Option<Slot>>,
    /// What the times of the event count.
    units: [TimeUnit; SLOTS],
    /// Events of the class in the chunk that room was not made for.
    ahead: Cell<usize>,
}

/// An event's values by slot.
type Values<'a> = [Option<Value<'a>>; SLOTS];

const NO_VALUES: Values<'static> = [None; SLOTS];

impl Recording<'_> {
    fn chunk(&mut self, chunk: &Chunk<'_>) -> Result<()> {
        let clock = chunk.clock;
        let end = clock.start_nanos.saturating_add(clock.duration_nanos.max(0));
        let (start_min, end_max) = self.time.unwrap_or((clock.start_nanos, end));
        self.time = Some((start_min.min(clock.start_nanos), end_max.max(end)));
        let shapes = shapes(chunk);
        let settings = self.settings(chunk, &shapes)?;
        let mut values = NO_VALUES;
        chunk.each_event(|class, cursor| match shapes.get(&class) {
            None | Some(Shape { event: Event::Setting, .. }) => Ok(()),
            Some(shape) => {
                read_values(chunk, class, shape, cursor, &mut values)?;
                self.event(chunk, shape, &settings, &values)
            }
        })?;
        self.profiles.iter_mut().flatten().for_each(Growing::end_chunk);
        self.states.clear();
        Ok(())
    }

    /// What an event says of the state of its thread.
    fn state(&mut self, chunk: &Chunk<'_>, values: &Values<'_>) -> Result<ThreadState> {
        let value = values[Slot::State as usize];
        let constant = if let Some(Value::Constant(class, key)) = value { Some((class, key)) } else { None };
        if let Some(known) = constant.and_then(|constant| self.states.get(&constant)) {
            return Ok(*known);
        }
        let state = ThreadState::named(&chunk.short_text(value, "name")?);
        if let Some(constant) = constant {
            self.states.insert(constant, state);
        }
        Ok(state)
    }

    /// What the chunk says of its settings, wherever it does. Events are counted on the way.
    fn settings(&self, chunk: &Chunk<'_>, shapes: &HashMap<u32, Shape>) -> Result<Settings> {
        let has_wall_clock = shapes.values().any(|shape| shape.event == Event::WallClock);
        let mut settings = Settings::new(self.options.period_nanos, has_wall_clock);
        let mut values = NO_VALUES;
        chunk.each_event(|class, cursor| {
            let Some(shape) = shapes.get(&class) else { return Ok(()) };
            if shape.event != Event::Setting {
                shape.ahead.set(shape.ahead.get() + 1);
                return Ok(());
            }
            read_values(chunk, class, shape, cursor, &mut values)?;
            let name = chunk.short_text(values[Slot::SettingName as usize], "string")?;
            let value = chunk.short_text(values[Slot::SettingValue as usize], "string")?;
            settings.take(number(&values, Slot::SettingOf), &name, &value);
            Ok(())
        })?;
        Ok(settings)
    }

    fn event(&mut self, chunk: &Chunk<'_>, shape: &Shape, settings: &Settings, values: &Values<'_>) -> Result<()> {
        let number = |slot| number(values, slot);
        let span = |slot: Slot| chunk.clock.span(number(slot), shape.units[slot as usize]);
        let size = number(Slot::Size);
        let (profile, period, counted) = match shape.event {
            Event::Setting => return Ok(()),
            Event::Execution | Event::WeightedExecution => {
                let (period, wall) = (settings.period_nanos(shape.class_id), settings.wall_nanos());
                let count = weight(values);
                let clocks = settings.clocks(self.state(chunk, values)?);
                if clocks.wall {
                    self.add((Profile::Wall, wall), chunk, shape, values, [count, count.saturating_mul(wall)])?;
                }
                if !clocks.cpu {
                    return Ok(());
                }
                (Profile::Execution, period, [count, count.saturating_mul(period)])
            }
            Event::WallClock => {
                let period = settings.wall_nanos();
                let count = values[Slot::Samples as usize].map_or(1, |_| number(Slot::Samples));
                let state = self.state(chunk, values)?;
                if settings.is_wall() && state == ThreadState::Runnable {
                    let counted = [count, count.saturating_mul(period)];
                    self.add((Profile::Execution, period), chunk, shape, values, counted)?;
                }
                (Profile::Wall, period, [count, count.saturating_mul(period)])
            }
            Event::WeightedWall => {
                let (period, count) = (settings.wall_nanos(), weight(values));
                (Profile::Wall, period, [count, count.saturating_mul(period)])
            }
            Event::CpuTime => {
                let period = span(Slot::SamplingPeriod);
                (Profile::CpuTime, period, [1, period])
            }
            Event::Native => {
                let period = settings.period_nanos(shape.class_id);
                (Profile::Native, period, [1, period])
            }
            Event::AllocInNewTlab => (Profile::AllocInNewTlab, 0, [1, number(Slot::TlabSize)]),
            Event::AllocOutsideTlab => (Profile::AllocOutsideTlab, 0, [1, size]),
            Event::AllocSample => (Profile::AllocSample, 0, [1, number(Slot::Weight)]),
            Event::Live => (Profile::Live, 0, [1, size]),
            Event::Malloc => (Profile::Malloc, 0, [1, size]),
            Event::MonitorEnter => (Profile::Mutex, 1, [1, span(Slot::Duration)]),
            Event::Park => (Profile::Block, 1, [1, span(Slot::Duration)]),
        };
        self.add((profile, period), chunk, shape, values, counted)
    }

    /// Adds an event to a profile.
    fn add(
        &mut self,
        (profile, period): (Profile, i64),
        chunk: &Chunk<'_>,
        shape: &Shape,
        values: &Values<'_>,
        counted: [i64; 2],
    ) -> Result<()> {
        let spec = &PROFILES[profile as usize];
        let growing = self.profiles[profile as usize].get_or_insert_with(|| {
            let mut growing = Growing::new(spec);
            growing.builder.period(spec.period.0, spec.period.1, period);
            growing
        });
        match shape.ahead.take() {
            0 => {}
            rows => growing.builder.reserve_rows(rows.min(ROWS_RESERVED_MAX), spec.types.len(), LABELS_EXPECTED),
        }
        let mut adder = Adder { growing, spent: &mut self.spent, chunk, limits: self.limits };
        let value = |slot: Slot| values[slot as usize];
        let mut labels = std::mem::take(&mut self.labels);
        labels.clear();
        adder.thread(value(Slot::Thread), &mut labels)?;
        adder.text("thread_state", value(Slot::State), "name", &mut labels)?;
        adder.text("class", value(Slot::Class), "name", &mut labels)?;
        for (key, text) in self.contexts.labels(number(values, Slot::ContextId)) {
            let label = Label { key: adder.string(key)?, value: LabelValue::Str(adder.string(text)?) };
            // The agent's users like to name the thread, which is known.
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        for (slot, key) in [(Slot::SpanId, SPAN_ID), (Slot::LocalRootSpanId, "local_root_span_id")] {
            let id = number(values, slot);
            if id != 0 {
                labels.push(adder.text_label(key, format!("{id:016x}").as_bytes())?);
            }
        }
        if let Some(name) = self.contexts.string(number(values, Slot::SpanName)) {
            labels.push(adder.text_label("span_name", name)?);
        }
        let time = chunk.clock.time(number(values, Slot::StartTime), shape.units[Slot::StartTime as usize]);
        let (key, unit) = (adder.name(TIMESTAMP)?, adder.name("nanoseconds")?);
        labels.push(Label { key, value: LabelValue::Num(time, unit) });
        adder.sample(value(Slot::StackTrace), counted, &labels)?;
        self.labels = labels;
        Ok(())
    }

    fn finish(self) -> Result<Vec<JfrProfile>> {
        let (start, end) = self.time.unwrap_or_default();
        let has_cpu_time = self.profiles[Profile::CpuTime as usize].is_some();
        let mut profiles = Vec::new();
        for (spec, growing) in PROFILES.iter().zip(self.profiles) {
            let Some(mut growing) = growing else { continue };
            growing.builder.time(start, end.saturating_sub(start));
            let is_second = has_cpu_time && spec.profile == Profile::Execution;
            let name = if is_second { "execution" } else { spec.name };
            profiles.push(JfrProfile { name, batch: growing.builder.finish()? });
        }
        Ok(profiles)
    }
}

/// How the events of a chunk that matter are read, by class.
fn shapes(chunk: &Chunk<'_>) -> HashMap<u32, Shape> {
    let classes = (0..).zip(&chunk.classes.classes);
    let shapes = classes.filter_map(|(number, class)| {
        let event = Event::named(&class.name)?;
        let slots: Vec<Option<Slot>> = class.fields.iter().map(|field| Slot::named(event, &field.name)).collect();
        let mut units = [TimeUnit::Ticks; SLOTS];
        for (slot, field) in slots.iter().zip(&class.fields) {
            if let Some(slot) = slot {
                units[*slot as usize] = field.unit;
            }
        }
        Some((number, Shape { event, class_id: class.id, slots, units, ahead: Cell::default() }))
    });
    shapes.collect()
}

/// Reads the values of an event at the cursor, in place of those that were there: there are many events.
fn read_values<'a>(
    chunk: &Chunk<'a>,
    class: u32,
    shape: &Shape,
    mut cursor: Cursor<'a>,
    values: &mut Values<'a>,
) -> Result<()> {
    chunk.check_readable(class, &cursor)?;
    values.fill(None);
    for (field, slot) in chunk.classes.get(class).fields.iter().zip(&shape.slots) {
        match slot {
            Some(slot) => values[*slot as usize] = Some(chunk.field(&mut cursor, field)?),
            None => chunk.skip_field(&mut cursor, field)?,
        }
    }
    Ok(())
}

/// The number in a slot; 0 where there is none.
fn number(values: &Values<'_>, slot: Slot) -> i64 {
    match values[slot as usize] {
        Some(Value::Int(number)) => number,
        #[expect(clippy::cast_possible_truncation, reason = "a weight beyond 64 bits is cut off at them")]
        Some(Value::Float(number)) => number.round() as i64,
        _ => 0,
    }
}

/// How many samples one stands for.
fn weight(values: &Values<'_>) -> i64 {
    values[Slot::Weight as usize].map_or(1, |_| number(values, Slot::Weight))
}
