//! `compare`: the functions of two periods, what grew by more than it varies first.

use clap::Args;
use flamestore_proto::v1::{CompareFunctionsRequest, CompareFunctionsResponse, FunctionChange};
use serde::Serialize;

use crate::client::{Remote, note_empty, warn_damaged};
use crate::failure::Outcome;
use crate::output::{self, Column, ListFormat};
use crate::select::{self, Combine, Sides};

/// Compares what functions spend in two periods; those that grew by more than they vary come first.
#[derive(Args, Debug)]
pub(crate) struct Compare {
    #[command(flatten)]
    sides: Sides,
    /// Functions at most.
    #[arg(long, short = 'n', env = "FLAMESTORE_TOP_LIMIT", value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// What the values of a series over time become, on either side.
    #[arg(long, env = "FLAMESTORE_COMBINE", value_enum, default_value = "auto")]
    combine: Combine,
    /// The form of the answer.
    #[arg(long, env = "FLAMESTORE_FORMAT", value_enum, default_value = "table")]
    format: ListFormat,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Serialize)]
struct Row {
    name: String,
    self_before: i64,
    total_before: i64,
    self_after: i64,
    total_after: i64,
    /// Text where it is not a number of JSON: `inf`, `-inf`.
    self_significance: Option<serde_json::Value>,
    total_significance: Option<serde_json::Value>,
}

impl Compare {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let (before, after) = self.sides.selections()?;
        let client = self.remote.connect().await?;
        let request = client.request(CompareFunctionsRequest {
            before: Some(before.clone()),
            after: Some(after.clone()),
            limit: self.limit,
            combine: self.combine.wire(),
        });
        let answer = client.query().compare_functions(request).await.map_err(|e| client.failure(&e))?.into_inner();
        warn_damaged(answer.report.as_ref());
        if self.format == ListFormat::Json {
            return output::print(&output::json(answer.functions.into_iter().map(row))?);
        }
        if answer.functions.is_empty() {
            note_empty(&before);
            note_empty(&after);
            return Ok(());
        }
        if answer.slices_before < 2 || answer.slices_after < 2 {
            output::note("a period has values in less than two slices of time: nothing tells how much functions vary");
        }
        output::print(&table(answer, &select::unit(&after.query)))
    }
}

fn table(answer: CompareFunctionsResponse, unit: &str) -> String {
    let (before, after) = (answer.total_before, answer.total_after);
    let rows = answer.functions.into_iter().map(|function| {
        vec![
            output::quantity(function.self_before, unit),
            output::percent(function.self_before, before),
            output::quantity(function.self_after, unit),
            output::percent(function.self_after, after),
            significance(function.self_significance),
            output::percent(function.total_before, before),
            output::percent(function.total_after, after),
            significance(function.total_significance),
            function.name,
        ]
    });
    let header = [
        Column::Number("self before"),
        Column::Number("self%"),
        Column::Number("self after"),
        Column::Number("self%"),
        Column::Number("errors"),
        Column::Number("total% before"),
        Column::Number("total% after"),
        Column::Number("errors"),
        Column::Text("function"),
    ];
    output::table(&header, rows)
}

/// How many standard errors; nothing where it is not known.
fn significance(errors: Option<f64>) -> String {
    errors.map(|errors| format!("{errors:+.1}")).unwrap_or_default()
}

fn row(function: FunctionChange) -> Row {
    let number = |errors: f64| match serde_json::Number::from_f64(errors) {
        Some(number) => serde_json::Value::Number(number),
        None => serde_json::Value::String(errors.to_string()),
    };
    Row {
        name: function.name,
        self_before: function.self_before,
        total_before: function.total_before,
        self_after: function.self_after,
        total_after: function.total_after,
        self_significance: function.self_significance.map(number),
        total_significance: function.total_significance.map(number),
    }
}
