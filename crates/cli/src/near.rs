//! Names like one that was not found.

/// Names that are shown at most.
const NEAR_MAX: usize = 5;

/// The names that hold `wanted`, letter case aside, or differ from it in a third of its letters at most: the nearest first.
pub(crate) fn near(wanted: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let lower: Vec<char> = wanted.to_lowercase().chars().collect();
    let distance = |name: &String| {
        let name = name.to_lowercase();
        let held = !lower.is_empty() && name.contains(&wanted.to_lowercase());
        let distance = changes(&lower, &name.chars().collect::<Vec<_>>());
        (held || distance <= lower.len() / 3).then_some(distance)
    };
    let mut near: Vec<(usize, String)> = names.into_iter().filter_map(|name| Some((distance(&name)?, name))).collect();
    near.sort();
    near.truncate(NEAR_MAX);
    near.into_iter().map(|(_, name)| name).collect()
}

/// How many letters have to be put in, left out or replaced to make one of the other.
fn changes(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in to.iter().enumerate() {
            let replaced = corner + usize::from(letter != other);
            corner = row[column + 1];
            row[column + 1] = replaced.min(corner + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_near_by_parts_and_by_letters() {
        let check = |wanted: &str, expected: &[&str]| {
            let names = ["main", "runtime.mallocgc", "read", "Reader.read", "write", "ü"].map(str::to_owned);
            assert_eq!(near(wanted, names), expected, "{wanted}");
        };
        check("READ", &["read", "Reader.read"]);
        check("mallocgc", &["runtime.mallocgc"]);
        check("wrote", &["write"]);
        check("wirte", &[]);
        check("main.main.main", &[]);
        check("", &[]);
    }

    #[test]
    fn changes_are_counted_both_ways() {
        let count = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| text.chars().collect::<Vec<_>>());
            assert_eq!(changes(&a, &b), changes(&b, &a));
            changes(&a, &b)
        };
        assert_eq!((count("", "abc"), count("read", "reads"), count("kitten", "sitting")), (3, 1, 3));
    }
}
