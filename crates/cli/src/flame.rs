//! Flame graphs by levels, as the API sends them, read back into call trees; and drawn.
//!
//! A level lists its nodes left to right. A side of a graph is three numbers a node: offset from the end of the node before
//! it, total, self; one side in a merge, two in a diff; then the name. A node lies below the node of the level above whose
//! extent, over all sides, holds its start.

use flamestore_proto::v1::{FlameGraph, FlameGraphDiff, Level};

use crate::failure::{Failure, Outcome};

/// A node of a call tree, `SIDES` values of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node<const SIDES: usize> {
    /// Its name.
    pub(crate) name: String,
    /// 0 for the root.
    pub(crate) depth: usize,
    /// The node above; the root is above itself.
    pub(crate) parent: usize,
    /// Its own values.
    pub(crate) own: [i64; SIDES],
    /// Its values and those of the nodes below.
    pub(crate) total: [i64; SIDES],
}

/// A call tree in preorder; the root first.
pub(crate) type Tree<const SIDES: usize> = Vec<Node<SIDES>>;

/// The tree of a merge.
///
/// # Errors
/// When the levels contradict themselves.
pub(crate) fn tree(graph: &FlameGraph) -> Outcome<Tree<1>> {
    read(&graph.names, &graph.levels)
}

/// The tree of a diff: before, after.
///
/// # Errors
/// When the levels contradict themselves.
pub(crate) fn diff_tree(graph: &FlameGraphDiff) -> Outcome<Tree<2>> {
    read(&graph.names, &graph.levels)
}

/// `name;name;name value [value]` lines of the nodes with values of their own, as the drawing library reads them: the root is
/// left out, `;` inside a name becomes `:`, and a space before trailing digits one that does not break.
pub(crate) fn drawing_lines<const SIDES: usize>(tree: &Tree<SIDES>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut path: Vec<String> = Vec::new();
    for node in tree.iter().skip(1) {
        path.truncate(node.depth - 1);
        path.push(drawn_name(&node.name));
        if node.own.iter().any(|value| *value != 0) {
            let values: Vec<String> = node.own.iter().map(ToString::to_string).collect();
            lines.push(format!("{} {}", path.join(";"), values.join(" ")));
        }
    }
    lines
}

/// What a drawing says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Caption {
    /// The headline.
    pub(crate) title: String,
    /// The line below.
    pub(crate) subtitle: String,
    /// What the values count.
    pub(crate) unit: String,
}

/// A flame graph of `lines` as an interactive SVG. Lines with two values are coloured by their difference.
///
/// # Errors
/// When there is nothing to draw.
pub(crate) fn svg(lines: &[String], caption: &Caption) -> Outcome<String> {
    if lines.is_empty() {
        return Err(Failure::new("nothing to draw: the answer has no samples")
            .hint("`flamestore types` and `flamestore profiles` list what is there; --from and --to set the range"));
    }
    let mut options = inferno::flamegraph::Options::default();
    options.title.clone_from(&caption.title);
    options.subtitle = Some(caption.subtitle.clone());
    options.count_name = if caption.unit.is_empty() { "samples".to_owned() } else { caption.unit.clone() };
    options.deterministic = true;
    let mut out = Vec::new();
    inferno::flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut out)
        .map_err(|e| Failure::io("the flame graph cannot be drawn", &e))?;
    String::from_utf8(out).map_err(|e| Failure::new(format!("the flame graph cannot be drawn: {e}")))
}

/// A page that holds nothing but `svg`.
pub(crate) fn html(svg: &str, title: &str) -> String {
    // The declarations before the element are for files that are SVG alone.
    let element = svg.find("<svg").map_or(svg, |start| &svg[start..]);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n\
         <style>body {{ margin: 0; background: #fff; }} svg {{ display: block; width: 100%; height: auto; }}</style>\n\
         </head>\n<body>\n{element}\n</body>\n</html>\n",
        escape(title)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn drawn_name(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| {
            if c == ';' {
                ':'
            } else if c.is_control() {
                ' '
            } else {
                c
            }
        })
        .collect();
    match name.trim() {
        "" => "(no name)".to_owned(),
        name => match name.rsplit_once(' ') {
            Some((head, digits)) if digits.chars().all(|c| c.is_ascii_digit() || c == '.') => {
                format!("{head}\u{a0}{digits}")
            }
            _ => name.to_owned(),
        },
    }
}

/// A node where its level has it: where it starts and what lies below.
struct Placed<const SIDES: usize> {
    start: i128,
    width: i128,
    node: Node<SIDES>,
    children: Vec<usize>,
}

fn read<const SIDES: usize>(names: &[String], levels: &[Level]) -> Outcome<Tree<SIDES>> {
    let mut placed: Vec<Placed<SIDES>> = Vec::new();
    let (mut above, mut roots) = (0..0, Vec::new());
    for (depth, level) in levels.iter().enumerate() {
        let first = placed.len();
        let (mut end, mut parent) = (0i128, above.start);
        for fields in level.values.chunks(3 * SIDES + 1) {
            let mut node = node(names, fields, depth)?;
            let (start, width) = extent::<SIDES>(fields, end);
            end = start + width;
            let id = placed.len();
            if depth == 0 {
                roots.push(id);
            } else {
                parent =
                    (parent..above.end).find(|at| start < placed[*at].start + placed[*at].width).ok_or_else(broken)?;
                node.parent = parent;
                placed[parent].children.push(id);
            }
            placed.push(Placed { start, width, node, children: Vec::new() });
        }
        above = first..placed.len();
    }
    if roots.len() > 1 {
        return Err(broken());
    }
    Ok(preorder(&placed, roots))
}

fn node<const SIDES: usize>(names: &[String], fields: &[i64], depth: usize) -> Outcome<Node<SIDES>> {
    let (sides, name) = fields.split_at_checked(3 * SIDES).ok_or_else(broken)?;
    let name = name.first().and_then(|at| usize::try_from(*at).ok()).and_then(|at| names.get(at)).ok_or_else(broken)?;
    let (mut own, mut total) = ([0; SIDES], [0; SIDES]);
    for (side, values) in sides.chunks_exact(3).enumerate() {
        (total[side], own[side]) = (values[1], values[2]);
    }
    Ok(Node { name: name.clone(), depth, parent: 0, own, total })
}

/// Where a node starts and how wide it is, over all sides.
fn extent<const SIDES: usize>(fields: &[i64], end_before: i128) -> (i128, i128) {
    let sides = || fields[..3 * SIDES].chunks_exact(3);
    let offset: i128 = sides().map(|side| i128::from(side[0])).sum();
    (end_before + offset, sides().map(|side| i128::from(side[1])).sum())
}

fn preorder<const SIDES: usize>(placed: &[Placed<SIDES>], roots: Vec<usize>) -> Tree<SIDES> {
    let mut tree = Vec::with_capacity(placed.len());
    let mut places = vec![0; placed.len()];
    let mut pending = roots;
    while let Some(id) = pending.pop() {
        places[id] = tree.len();
        let mut node = placed[id].node.clone();
        node.parent = places[node.parent];
        tree.push(node);
        pending.extend(placed[id].children.iter().rev());
    }
    tree
}

fn broken() -> Failure {
    Failure::new("the server's flame graph contradicts itself").hint("ask for `--format folded` instead")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(levels: &[&[i64]]) -> Vec<Level> {
        levels.iter().map(|values| Level { values: values.to_vec() }).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn check<const SIDES: usize>(tree: &Tree<SIDES>, expected: &[&str]) {
        assert_eq!(drawing_lines(tree), expected);
    }

    #[test]
    fn levels_are_read_back_into_stacks() {
        let levels = levels(&[&[0, 30, 0, 0], &[0, 20, 20, 2, 0, 10, 0, 1], &[20, 10, 10, 2]]);
        let graph = FlameGraph { names: names(&["total", "func2", "func1"]), levels, total: 30, max_self: 20 };
        let tree = tree(&graph).unwrap();
        check(&tree, &["func1 20", "func2;func1 10"]);
        assert_eq!(tree.iter().map(|node| node.parent).collect::<Vec<_>>(), [0, 0, 0, 2]);
    }

    #[test]
    fn both_sides_of_a_diff_are_read_back() {
        let levels =
            levels(&[&[0, 5, 0, 0, 8, 0, 0], &[0, 5, 5, 0, 0, 0, 1, 0, 0, 0, 0, 8, 2, 2], &[5, 0, 0, 2, 6, 6, 1]]);
        let graph = FlameGraphDiff { names: names(&["total", "a", "b"]), levels, ..FlameGraphDiff::default() };
        check(&diff_tree(&graph).unwrap(), &["a 5 0", "b 0 2", "b;a 0 6"]);
    }

    #[test]
    fn levels_that_contradict_themselves_are_an_error() {
        for wrong in [levels(&[&[0, 30, 0]]), levels(&[&[0, 30, 0, 9]]), levels(&[&[0, 3, 0, 0], &[5, 1, 1, 0]])] {
            let graph = FlameGraph { names: names(&["total"]), levels: wrong, ..FlameGraph::default() };
            assert!(tree(&graph).is_err());
        }
        assert!(tree(&FlameGraph::default()).unwrap().is_empty());
    }

    #[test]
    fn a_drawing_holds_every_name_and_stands_alone() {
        let caption = Caption { title: "a <b>".to_owned(), subtitle: "now".to_owned(), unit: "bytes".to_owned() };
        let svg = svg(&["main;<T as Trait>::f 3".to_owned(), "main;g 1 2".to_owned()], &caption).unwrap();
        assert!(svg.contains("&lt;T as Trait&gt;::f") && svg.contains("bytes"), "{svg}");
        let page = html(&svg, &caption.title);
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<title>a &lt;b&gt;</title>"));
        assert!(!page.contains("<?xml") && page.contains("</svg>"));
    }

    #[test]
    fn names_that_would_confuse_the_drawing_are_changed() {
        assert_eq!(drawn_name("Ljava/lang/String;.hash"), "Ljava/lang/String:.hash");
        assert_eq!(drawn_name("lambda 12"), "lambda\u{a0}12");
        assert_eq!(drawn_name(" "), "(no name)");
    }
}
