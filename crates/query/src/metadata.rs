//! Questions about series and profiles: plans over the tables `series` and `profiles`, and how their rows are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, MapArray, RecordBatch, StringArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Int64Type};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::{Expr, SortExpr, cast};
use datafusion::prelude::{col, lit};
use flamestore_model::{Error, Labels, ProfileId, ProfileType, Result, Temporality, TimeRange, names};
use flamestore_segment::{ReadFrom, Resolution};

use crate::answer::{ProfileEntry, Query, SeriesEntry, Steps, TimePoint, TimeSeries};
use crate::budget::{Budget, InSteps};
use crate::scope::Scope;
use crate::selection::several_types;
use crate::session::Session;
use crate::tables::{RowsKind, RowsTable, label, label_names, selects};

/// The series that `query` selects, as a plan.
fn series_frame(session: &Session, scope: &Arc<Scope>, query: &Query) -> Result<DataFrame> {
    let table = RowsTable::new(Arc::clone(scope), RowsKind::Series, query.range);
    let frame = session.table("series", Arc::new(table))?;
    frame.filter(selects(&query.selector.to_string())).map_err(|error| session.inward(error))
}

/// The profiles that `query` selects, as a plan.
fn profiles_frame(session: &Session, scope: &Arc<Scope>, query: &Query, kind: RowsKind) -> Result<DataFrame> {
    let table = RowsTable::new(Arc::clone(scope), kind, TimeRange::ALL);
    let frame = session.table("profiles", Arc::new(table))?;
    let time = || col("time_unix_nano");
    let inside = time().gt_eq(lit(query.range.start)).and(time().lt(lit(query.range.end)));
    let selected = frame.filter(selects(&query.selector.to_string())).and_then(|frame| frame.filter(inside));
    selected.map_err(|error| session.inward(error))
}

/// The distinct texts of the only column of `frame`, sorted.
async fn texts(session: &Session, scope: &Scope, frame: Result<DataFrame, DataFusionError>) -> Result<Vec<String>> {
    let frame = frame.and_then(DataFrame::distinct).map_err(|error| session.inward(error))?;
    let mut texts = BTreeSet::new();
    let budget = session.budget("labels", scope.sink());
    let mut reserved = InSteps::of(&budget);
    let take = |batch: RecordBatch| {
        let column: &StringArray = column(&batch, 0)?;
        for text in column.iter().flatten() {
            reserved.grow(size_of::<String>() + text.len())?;
            texts.insert(text.to_owned());
        }
        Ok(())
    };
    session.for_each(frame.logical_plan(), take).await?;
    Ok(texts.into_iter().collect())
}

pub(crate) async fn list_label_names(session: &Session, scope: &Arc<Scope>, query: &Query) -> Result<Vec<String>> {
    let frame = series_frame(session, scope, query)?;
    let named = frame.select([label_names().alias("name")]);
    texts(session, scope, named.and_then(|frame| frame.unnest_columns(&["name"]))).await
}

pub(crate) async fn list_label_values(
    session: &Session,
    scope: &Arc<Scope>,
    query: &Query,
    name: &str,
) -> Result<Vec<String>> {
    let frame = series_frame(session, scope, query)?;
    let values = frame.select([label(name).alias("value")]);
    texts(session, scope, values.and_then(|frame| frame.filter(col("value").not_eq(lit(""))))).await
}

pub(crate) async fn list_profile_types(
    session: &Session,
    scope: &Arc<Scope>,
    query: &Query,
) -> Result<Vec<ProfileType>> {
    let frame = series_frame(session, scope, query)?;
    let ids = texts(session, scope, frame.select([col("profile_type")])).await?;
    let mut types = ids.iter().map(|id| id.parse()).collect::<Result<Vec<ProfileType>>>()?;
    types.sort();
    Ok(types)
}

pub(crate) async fn list_temporalities(
    session: &Session,
    scope: &Arc<Scope>,
    query: &Query,
) -> Result<Vec<(ProfileType, Temporality)>> {
    use Temporality::{Cumulative, Delta, Instant, Unknown};
    let frame = series_frame(session, scope, query)?;
    let frame = frame.select([col("profile_type"), col("temporality")]).and_then(DataFrame::distinct);
    let frame = frame.map_err(|error| session.inward(error))?;
    let mut found = BTreeSet::new();
    let take = |batch: RecordBatch| {
        let (types, temporalities) = (column::<StringArray>(&batch, 0)?, column::<StringArray>(&batch, 1)?);
        for row in 0..batch.num_rows() {
            let text = temporalities.value(row);
            let known = [Delta, Instant, Cumulative, Unknown].into_iter().find(|known| known.as_str() == text);
            found.insert((types.value(row).parse()?, known.ok_or_else(|| wrong("temporality"))?));
        }
        Ok(())
    };
    session.for_each(frame.logical_plan(), take).await?;
    Ok(found.into_iter().collect())
}

pub(crate) async fn list_series(session: &Session, scope: &Arc<Scope>, query: &Query) -> Result<Vec<SeriesEntry>> {
    let frame = series_frame(session, scope, query)?;
    let frame = frame.select([col("labels"), col("profile_type")]).map_err(|error| session.inward(error))?;
    let mut series = BTreeSet::new();
    let budget = session.budget("series", scope.sink());
    let mut reserved = InSteps::of(&budget);
    let take = |batch: RecordBatch| {
        let (labels, types) = (column::<MapArray>(&batch, 0)?, column::<StringArray>(&batch, 1)?);
        for row in 0..batch.num_rows() {
            let profile_type = types.value(row).parse()?;
            let entry = SeriesEntry { labels: labels_of(labels, row)?, profile_type };
            if !series.contains(&entry) {
                reserved.grow(size_of::<SeriesEntry>() + text_bytes(&entry.labels, &entry.profile_type))?;
                series.insert(entry);
            }
        }
        Ok(())
    };
    session.for_each(frame.logical_plan(), take).await?;
    Ok(series.into_iter().collect())
}

/// The plan of [`list_profiles`].
pub(crate) fn profiles_plan(session: &Session, scope: &Arc<Scope>, query: &Query, limit: usize) -> Result<DataFrame> {
    let columns = ["profile_id", "time_unix_nano", "duration_nano", "profile_type", "labels", "total"];
    let frame = profiles_frame(session, scope, query, RowsKind::Profiles)?;
    let sort: Vec<SortExpr> = vec![
        col("time_unix_nano").sort(false, false),
        col("profile_id").sort(true, false),
        col("profile_type").sort(true, false),
    ];
    let frame = frame.select(columns.map(col)).and_then(|frame| frame.sort(sort));
    let frame = frame.and_then(|frame| match limit {
        0 => Ok(frame),
        limit => frame.limit(0, Some(limit)),
    });
    frame.map_err(|error| session.inward(error))
}

pub(crate) async fn list_profiles(
    session: &Session,
    scope: &Arc<Scope>,
    query: &Query,
    limit: usize,
    budget: &Budget,
) -> Result<Vec<ProfileEntry>> {
    let frame = profiles_plan(session, scope, query, limit)?;
    let mut entries = Vec::new();
    let mut reserved = InSteps::of(budget);
    let take = |batch: RecordBatch| {
        let ids = batch.column(0).as_fixed_size_binary_opt().ok_or_else(|| wrong("profile_id"))?;
        let (times, durations) = (numbers::<Int64Type>(&batch, 1)?, numbers::<Int64Type>(&batch, 2)?);
        let (types, labels) = (column::<StringArray>(&batch, 3)?, column::<MapArray>(&batch, 4)?);
        let totals = numbers::<Int64Type>(&batch, 5)?;
        for row in 0..batch.num_rows() {
            let id = <[u8; 16]>::try_from(ids.value(row)).map_err(|_| wrong("profile_id"))?;
            let entry = ProfileEntry {
                id: ProfileId::from_bytes(id),
                time_unix_nano: times[row],
                duration_nano: durations[row],
                profile_type: types.value(row).parse()?,
                labels: labels_of(labels, row)?,
                total: totals[row],
            };
            reserved.grow(size_of::<ProfileEntry>() + text_bytes(&entry.labels, &entry.profile_type))?;
            entries.push(entry);
        }
        Ok(())
    };
    session.for_each(frame.logical_plan(), take).await?;
    Ok(entries)
}

/// Bytes that labels and a type take in memory beside their own sizes, about.
fn text_bytes(labels: &Labels, profile_type: &ProfileType) -> usize {
    let ProfileType { name, sample_type, sample_unit, period_type, period_unit } = profile_type;
    let texts = [name, sample_type, sample_unit, period_type, period_unit].map(String::len);
    label_bytes(labels) + texts.into_iter().sum::<usize>()
}

fn label_bytes(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>()).sum()
}

/// The plan of [`time_series`]: rows of type, step, the labels grouped by, total, number of rows. Totals are added in 128 bits.
pub(crate) fn time_series_plan(
    session: &Session,
    scope: &Arc<Scope>,
    query: &Query,
    steps: &Steps,
    group_by: &[String],
) -> Result<DataFrame> {
    let time = || col("time_unix_nano");
    let step = || lit(steps.step_nano);
    // How far into its step a time lies. Both terms are shorter than a step, whatever the time.
    let origin = steps.origin_nano.rem_euclid(steps.step_nano);
    let into = (time() % step() + step() - lit(origin) + step()) % step();
    let start = time() - into;
    let mut columns = vec![col("profile_type"), start.alias("step"), col("total")];
    columns.extend(group_by.iter().enumerate().map(|(at, name)| label(name).alias(group_name(at))));
    let mut groups: Vec<Expr> = vec![col("profile_type"), col("step")];
    groups.extend((0..group_by.len()).map(|at| col(group_name(at))));
    let total = sum(cast(col("total"), DataType::Decimal128(38, 0))).alias("total");
    let rows = count(lit(1_i64)).alias("rows");
    let kind = match steps.is_counted {
        true => RowsKind::Profiles,
        false => RowsKind::Totals(read_from(query.read_from, steps)),
    };
    let frame = profiles_frame(session, scope, query, kind)?.select(columns);
    frame.and_then(|frame| frame.aggregate(groups, vec![total, rows])).map_err(|error| session.inward(error))
}

/// What a group of series takes beside its labels, while its points are added up and as they are answered.
const GROUP_BYTES: usize = 128;
/// What a point takes so.
const POINT_BYTES: usize = 64 + size_of::<TimePoint>();

pub(crate) async fn time_series(
    session: &Session,
    scope: &Arc<Scope>,
    query: &Query,
    steps: &Steps,
    group_by: &[String],
) -> Result<Vec<TimeSeries>> {
    let frame = time_series_plan(session, scope, query, steps, group_by)?;
    let mut types = BTreeSet::new();
    let mut groups: BTreeMap<Labels, BTreeMap<i64, (i128, i64)>> = BTreeMap::new();
    let budget = session.budget("totals", scope.sink());
    let mut reserved = InSteps::of(&budget);
    let take = |batch: RecordBatch| {
        let (ids, starts) = (column::<StringArray>(&batch, 0)?, numbers::<Int64Type>(&batch, 1)?);
        let totals = numbers::<Decimal128Type>(&batch, 2 + group_by.len())?;
        let rows = numbers::<Int64Type>(&batch, 3 + group_by.len())?;
        for row in 0..batch.num_rows() {
            types.insert(ids.value(row).to_owned());
            let mut labels = Labels::default();
            for (at, name) in group_by.iter().enumerate() {
                labels = labels.with(name, column::<StringArray>(&batch, 2 + at)?.value(row));
            }
            if !groups.contains_key(&labels) {
                reserved.grow(GROUP_BYTES + label_bytes(&labels))?;
            }
            let points = groups.entry(labels).or_default();
            if !points.contains_key(&starts[row]) {
                reserved.grow(POINT_BYTES)?;
            }
            let (total, count) = points.entry(starts[row]).or_default();
            *total += totals[row];
            *count += rows[row];
        }
        Ok(())
    };
    session.for_each(frame.logical_plan(), take).await?;
    if types.len() > 1 && !group_by.iter().any(|name| name == names::PROFILE_TYPE) {
        let types = types.iter().map(|id| id.parse()).collect::<Result<Vec<ProfileType>>>()?;
        return Err(several_types(types.iter()));
    }
    let series = groups.into_iter().map(|(labels, points)| {
        let points = points.into_iter().map(|(time_unix_nano, (total, rows))| {
            let total = i64::try_from(total).map_err(|_| overflow(total))?;
            let profiles = if steps.is_counted { u64::try_from(rows).unwrap_or_default() } else { 0 };
            Ok(TimePoint { time_unix_nano, total, profiles })
        });
        Ok(TimeSeries { labels, points: points.collect::<Result<_>>()? })
    });
    series.collect()
}

/// The widest windows that lie in one step each.
fn read_from(allowed: ReadFrom, steps: &Steps) -> ReadFrom {
    let lie_in_steps =
        |window: Resolution| steps.step_nano % window.nanos() == 0 && steps.origin_nano % window.nanos() == 0;
    let widest = if lie_in_steps(Resolution::Month) {
        ReadFrom::Widest
    } else if lie_in_steps(Resolution::Day) {
        ReadFrom::Days
    } else if lie_in_steps(Resolution::Hour) {
        ReadFrom::Hours
    } else {
        ReadFrom::Samples
    };
    allowed.max(widest)
}

fn group_name(at: usize) -> String {
    format!("group_{at}")
}

fn overflow(total: i128) -> Error {
    Error::invalid("the total of a step leaves 64 bits; ask for shorter steps").with("total", total)
}

fn labels_of(labels: &MapArray, row: usize) -> Result<Labels> {
    let entries = labels.value(row);
    let column = |at: usize| entries.columns().get(at).and_then(|column| column.as_string_opt::<i32>());
    let (Some(keys), Some(values)) = (column(0), column(1)) else {
        return Err(wrong("labels"));
    };
    Labels::from_pairs(keys.iter().zip(values).filter_map(|(key, value)| Some((key?, value?))))
}

fn column<T: 'static>(batch: &RecordBatch, at: usize) -> Result<&T> {
    let column = batch.columns().get(at).and_then(|column| column.as_any().downcast_ref());
    column.ok_or_else(|| wrong(batch.schema().fields().get(at).map_or("?", |field| field.name())))
}

fn numbers<T: ArrowPrimitiveType>(batch: &RecordBatch, at: usize) -> Result<&[T::Native]> {
    let column = batch.columns().get(at).and_then(|column| column.as_primitive_opt::<T>());
    Ok(column.ok_or_else(|| wrong(batch.schema().fields().get(at).map_or("?", |field| field.name())))?.values())
}

fn wrong(column: &str) -> Error {
    Error::internal("a plan gave a column of an unexpected type").with("column", column)
}
