//! The commands that list: `top`, `neighbours`, `types`, `labels`, `series`, `profiles`; and `profile`, which fetches one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use flamestore_model::{Labels, ProfileId, ProfileType};
use flamestore_proto::v1::{
    GetProfileRequest, Label, LabelNamesRequest, LabelValuesRequest, ListProfilesRequest, Neighbour, NeighboursRequest,
    NeighboursResponse, ProfileSummary, ProfileTypesRequest, Selection, Series, SeriesRequest, TopFunction, TopRequest,
};
use serde::Serialize;

use crate::client::{Client, Remote, note_empty, warn_damaged};
use crate::failure::{Failure, Outcome};
use crate::near::near;
use crate::output::{self, Column, ListFormat};
use crate::select::{self, Combine, Optional, Required};
use crate::time::{rfc3339, short};

/// So many functions, those that spend most, are looked through for names like one that is not there.
const NEAR_LOOKED_AT: u32 = 10_000;

/// The form of a list, and where the server is.
#[derive(Args, Debug)]
struct Common {
    /// The form of the answer.
    #[arg(long, env = "FLAMESTORE_FORMAT", value_enum, default_value = "table")]
    format: ListFormat,
    #[command(flatten)]
    remote: Remote,
}

/// Lists the functions of the merged profiles with their own and their total value, largest own value first.
#[derive(Args, Debug)]
pub(crate) struct Top {
    #[command(flatten)]
    selection: Required,
    /// Functions at most.
    #[arg(long, short = 'n', env = "FLAMESTORE_TOP_LIMIT", value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// What the values of a series over time become.
    #[arg(long, env = "FLAMESTORE_COMBINE", value_enum, default_value = "auto")]
    combine: Combine,
    #[command(flatten)]
    common: Common,
}

/// Lists who calls a function of the merged profiles and what it calls, by what it costs.
///
/// Each stack counts once in each number: where a function calls itself, callers add up to more than the function.
#[derive(Args, Debug)]
pub(crate) struct Neighbours {
    /// The function's name, as `flamestore top` prints it.
    function: String,
    #[command(flatten)]
    selection: Required,
    /// Callers at most, and callees at most.
    #[arg(long, short = 'n', env = "FLAMESTORE_NEIGHBOURS_LIMIT", value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// What the values of a series over time become.
    #[arg(long, env = "FLAMESTORE_COMBINE", value_enum, default_value = "auto")]
    combine: Combine,
    #[command(flatten)]
    common: Common,
}

/// Lists the profile types.
#[derive(Args, Debug)]
pub(crate) struct Types {
    #[command(flatten)]
    selection: Optional,
    #[command(flatten)]
    common: Common,
}

/// Lists the names of labels, or the values of one.
#[derive(Args, Debug)]
pub(crate) struct LabelList {
    /// The label whose values are listed.
    #[arg(long, env = "FLAMESTORE_LABEL_NAME", value_name = "LABEL")]
    name: Option<String>,
    #[command(flatten)]
    selection: Optional,
    #[command(flatten)]
    common: Common,
}

/// Lists the series: distinct labels and profile types.
#[derive(Args, Debug)]
pub(crate) struct SeriesList {
    #[command(flatten)]
    selection: Optional,
    #[command(flatten)]
    common: Common,
}

/// Lists single profiles, newest first.
#[derive(Args, Debug)]
pub(crate) struct Profiles {
    #[command(flatten)]
    selection: Optional,
    /// Profiles at most.
    #[arg(long, short = 'n', env = "FLAMESTORE_PROFILES_LIMIT", value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    common: Common,
}

/// Fetches one profile as it was pushed, as gzip-compressed pprof.
#[derive(Args, Debug)]
pub(crate) struct Profile {
    /// Its id, as `flamestore profiles` and `flamestore push` print it: 32 hexadecimal digits.
    id: ProfileId,
    /// The file to write; standard output when absent or `-`.
    #[arg(long, short, env = "FLAMESTORE_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Serialize)]
struct TopRow {
    name: String,
    #[serde(rename = "self")]
    own: i64,
    total: i64,
}

#[derive(Serialize)]
struct NeighbourRow {
    relation: &'static str,
    name: String,
    total: i64,
}

#[derive(Serialize)]
struct SeriesRow {
    profile_type: String,
    labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct ProfileRow {
    id: String,
    time: String,
    duration_nano: i64,
    profile_type: String,
    labels: BTreeMap<String, String>,
    total: i64,
}

impl Top {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let selection = self.selection.selection()?;
        let client = self.common.remote.connect().await?;
        let request =
            TopRequest { selection: Some(selection.clone()), limit: self.limit, combine: self.combine.wire() };
        let answer = client.query().top(client.request(request)).await.map_err(|e| client.failure(&e))?.into_inner();
        warn_damaged(answer.report.as_ref());
        if self.common.format == ListFormat::Json {
            let row = |f: TopFunction| TopRow { name: f.name, own: f.self_, total: f.total };
            return output::print(&output::json(answer.functions.into_iter().map(row))?);
        }
        if answer.functions.is_empty() {
            note_empty(&selection);
            return Ok(());
        }
        let (unit, whole) = (select::unit(&selection.query), answer.total);
        let rows = answer.functions.into_iter().map(|f| {
            let (own, total) = (output::quantity(f.self_, &unit), output::quantity(f.total, &unit));
            vec![own, output::percent(f.self_, whole), total, output::percent(f.total, whole), f.name]
        });
        let header = [
            Column::Number("self"),
            Column::Number("self%"),
            Column::Number("total"),
            Column::Number("total%"),
            Column::Text("function"),
        ];
        output::print(&output::table(&header, rows))
    }
}

impl Neighbours {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let selection = self.selection.selection()?;
        let client = self.common.remote.connect().await?;
        let request = NeighboursRequest {
            selection: Some(selection.clone()),
            function: self.function.clone(),
            limit: self.limit,
            combine: self.combine.wire(),
        };
        let function = self.function.clone();
        let answer =
            client.query().neighbours(client.request(request)).await.map_err(|e| client.failure(&e))?.into_inner();
        warn_damaged(answer.report.as_ref());
        let (whole, merge_total) = (answer.total, answer.merge_total);
        let rows = neighbour_rows(self.function, answer);
        if self.common.format == ListFormat::Json {
            return output::print(&output::json(rows)?);
        }
        if rows.iter().all(|row| row.total == 0) {
            match merge_total {
                0 => note_empty(&selection),
                _ => note_missing(&client, &selection, &function, self.combine).await?,
            }
            return Ok(());
        }
        let unit = select::unit(&selection.query);
        output::note(&format!("of all that is selected, the function has {}", output::percent(whole, merge_total)));
        let rows = rows.into_iter().map(|row| {
            let total = output::quantity(row.total, &unit);
            vec![row.relation.to_owned(), total, output::percent(row.total, whole), row.name]
        });
        let header =
            [Column::Text("relation"), Column::Number("total"), Column::Number("total%"), Column::Text("function")];
        output::print(&output::table(&header, rows))
    }
}

/// Says that a function is none of those that are selected, and which are called alike.
async fn note_missing(client: &Client, selection: &Selection, function: &str, combine: Combine) -> Outcome {
    let request = TopRequest { selection: Some(selection.clone()), limit: NEAR_LOOKED_AT, combine: combine.wire() };
    let answer = client.query().top(client.request(request)).await.map_err(|e| client.failure(&e))?.into_inner();
    let alike = near(function, answer.functions.into_iter().map(|function| function.name));
    let alike = if alike.is_empty() { String::new() } else { format!("; there are: {}", alike.join(", ")) };
    output::note(&format!("no function of what is selected is called {function:?}{alike}"));
    Ok(())
}

/// Callers, the function itself, and callees; where nobody calls it, there is no name.
fn neighbour_rows(function: String, answer: NeighboursResponse) -> Vec<NeighbourRow> {
    let named = |relation| move |one: Neighbour| NeighbourRow { relation, name: one.name, total: one.total };
    let mut rows: Vec<NeighbourRow> = answer.callers.into_iter().map(named("caller")).collect();
    if answer.outermost != 0 {
        rows.push(NeighbourRow { relation: "outermost", name: String::new(), total: answer.outermost });
    }
    rows.push(NeighbourRow { relation: "function", name: function.clone(), total: answer.total });
    rows.push(NeighbourRow { relation: "self", name: function, total: answer.self_ });
    rows.extend(answer.callees.into_iter().map(named("callee")));
    rows
}

impl Types {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let selection = self.selection.selection()?;
        let client = self.common.remote.connect().await?;
        let request = client.request(ProfileTypesRequest { selection: Some(selection.clone()) });
        let answer = client.query().profile_types(request).await.map_err(|e| client.failure(&e))?.into_inner();
        warn_damaged(answer.report.as_ref());
        print_words(answer.profile_types, self.common.format, || note_empty(&selection))
    }
}

impl LabelList {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let selection = self.selection.selection()?;
        let client = self.common.remote.connect().await?;
        let (words, report) = match self.name {
            Some(name) => {
                let request = client.request(LabelValuesRequest { selection: Some(selection.clone()), name });
                let answer = client.query().label_values(request).await.map_err(|e| client.failure(&e))?.into_inner();
                (answer.values, answer.report)
            }
            None => {
                let request = client.request(LabelNamesRequest { selection: Some(selection.clone()) });
                let answer = client.query().label_names(request).await.map_err(|e| client.failure(&e))?.into_inner();
                (answer.names, answer.report)
            }
        };
        warn_damaged(report.as_ref());
        print_words(words, self.common.format, || note_empty(&selection))
    }
}

impl SeriesList {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let selection = self.selection.selection()?;
        let client = self.common.remote.connect().await?;
        let request = SeriesRequest { selection: Some(selection.clone()), label_names: Vec::new() };
        let answer = client.query().series(client.request(request)).await.map_err(|e| client.failure(&e))?.into_inner();
        warn_damaged(answer.report.as_ref());
        if self.common.format == ListFormat::Json {
            let row = |s: Series| SeriesRow { profile_type: s.profile_type, labels: label_map(s.labels) };
            return output::print(&output::json(answer.series.into_iter().map(row))?);
        }
        if answer.series.is_empty() {
            note_empty(&selection);
            return Ok(());
        }
        let rows = answer.series.into_iter().map(|s| vec![s.profile_type, label_text(s.labels)]);
        output::print(&output::table(&[Column::Text("profile type"), Column::Text("labels")], rows))
    }
}

impl Profiles {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let selection = self.selection.selection()?;
        let client = self.common.remote.connect().await?;
        let request = client.request(ListProfilesRequest { selection: Some(selection.clone()), limit: self.limit });
        let answer = client.query().list_profiles(request).await.map_err(|e| client.failure(&e))?.into_inner();
        warn_damaged(answer.report.as_ref());
        if self.common.format == ListFormat::Json {
            return output::print(&output::json(answer.profiles.into_iter().map(profile_row))?);
        }
        if answer.profiles.is_empty() {
            note_empty(&selection);
            return Ok(());
        }
        if u32::try_from(answer.profiles.len()) == Ok(self.limit) {
            output::note(&format!("the newest {} profiles; --limit shows more", self.limit));
        }
        let rows = answer.profiles.into_iter().map(|p| {
            let unit = p.profile_type.parse::<ProfileType>().map(|ty| ty.sample_unit).unwrap_or_default();
            vec![p.id, short(p.time_unix_nano), output::quantity(p.total, &unit), p.profile_type, label_text(p.labels)]
        });
        let header = [
            Column::Text("id"),
            Column::Text("time"),
            Column::Number("total"),
            Column::Text("profile type"),
            Column::Text("labels"),
        ];
        output::print(&output::table(&header, rows))
    }
}

impl Profile {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let client = self.remote.connect().await?;
        let request = client.request(GetProfileRequest { id: self.id.to_string() });
        let answer = client.query().get_profile(request).await.map_err(|e| client.failure(&e))?.into_inner();
        warn_damaged(answer.report.as_ref());
        if answer.pprof.is_empty() {
            return Err(Failure::new(format!("the server has no profile {}", self.id)));
        }
        output::write_binary(self.output.as_deref(), &answer.pprof)
    }
}

fn print_words(words: Vec<String>, format: ListFormat, when_empty: impl FnOnce()) -> Outcome {
    match format {
        ListFormat::Json => output::print(&output::json(words)?),
        ListFormat::Table if words.is_empty() => {
            when_empty();
            Ok(())
        }
        ListFormat::Table => output::print(&words.iter().map(|word| format!("{word}\n")).collect::<String>()),
    }
}

fn profile_row(profile: ProfileSummary) -> ProfileRow {
    ProfileRow {
        id: profile.id,
        time: rfc3339(profile.time_unix_nano),
        duration_nano: profile.duration_nano,
        profile_type: profile.profile_type,
        labels: label_map(profile.labels),
        total: profile.total,
    }
}

fn label_map(labels: Vec<Label>) -> BTreeMap<String, String> {
    labels.into_iter().map(|label| (label.name, label.value)).collect()
}

fn label_text(labels: Vec<Label>) -> String {
    Labels::from_pairs(labels.into_iter().map(|label| (label.name, label.value))).unwrap_or_default().to_string()
}
