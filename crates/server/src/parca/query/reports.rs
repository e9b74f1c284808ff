//! Reports: what a request is about is read, filtered, and laid out in the form that it asks for.

use std::collections::BTreeSet;

use flamestore_calltree::ValueTree;
use flamestore_model::{NONE, Result};
use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_response;
use flamestore_query::Memory;

use super::ask::{self, Report, Subject};
use super::compare::Comparison;
use super::filter::Shape;
use super::flame::{Flame, Grouping, Row, flame, threshold};
use super::frames::base_name;
use super::pprof::{About, pprof};
use super::read::{Found, Reader};
use super::stacks::Stacks;
use super::{calls, flame_record, nested, table};

/// What a node of the trees of frames takes in a flame graph at most: a row before it is trimmed and one after, and its columns.
const FLAME_BYTES: usize = 2 * size_of::<Row>() + 128;

/// How a report is to look.
#[derive(Clone, Debug)]
struct Form {
    report: Report,
    shape: Shape,
    grouping: Grouping,
    threshold: f32,
}

/// What was read.
struct Merged {
    found: Found,
    /// By the values of the labels grouped by.
    trees: Vec<(Vec<String>, ValueTree)>,
    /// Whether values are absolute, where two selections are compared.
    is_absolute: Option<bool>,
}

pub(super) async fn query(reader: &Reader, request: &v1::QueryRequest) -> Result<v1::QueryResponse> {
    let fields = request.group_by.as_ref().map_or(&[][..], |group_by| &group_by.fields);
    let mut form = Form {
        report: ask::report(request)?,
        shape: Shape::new(request)?,
        grouping: Grouping::new(fields)?,
        threshold: threshold(request)?,
    };
    if matches!(form.report, Report::Nested(_)) {
        form.grouping.labels.clear();
    }
    let memory = reader.engine.memory("report");
    let merged = read(reader, ask::subject(request)?, &form.grouping, &memory).await?;
    let labels = match form.report {
        Report::Metadata if !merged.found.is_empty => reader.label_names(&merged.found.query).await?,
        _ => Vec::new(),
    };
    reader.compute.run(move || form.response(&merged, labels, memory)).await
}

/// The trees of a subject. A diff has one, of both sides: labels do not group it.
async fn read(reader: &Reader, subject: Subject, grouping: &Grouping, memory: &Memory) -> Result<Merged> {
    match subject {
        Subject::One(asked) => {
            let found = reader.find(&asked).await?;
            let trees = reader.merges(&found, &grouping.labels, memory).await?;
            Ok(Merged { found, trees, is_absolute: None })
        }
        Subject::Diff { base, compared, is_absolute } => {
            let base = reader.find(&base).await.map_err(|error| error.with("side", "a"))?;
            let found = reader.find(&compared).await.map_err(|error| error.with("side", "b"))?;
            let tree = reader.diff(&found, &base, memory).await?;
            Ok(Merged { found, trees: vec![(Vec::new(), tree)], is_absolute: Some(is_absolute) })
        }
    }
}

impl Form {
    fn response(mut self, merged: &Merged, labels: Vec<String>, memory: Memory) -> Result<v1::QueryResponse> {
        use query_response::Report as R;
        if merged.is_absolute.is_some() {
            self.grouping.labels.clear();
        }
        let mut stacks = Stacks::new(memory);
        for (values, tree) in &merged.trees {
            stacks.add(values.clone(), tree, &self.shape)?;
        }
        let comparison = merged.is_absolute.map(|is_absolute| {
            let all = |at: usize| stacks.total[at].saturating_add(stacks.filtered[at]);
            Comparison::new([all(0), all(1)], is_absolute)
        });
        let unit = merged.found.ty.sample_unit.clone();
        let report = match self.report {
            Report::FlameGraph => R::FlamegraphArrow(self.flame_graph(&stacks, comparison.as_ref(), unit)?),
            Report::Nested(form) => {
                let flame = self.flame(&stacks)?;
                R::Flamegraph(nested::message(&flame, &stacks, comparison.as_ref(), unit, form)?)
            }
            Report::Table => {
                R::TableArrow(v1::TableArrow { record: table::record(&stacks, comparison.as_ref())?, unit })
            }
            Report::Top => R::Top(calls::top(&stacks, comparison.as_ref(), &unit)?),
            Report::CallGraph => R::Callgraph(calls::graph(&stacks)?),
            Report::Metadata => {
                R::ProfileMetadata(v1::ProfileMetadata { mapping_files: mapping_files(&stacks), labels })
            }
            Report::Pprof => {
                let Found { ty, query, .. } = &merged.found;
                let about = About { ty: ty.clone(), range: query.range, labels: self.grouping.labels };
                R::Pprof(pprof(&stacks, &about, comparison.as_ref())?)
            }
        };
        let total = if self.report == Report::Pprof { 0 } else { stacks.total[0] };
        Ok(v1::QueryResponse { report: Some(report), total, filtered: stacks.filtered[0] })
    }

    fn flame(&self, stacks: &Stacks) -> Result<Flame> {
        let nodes: usize = stacks.groups.iter().map(|group| group.tree.parent.len()).sum();
        stacks.memory.grow(nodes.saturating_mul(FLAME_BYTES))?;
        flame(stacks, &self.grouping, self.threshold)
    }

    fn flame_graph(
        &self,
        stacks: &Stacks,
        comparison: Option<&Comparison>,
        unit: String,
    ) -> Result<v1::FlamegraphArrow> {
        let flame = self.flame(stacks)?;
        let kept = flame.rows.first().map_or(0, |root| root.totals[0]);
        Ok(v1::FlamegraphArrow {
            record: flame_record::record(&flame, stacks, &self.grouping, comparison)?,
            unit,
            height: i32::try_from(flame.height).unwrap_or(i32::MAX),
            trimmed: stacks.total[0].saturating_sub(kept),
        })
    }
}

/// The names of the files that what is asked for lies in, without what only the base of a diff has.
fn mapping_files(stacks: &Stacks) -> Vec<String> {
    let mut files = BTreeSet::new();
    for tree in stacks.groups.iter().map(|group| &group.tree) {
        for (frame, totals) in tree.frame.iter().zip(tree.totals()) {
            if *frame != NONE && totals[0] != 0 {
                files.insert(stacks.frames.rows[*frame as usize].mapping_file);
            }
        }
    }
    let names = files.into_iter().map(|file| base_name(&stacks.frames.texts.text(file)).to_owned());
    names.filter(|name| !name.is_empty()).collect::<BTreeSet<String>>().into_iter().collect()
}
