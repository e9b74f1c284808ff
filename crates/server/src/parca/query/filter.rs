//! What of stacks a request wants: filters of whole stacks, filters of frames, a function to look at from both sides.
//!
//! Conditions compare text without regard to the case of letters, as Parca does. What a frame does not have is empty, or 0.

use flamestore_model::{Error, Result};
use flamestore_proto::parca::query::v1alpha1 as v1;

use super::frames::{Frame, Texts, base_name};

/// Conditions on stacks of one request: a bit each.
pub(super) const STACK_CONDITIONS_MAX: usize = 64;
/// Conditions on frames of one request, and names in them.
const FRAME_CONDITIONS_MAX: usize = 1024;

/// What of stacks is kept, and how they are turned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// All must hold for a stack: what is not negated for some frame of it, what is negated for all.
    pub(super) stacks: Vec<Condition>,
    /// Of each, one must hold for a frame.
    pub(super) frames: Vec<Vec<Condition>>,
    /// The function that stacks begin with.
    pub(super) sandwich: Option<String>,
    /// Whether stacks begin with their leaves.
    pub(super) is_inverted: bool,
}

/// A condition on a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    test: Test,
    pub(super) is_negated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Text { field: Field, how: How, wanted: String },
    Address(u64),
    Line(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    FunctionName,
    SystemName,
    Binary,
    Filename,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Equal,
    Contains,
    StartsWith,
}

impl Condition {
    fn contains(field: Field, wanted: &str, is_negated: bool) -> Self {
        Self::text(field, How::Contains, wanted, is_negated)
    }

    fn text(field: Field, how: How, wanted: &str, is_negated: bool) -> Self {
        Self { test: Test::Text { field, how, wanted: wanted.to_lowercase() }, is_negated }
    }

    /// Whether a frame is what the condition, if it were not negated, is about.
    pub(super) fn is_met(&self, texts: &Texts, frame: &Frame) -> bool {
        match &self.test {
            Test::Address(address) => frame.address == *address,
            Test::Line(line) => u64::try_from(frame.line) == Ok(*line),
            Test::Text { field, how, wanted } => {
                let text = match field {
                    Field::FunctionName => texts.text(frame.name),
                    Field::SystemName => texts.text(frame.system_name),
                    Field::Binary => texts.text(frame.mapping_file),
                    Field::Filename => texts.text(frame.filename),
                };
                let text = text.to_lowercase();
                let text = if *field == Field::Binary { base_name(&text) } else { &text };
                match how {
                    How::Equal => text == wanted,
                    How::Contains => text.contains(wanted.as_str()),
                    How::StartsWith => text.starts_with(wanted.as_str()),
                }
            }
        }
    }
}

impl Shape {
    /// What `request` wants of stacks.
    ///
    /// # Errors
    /// `Invalid` for a filter that says nothing, `Exhausted` for too many, `Unsupported` for one by run time.
    #[expect(deprecated, reason = "clients of before filters send them")]
    pub(super) fn new(request: &v1::QueryRequest) -> Result<Self> {
        let mut shape = Self {
            sandwich: request.sandwich_by_function.clone().filter(|name| !name.is_empty()),
            is_inverted: request.invert_call_stack.unwrap_or_default(),
            ..Self::default()
        };
        if let Some(part) = request.filter_query.as_deref().filter(|part| !part.is_empty()) {
            shape.stacks.push(Condition::contains(Field::FunctionName, part, false));
        }
        if request.runtime_filter.is_some() {
            return Err(Error::unsupported("runtime_filter is not answered: filter frames by binary or file name"));
        }
        for (at, filter) in request.filter.iter().enumerate() {
            shape.add(filter).map_err(|error| error.with("filter", at))?;
        }
        let conditions: usize = shape.frames.iter().map(Vec::len).sum();
        if shape.stacks.len() > STACK_CONDITIONS_MAX || conditions > FRAME_CONDITIONS_MAX {
            return Err(Error::exhausted("too many conditions in one request")
                .with("stack_conditions_max", STACK_CONDITIONS_MAX)
                .with("frame_conditions_max", FRAME_CONDITIONS_MAX));
        }
        Ok(shape)
    }

    #[expect(deprecated, reason = "clients of before criteria send them")]
    fn add(&mut self, filter: &v1::Filter) -> Result<()> {
        use v1::{filter, frame_filter, stack_filter};
        let nothing = || Error::invalid("a filter says nothing");
        match filter.filter.as_ref().ok_or_else(nothing)? {
            filter::Filter::StackFilter(stack) => match stack.filter.as_ref().ok_or_else(nothing)? {
                stack_filter::Filter::FunctionNameStackFilter(named) => {
                    self.stacks.push(Condition::contains(
                        Field::FunctionName,
                        &named.function_to_filter,
                        named.exclude,
                    ));
                }
                stack_filter::Filter::Criteria(criteria) => self.stacks.extend(conditions(criteria)?),
            },
            filter::Filter::FrameFilter(frame) => match frame.filter.as_ref().ok_or_else(nothing)? {
                frame_filter::Filter::BinaryFrameFilter(binaries) if binaries.include_binaries.is_empty() => {
                    return Err(nothing());
                }
                frame_filter::Filter::BinaryFrameFilter(binaries) => {
                    let binary = |name: &String| Condition::text(Field::Binary, How::Equal, base_name(name), false);
                    self.frames.push(binaries.include_binaries.iter().map(binary).collect());
                }
                frame_filter::Filter::Criteria(criteria) => {
                    self.frames.extend(conditions(criteria)?.into_iter().map(|condition| vec![condition]));
                }
            },
        }
        Ok(())
    }

    /// Which conditions on stacks a frame meets: a bit each.
    pub(super) fn met(&self, texts: &Texts, frame: &Frame) -> u64 {
        let met = self.stacks.iter().zip(0_u32..).filter(|(condition, _)| condition.is_met(texts, frame));
        met.fold(0, |bits, (_, at)| bits | 1 << at)
    }

    /// Whether a stack is kept whose frames meet the conditions `met`.
    pub(super) fn keeps_stack(&self, met: u64) -> bool {
        self.stacks.iter().zip(0_u32..).all(|(condition, at)| (met >> at & 1 == 1) != condition.is_negated)
    }

    /// Whether a frame is kept.
    pub(super) fn keeps_frame(&self, texts: &Texts, frame: &Frame) -> bool {
        let holds = |condition: &Condition| condition.is_met(texts, frame) != condition.is_negated;
        self.frames.iter().all(|any| any.iter().any(holds))
    }
}

/// The conditions of criteria, all of which must hold.
fn conditions(criteria: &v1::FilterCriteria) -> Result<Vec<Condition>> {
    use v1::{number_condition, string_condition};
    let texts = [
        (Field::FunctionName, &criteria.function_name),
        (Field::SystemName, &criteria.system_name),
        (Field::Binary, &criteria.binary),
        (Field::Filename, &criteria.filename),
    ];
    let nothing = || Error::invalid("a condition of a filter says nothing");
    let mut all = Vec::new();
    for (field, condition) in texts.into_iter().filter_map(|(field, condition)| Some((field, condition.as_ref()?))) {
        use string_condition::Condition as C;
        let (how, wanted, is_negated) = match condition.condition.as_ref().ok_or_else(nothing)? {
            C::Equal(wanted) => (How::Equal, wanted, false),
            C::NotEqual(wanted) => (How::Equal, wanted, true),
            C::Contains(wanted) => (How::Contains, wanted, false),
            C::NotContains(wanted) => (How::Contains, wanted, true),
            C::StartsWith(wanted) => (How::StartsWith, wanted, false),
            C::NotStartsWith(wanted) => (How::StartsWith, wanted, true),
        };
        all.push(Condition::text(field, how, wanted, is_negated));
    }
    let numbers = [(Test::Address as fn(u64) -> Test, &criteria.address), (Test::Line, &criteria.line_number)];
    for (test, condition) in numbers.into_iter().filter_map(|(test, condition)| Some((test, condition.as_ref()?))) {
        use number_condition::Condition as C;
        let (wanted, is_negated) = match condition.condition.as_ref().ok_or_else(nothing)? {
            C::Equal(wanted) => (*wanted, false),
            C::NotEqual(wanted) => (*wanted, true),
        };
        all.push(Condition { test: test(wanted), is_negated });
    }
    match all.is_empty() {
        true => Err(Error::invalid("a filter has no conditions")),
        false => Ok(all),
    }
}
