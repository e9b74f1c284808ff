//! Verification of sealed dictionaries and call trees that were read from somewhere. What sealing and merging promise is
//! checked here once more, so that everything else may rely on it.

use std::cmp::Ordering;

use flamestore_model::{Error, NONE, Result};

use crate::byte_strings::index;
use crate::dictionary::mapping_key;
use crate::symbols::label_order;
use crate::{CallTree, Dictionary};

pub(crate) fn dictionary(dictionary: &Dictionary) -> Result<()> {
    strings(dictionary)?;
    mappings(dictionary)?;
    functions(dictionary)?;
    locations(dictionary)?;
    label_sets(dictionary)
}

fn strings(dictionary: &Dictionary) -> Result<()> {
    let strings = &dictionary.strings;
    if strings.is_empty() || !strings.get(0).is_empty() {
        return Err(Error::corrupt("string 0 is not the empty string"));
    }
    rising("string", strings.len(), |a, b| strings.get(a).cmp(strings.get(b)))
}

fn mappings(dictionary: &Dictionary) -> Result<()> {
    let mappings = &dictionary.mappings;
    for (row, mapping) in mappings.iter().enumerate() {
        refers("mapping", row, "string", mapping.filename, dictionary.strings.len())?;
        refers("mapping", row, "string", mapping.build_id, dictionary.strings.len())?;
    }
    let key = |row: u32| mapping_key(&mappings[row as usize]);
    rising("mapping", mappings.len(), |a, b| key(a).cmp(&key(b)))
}

fn functions(dictionary: &Dictionary) -> Result<()> {
    let functions = &dictionary.functions;
    let lengths = [functions.system_name.len(), functions.filename.len(), functions.start_line.len()];
    same_lengths("function", functions.len(), &lengths)?;
    for row in 0..functions.len() {
        for string in [functions.name[row], functions.system_name[row], functions.filename[row]] {
            refers("function", row, "string", string, dictionary.strings.len())?;
        }
    }
    let key = |row: u32| {
        let function = functions.get(row);
        (function.name, function.system_name, function.filename, function.start_line)
    };
    rising("function", functions.len(), |a, b| key(a).cmp(&key(b)))
}

fn locations(dictionary: &Dictionary) -> Result<()> {
    let locations = &dictionary.locations;
    same_lengths("location", locations.len(), &[locations.address.len(), locations.is_folded.len()])?;
    let lines = locations.line_function.len();
    same_lengths("line", lines, &[locations.line_line.len(), locations.line_column.len()])?;
    offsets("location", &locations.line_offsets, locations.len(), lines)?;
    for (row, &mapping) in locations.mapping.iter().enumerate().filter(|(_, mapping)| **mapping != NONE) {
        refers("location", row, "mapping", mapping, dictionary.mappings.len())?;
    }
    for (row, &function) in locations.line_function.iter().enumerate().filter(|(_, function)| **function != NONE) {
        refers("line", row, "function", function, dictionary.functions.len())?;
    }
    rising("location", locations.len(), |a, b| locations.key(a).compare(&locations.key(b)))
}

fn label_sets(dictionary: &Dictionary) -> Result<()> {
    let sets = &dictionary.label_sets;
    offsets("label set", &sets.offsets, sets.offsets.len().saturating_sub(1), sets.labels.len())?;
    for row in 0..sets.len() {
        let labels = sets.get(index(row));
        let ordered = labels.is_sorted_by_key(|label| (label_order(label).0, label_order(label).1));
        if labels.is_empty() || !ordered {
            return Err(Error::corrupt(format!("label set {row} is empty or not ordered by key")));
        }
        for label in labels {
            refers("label set", row, "string", label.key, dictionary.strings.len())?;
            refers("label set", row, "string", label_order(label).3, dictionary.strings.len())?;
        }
    }
    let key = |row: u32| sets.get(row).iter().map(label_order);
    rising("label set", sets.len(), |a, b| key(a).cmp(key(b)))
}

pub(crate) fn tree(tree: &CallTree, dictionary: &Dictionary) -> Result<()> {
    same_lengths("call site", tree.len(), &[tree.location.len()])?;
    if tree.parent.first() != Some(&0) || tree.location.first() != Some(&NONE) {
        return Err(Error::corrupt("call site 0 is not the root"));
    }
    // The last child seen of each node on the path from the root to the node before.
    let mut path: Vec<(u32, Option<u32>)> = vec![(0, None)];
    for node in 1..tree.len() {
        let (parent, location) = (tree.parent[node], tree.location[node]);
        refers("call site", node, "location", location, dictionary.locations.len())?;
        while path.len() > 1 && path.last().is_some_and(|(open, _)| *open > parent) {
            path.pop();
        }
        match path.last_mut() {
            Some((open, last)) if *open == parent && last.is_none_or(|last| last < location) => *last = Some(location),
            Some((open, _)) if *open == parent => return Err(unordered("call site", node)),
            _ => return Err(Error::corrupt(format!("call site {node}: its parent {parent} is not on the path to it"))),
        }
        path.push((index(node), None));
    }
    Ok(())
}

fn refers(what: &str, row: usize, table: &str, id: u32, rows: usize) -> Result<()> {
    match (id as usize) < rows {
        true => Ok(()),
        false => Err(Error::corrupt(format!("{what} {row}: {table} {id} is not among the {rows} of the dictionary"))),
    }
}

fn same_lengths(what: &str, expected: usize, lengths: &[usize]) -> Result<()> {
    match lengths.iter().find(|length| **length != expected) {
        None if expected < u32::MAX as usize => Ok(()),
        None => Err(Error::corrupt(format!("more than 2^32 rows in the {what} columns"))),
        Some(found) => Err(Error::corrupt(format!("the {what} columns differ in length"))
            .with("expected", expected)
            .with("found", found)),
    }
}

fn offsets(what: &str, offsets: &[u32], rows: usize, end: usize) -> Result<()> {
    let last = offsets.last().map(|last| *last as usize);
    match offsets.len() == rows + 1 && offsets[0] == 0 && last == Some(end) && offsets.is_sorted() {
        true => Ok(()),
        false => Err(Error::corrupt(format!("the {what} offsets do not cover their rows"))
            .with("offsets", offsets.len())
            .with("expected", rows + 1)),
    }
}

fn rising(what: &str, rows: usize, compare: impl Fn(u32, u32) -> Ordering) -> Result<()> {
    let wrong = (1..index(rows)).find(|&row| compare(row - 1, row) != Ordering::Less);
    wrong.map_or(Ok(()), |row| Err(unordered(what, row as usize)))
}

fn unordered(what: &str, row: usize) -> Error {
    Error::corrupt(format!("{what} {row} is not after the one before it in canonical order"))
}
