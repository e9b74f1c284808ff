//! What was pushed, and what each push is owed.
//!
//! Every profile has a stack of its own, `main;p<number>`, of value 1: its value in an answer says how often it was
//! counted. The rest of an answer is compared with the oracle's over exactly the profiles that the answer holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use flamestore_model::{Labels, ProfileId, Selector, TimeRange};
use flamestore_testkit::{Oracle, profile};

use crate::world::{DAY_START, SECOND};

/// What a push is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// It may be there or not: in flight, ambiguous, or acknowledged by a process that died before it published.
    Anything,
    /// It must not be there.
    Absence,
    /// The process that acknowledged it must answer with it.
    BySelf(String),
    /// It is published: everybody must answer with it.
    ByAll,
}

/// A profile of the simulation.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) service: &'static str,
    pub(crate) time: i64,
    pub(crate) text: String,
    owed: Owed,
}

/// Clones are the same ledger.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<Profile>>>, Arc<Mutex<BTreeMap<&'static str, String>>>);

const SERVICES: [&str; 3] = ["api", "web", "db"];

impl Ledger {
    /// A profile that is about to be pushed, and its number.
    pub(crate) fn begin(&self, time: i64) -> (usize, Profile) {
        let mut profiles = self.0.lock().unwrap();
        let number = profiles.len();
        let service = SERVICES[number % 3];
        let text = format!("main;p{number} 1 | main;shared;f{} {}", number % 5, number % 7 + 1);
        let profile = Profile { service, time, text, owed: Owed::Anything };
        profiles.push(profile.clone());
        (number, profile)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn owe(&self, number: usize, owed: Owed) {
        self.0.lock().unwrap()[number].owed = owed;
    }

    /// Profile `number` was acknowledged by `who`. With a log that outlives it, the process owes it that went on with the log.
    pub(crate) fn acknowledged(&self, number: usize, writer: &'static str, who: &str, outlives: bool) {
        let went_on = self.1.lock().unwrap().get(writer).cloned();
        let owed_by = went_on.filter(|_| outlives).unwrap_or_else(|| who.to_owned());
        self.owe(number, Owed::BySelf(owed_by));
    }

    /// `who` has opened `writer` and goes on with its log: it owes what those before it acknowledged.
    pub(crate) fn takes_over(&self, writer: &'static str, who: &str) {
        self.1.lock().unwrap().insert(writer, who.to_owned());
        let earlier = |owed: &Owed| matches!(owed, Owed::BySelf(by) if by.trim_end_matches(char::is_numeric) == writer);
        self.settle(&self.numbers(earlier), &Owed::BySelf(who.to_owned()));
    }

    /// What `who` acknowledged and did not publish.
    pub(crate) fn unpublished(&self, who: &str) -> Vec<usize> {
        self.numbers(|owed| matches!(owed, Owed::BySelf(by) if by == who))
    }

    /// `numbers` became `owed`.
    pub(crate) fn settle(&self, numbers: &[usize], owed: &Owed) {
        for number in numbers {
            self.owe(*number, owed.clone());
        }
    }

    /// What an answer of `who` must hold.
    pub(crate) fn owed_by(&self, who: &str) -> BTreeSet<usize> {
        let must = |owed: &Owed| *owed == Owed::ByAll || matches!(owed, Owed::BySelf(by) if by == who);
        self.numbers(must).into_iter().collect()
    }

    fn numbers(&self, which: impl Fn(&Owed) -> bool) -> Vec<usize> {
        let profiles = self.0.lock().unwrap();
        (0..profiles.len()).filter(|number| which(&profiles[*number].owed)).collect()
    }

    /// Whether `found`, the merge of everything, keeps what is owed: every one of `must`, nothing that is not there, and
    /// nothing twice. Returns the profiles that it holds.
    pub(crate) fn check(
        &self,
        found: &BTreeMap<String, i64>,
        must: &BTreeSet<usize>,
    ) -> Result<BTreeSet<usize>, String> {
        let number = |stack: &String| stack.strip_prefix("main;p").and_then(|number| number.parse().ok());
        let present: BTreeMap<usize, i64> =
            found.iter().filter_map(|(stack, value)| Some((number(stack)?, *value))).collect();
        if let Some((number, value)) = present.iter().find(|(_, value)| **value != 1) {
            return Err(format!("profile p{number} is counted {value} times"));
        }
        let held: BTreeSet<usize> = present.into_keys().collect();
        let lost: Vec<&usize> = must.difference(&held).collect();
        if !lost.is_empty() {
            return Err(format!("profiles {lost:?} are lost"));
        }
        let refused: BTreeSet<usize> = self.numbers(|owed| *owed == Owed::Absence).into_iter().collect();
        match held.intersection(&refused).next() {
            Some(number) => Err(format!("profile p{number} was refused and is there")),
            None => Ok(held),
        }
    }

    /// The oracle over the profiles `held`.
    pub(crate) fn oracle(&self, held: &BTreeSet<usize>) -> Oracle {
        let profiles = self.0.lock().unwrap();
        let mut oracle = Oracle::new();
        for number in held {
            let of = &profiles[*number];
            let id = ProfileId::from_parts(*number as u64, 0);
            oracle.push(id, &labels(of.service), Some(of.time), profile(&of.text));
        }
        oracle
    }
}

pub(crate) fn labels(service: &str) -> Labels {
    Labels::from_pairs([("service_name", service)]).unwrap()
}

/// The questions that every check asks.
pub(crate) fn questions() -> Vec<(Selector, TimeRange)> {
    let ranges = [
        TimeRange::ALL,
        TimeRange::new(DAY_START, DAY_START + 30 * SECOND).unwrap(),
        TimeRange::new(DAY_START + 10 * SECOND, DAY_START + 600 * SECOND).unwrap(),
    ];
    let selectors = ["{}", "{service_name=\"api\"}", "{service_name!=\"api\"}"];
    let asked = |text: &&str| ranges.map(|range| (text.parse().unwrap(), range));
    selectors.iter().flat_map(asked).collect()
}
