//! `merge` and `diff`: profiles as one call tree, or two compared, in the form asked for.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use flamestore_proto::v1;
use flamestore_proto::v1::{
    AnswerFormat, DiffRequest, DiffResponse, MergeRequest, MergeResponse, Selection, diff_response, merge_response,
};
use serde::Serialize;

use crate::client::{Client, Remote, note_empty, warn_damaged};
use crate::failure::{Failure, Outcome};
use crate::flame::{self, Caption, Tree};
use crate::output::{self, Column};
use crate::select::{self, Combine, Required, Sides};
use crate::time::short;

/// Nodes of a table where the user names no number: about a screen.
const TABLE_NODES: i64 = 40;

/// The form of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MergeFormat {
    /// Lines of `frame;frame;frame value`, root first, sorted.
    Folded,
    /// A gzip-compressed pprof, for `go tool pprof` and others.
    Pprof,
    /// A flame graph as an SVG file that can be searched and zoomed in a browser.
    Svg,
    /// The same in a page of its own.
    Html,
    /// The stacks as one JSON array of {stack, value}.
    Json,
    /// The call tree for people.
    Table,
    /// The call tree as an Arrow IPC stream.
    Arrow,
}

/// The form of a diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffFormat {
    /// Lines of `frame;frame;frame before after`, root first, sorted.
    Folded,
    /// A flame graph as wide as `after`; what grew is red, what shrank is blue.
    Svg,
    /// The same in a page of its own.
    Html,
    /// The stacks as one JSON array of {stack, before, after}.
    Json,
    /// The call tree for people.
    Table,
    /// The call tree as an Arrow IPC stream.
    Arrow,
}

/// Merges all selected profiles into one call tree.
#[derive(Args, Debug)]
pub(crate) struct Merge {
    #[command(flatten)]
    selection: Required,
    /// The form of the answer.
    #[arg(long, env = "FLAMESTORE_MERGE_FORMAT", value_enum, default_value = "folded")]
    format: MergeFormat,
    #[command(flatten)]
    shape: Shape,
    /// What the answer may be made of.
    #[arg(long, env = "FLAMESTORE_RESOLUTION", value_enum, default_value = "auto")]
    resolution: Resolution,
    /// What the values of a series over time become.
    #[arg(long, env = "FLAMESTORE_COMBINE", value_enum, default_value = "auto")]
    combine: Combine,
    #[command(flatten)]
    remote: Remote,
}

/// What an answer may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resolution {
    /// Sums per day and hour where they lie inside of the range, samples for its ends.
    Auto,
    /// Samples only, as far as they have not expired.
    Samples,
}

/// Compares two selections; stacks that exist on one side only are kept.
#[derive(Args, Debug)]
pub(crate) struct Diff {
    #[command(flatten)]
    sides: Sides,
    /// The form of the answer.
    #[arg(long, env = "FLAMESTORE_DIFF_FORMAT", value_enum, default_value = "folded")]
    format: DiffFormat,
    /// What the values of a series over time become, on either side.
    #[arg(long, env = "FLAMESTORE_COMBINE", value_enum, default_value = "auto")]
    combine: Combine,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    remote: Remote,
}

/// How large the answer may be and where it goes.
#[derive(Args, Debug)]
struct Shape {
    /// Nodes of a flame graph or table at most (more where totals tie); the rest is shown as `other`. 0 means all. 8192 by
    /// default, 40 for a table.
    #[arg(long, env = "FLAMESTORE_MAX_NODES", value_name = "N")]
    max_nodes: Option<u32>,
    /// The file to write; standard output when absent or `-`.
    #[arg(long, short, env = "FLAMESTORE_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Serialize)]
struct StackRow<'a> {
    stack: &'a str,
    value: i64,
}

#[derive(Serialize)]
struct DiffRow<'a> {
    stack: &'a str,
    before: i64,
    after: i64,
}

impl Merge {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let selection = self.selection.selection()?;
        let client = self.remote.connect().await?;
        let table = self.format == MergeFormat::Table;
        let request = MergeRequest {
            selection: Some(selection.clone()),
            format: self.format.wire().into(),
            max_nodes: self.shape.wire_nodes(table),
            resolution: match self.resolution {
                Resolution::Auto => v1::Resolution::Auto.into(),
                Resolution::Samples => v1::Resolution::Samples.into(),
            },
            combine: self.combine.wire(),
        };
        let answer = client.query().merge(client.request(request)).await.map_err(|e| client.failure(&e))?.into_inner();
        warn_damaged(answer.report.as_ref());
        self.write(&selection, answer, &client)
    }

    fn write(&self, selection: &Selection, answer: MergeResponse, client: &Client) -> Outcome {
        let file = self.shape.output.as_deref();
        match (self.format, answer.answer.ok_or_else(|| unexpected(client))?) {
            (MergeFormat::Folded, merge_response::Answer::Folded(text)) => {
                if text.is_empty() {
                    note_empty(selection);
                }
                output::write_text(file, &text)
            }
            (MergeFormat::Json, merge_response::Answer::Folded(text)) => {
                output::write_text(file, &output::json(folded(&text)?)?)
            }
            (MergeFormat::Pprof, merge_response::Answer::Pprof(bytes))
            | (MergeFormat::Arrow, merge_response::Answer::Arrow(bytes)) => output::write_binary(file, &bytes),
            (format, merge_response::Answer::FlameGraph(graph)) => {
                let tree = flame::tree(&graph)?;
                if format == MergeFormat::Table {
                    return output::write_text(file, &merge_table(&tree, &select::unit(&selection.query)));
                }
                let caption = Caption {
                    title: selection.query.clone(),
                    subtitle: range_words(selection),
                    unit: select::unit(&selection.query),
                };
                let svg = flame::svg(&flame::drawing_lines(&tree), &caption)?;
                let page = format == MergeFormat::Html;
                output::write_text(file, &if page { flame::html(&svg, &caption.title) } else { svg })
            }
            _ => Err(unexpected(client)),
        }
    }
}

impl Diff {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let (before, after) = self.sides.selections()?;
        let client = self.remote.connect().await?;
        let request = DiffRequest {
            before: Some(before.clone()),
            after: Some(after.clone()),
            format: self.format.wire().into(),
            max_nodes: self.shape.wire_nodes(self.format == DiffFormat::Table),
            combine: self.combine.wire(),
        };
        let answer = client.query().diff(client.request(request)).await.map_err(|e| client.failure(&e))?.into_inner();
        warn_damaged(answer.report.as_ref());
        self.write(&before, &after, answer, &client)
    }

    fn write(&self, before: &Selection, after: &Selection, answer: DiffResponse, client: &Client) -> Outcome {
        let file = self.shape.output.as_deref();
        match (self.format, answer.answer.ok_or_else(|| unexpected(client))?) {
            (DiffFormat::Folded, diff_response::Answer::Folded(text)) => {
                if text.is_empty() {
                    note_empty(before);
                    note_empty(after);
                }
                output::write_text(file, &text)
            }
            (DiffFormat::Json, diff_response::Answer::Folded(text)) => {
                output::write_text(file, &output::json(folded_diff(&text)?)?)
            }
            (DiffFormat::Arrow, diff_response::Answer::Arrow(bytes)) => output::write_binary(file, &bytes),
            (format, diff_response::Answer::FlameGraph(graph)) => {
                let tree = flame::diff_tree(&graph)?;
                let unit = select::unit(&after.query);
                if format == DiffFormat::Table {
                    return output::write_text(file, &diff_table(&tree, &unit));
                }
                let subtitle = format!(
                    "before: {} | after: {} | as wide as after; red grew, blue shrank",
                    range_words(before),
                    range_words(after)
                );
                let title = if before.query == after.query {
                    after.query.clone()
                } else {
                    format!("{} against {}", after.query, before.query)
                };
                let caption = Caption { title, subtitle, unit };
                let svg = flame::svg(&flame::drawing_lines(&tree), &caption)?;
                let page = format == DiffFormat::Html;
                output::write_text(file, &if page { flame::html(&svg, &caption.title) } else { svg })
            }
            _ => Err(unexpected(client)),
        }
    }
}

impl MergeFormat {
    fn wire(self) -> AnswerFormat {
        match self {
            Self::Folded | Self::Json => AnswerFormat::Folded,
            Self::Pprof => AnswerFormat::Pprof,
            Self::Svg | Self::Html | Self::Table => AnswerFormat::FlameGraph,
            Self::Arrow => AnswerFormat::Arrow,
        }
    }
}

impl DiffFormat {
    fn wire(self) -> AnswerFormat {
        match self {
            Self::Folded | Self::Json => AnswerFormat::Folded,
            Self::Svg | Self::Html | Self::Table => AnswerFormat::FlameGraph,
            Self::Arrow => AnswerFormat::Arrow,
        }
    }
}

impl Shape {
    /// The number of nodes as the API wants it: -1 all, 0 its default.
    fn wire_nodes(&self, table: bool) -> i64 {
        match self.max_nodes {
            Some(0) => -1,
            Some(nodes) => i64::from(nodes),
            None if table => TABLE_NODES,
            None => 0,
        }
    }
}

fn range_words(selection: &Selection) -> String {
    format!("{} .. {}", short(selection.start_unix_nano), short(selection.end_unix_nano))
}

/// The stacks and values of folded text.
fn folded(text: &str) -> Outcome<Vec<StackRow<'_>>> {
    rows(text, |record| last_number(record).map(|(stack, value)| StackRow { stack, value }))
}

fn folded_diff(text: &str) -> Outcome<Vec<DiffRow<'_>>> {
    rows(text, |record| {
        let (rest, after) = last_number(record)?;
        last_number(rest).map(|(stack, before)| DiffRow { stack, before, after })
    })
}

/// The rows of folded text. A name may hold the end of a line: what does not end in values goes on in the next line.
fn rows<'a, T>(text: &'a str, read: impl Fn(&'a str) -> Option<T>) -> Outcome<Vec<T>> {
    let (mut rows, mut start) = (Vec::new(), 0);
    for (end, _) in text.match_indices('\n') {
        if let Some(row) = read(&text[start..end]) {
            rows.push(row);
            start = end + 1;
        }
    }
    if start < text.len() {
        return Err(Failure::new("the server's folded text has a line without a value"));
    }
    Ok(rows)
}

fn last_number(line: &str) -> Option<(&str, i64)> {
    let (rest, number) = line.rsplit_once(' ')?;
    Some((rest, number.parse().ok()?))
}

fn merge_table(tree: &Tree<1>, unit: &str) -> String {
    let whole = tree.first().map_or(0, |root| root.total[0]);
    let rows = tree.iter().map(|node| {
        let (own, total) = (node.own[0], node.total[0]);
        let name = format!("{}{}", "  ".repeat(node.depth), node.name);
        vec![output::quantity(total, unit), output::percent(total, whole), output::quantity(own, unit), name]
    });
    let header = [Column::Number("total"), Column::Number("%"), Column::Number("self"), Column::Text("call tree")];
    output::table(&header, rows)
}

fn diff_table(tree: &Tree<2>, unit: &str) -> String {
    let rows = tree.iter().map(|node| {
        let [before, after] = node.total;
        let change = after.saturating_sub(before);
        let sign = if change > 0 { "+" } else { "" };
        let name = format!("{}{}", "  ".repeat(node.depth), node.name);
        let change = format!("{sign}{}", output::quantity(change, unit));
        vec![output::quantity(before, unit), output::quantity(after, unit), change, name]
    });
    let header =
        [Column::Number("before"), Column::Number("after"), Column::Number("change"), Column::Text("call tree")];
    output::table(&header, rows)
}

fn unexpected(client: &Client) -> Failure {
    client.failure(&tonic::Status::unimplemented("the server answered in another form than asked for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_text_becomes_rows() {
        let rows = folded("main;read file 3\nmain;write -1\n").unwrap();
        assert_eq!(
            output::json(rows).unwrap(),
            "[\n  {\"stack\":\"main;read file\",\"value\":3},\n  {\"stack\":\"main;write\",\"value\":-1}\n]\n"
        );
        let rows = folded_diff("main;f 0 4\n").unwrap();
        assert_eq!(output::json(rows).unwrap(), "[\n  {\"stack\":\"main;f\",\"before\":0,\"after\":4}\n]\n");
        let rows = folded("main;a\nb 2\nmain 1\n").unwrap();
        assert_eq!((rows[0].stack, rows[0].value, rows[1].stack), ("main;a\nb", 2, "main"));
        assert!(folded("main\n").is_err() && folded_diff("main 1\n").is_err());
    }
}
