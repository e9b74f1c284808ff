//! Parameters of statements: values instead of text put together, wherever a constant may stand.
#![allow(clippy::unwrap_used, reason = "what a test needs must not fail")]

mod common;

use common::{CPU, SECOND, START, World, rows, sql};
use expect_test::{Expect, expect};
use flamestore_model::Tenant;
use flamestore_query::{ScalarValue, SqlDescription};
use flamestore_testkit::Fixture;
use futures::TryStreamExt;

async fn world() -> World {
    let mut world = World::new().await;
    for (at, stacks) in ["main;read 3 | main;write 1", "main;read 5 | other;work 2"].into_iter().enumerate() {
        let labels = [("service_name", ["api", "web"][at]), ("pod", ["p0", "p1"][at])];
        let time = START + i64::try_from(at).unwrap() * 60 * SECOND;
        world.push(&labels, time, Fixture::cpu().profile(stacks)).await;
        world.flush().await;
    }
    world
}

fn text(value: &str) -> ScalarValue {
    ScalarValue::from(value)
}

fn number(value: i64) -> ScalarValue {
    ScalarValue::from(value)
}

fn timestamp(seconds: i64) -> ScalarValue {
    ScalarValue::TimestampSecond(Some(seconds), Some("UTC".into()))
}

async fn bound(world: &World, statement: &str, values: &[ScalarValue]) -> Result<Vec<Vec<String>>, String> {
    let run = async {
        let answer = world.engine.sql_bound(&Tenant::default(), statement, values).await?;
        answer.batches.try_collect::<Vec<_>>().await
    };
    Ok(rows(&run.await.map_err(|error| format!("{:?}: {error}", error.kind()))?))
}

/// Whether a statement with parameters answers as `plain` does, which has text in their place, and is described so.
async fn check(statement: &str, values: &[ScalarValue], plain: &str) {
    let world = world().await;
    let expected = sql(&world, plain).await.unwrap();
    assert!(!expected.is_empty(), "{plain}");
    assert_eq!(bound(&world, statement, values).await.unwrap(), expected, "{statement}");
    let described = world.engine.describe_sql(&Tenant::default(), statement).await.unwrap();
    assert_eq!(described.parameters.fields().len(), values.len(), "{statement}");
    let answer = world.engine.sql_bound(&Tenant::default(), statement, values).await.unwrap();
    let names = |schema: &arrow::datatypes::SchemaRef| -> Vec<String> {
        schema.fields().iter().map(|field| field.name().clone()).collect()
    };
    assert_eq!(names(&described.columns), names(&answer.schema), "{statement}");
}

async fn check_types(statement: &str, expected: Expect) {
    let world = world().await;
    let text = match world.engine.describe_sql(&Tenant::default(), statement).await {
        Ok(SqlDescription { parameters, columns }) => {
            let fields = |schema: &arrow::datatypes::SchemaRef| -> Vec<String> {
                schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect()
            };
            format!("{} -> {}", fields(&parameters).join(", "), fields(&columns).join(", "))
        }
        Err(error) => format!("{:?}: {error}", error.kind()),
    };
    expected.assert_eq(&text);
}

async fn check_refused(statement: &str, values: &[ScalarValue], expected: Expect) {
    expected.assert_eq(&bound(&world().await, statement, values).await.unwrap_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_stand_where_constants_may() {
    check(
        "SELECT leaf, sum(value) AS spent FROM samples WHERE service_name = $1 AND value > $2 GROUP BY leaf ORDER BY leaf",
        &[text("api"), number(1)],
        "SELECT leaf, sum(value) AS spent FROM samples WHERE service_name = 'api' AND value > 1 GROUP BY leaf ORDER BY leaf",
    )
    .await;
    check(
        "SELECT leaf FROM samples WHERE has_function(stack, $1) AND labels[$2] = $3 ORDER BY leaf LIMIT $4",
        &[text("^main$"), text("pod"), text("p0"), ScalarValue::Int32(Some(1))],
        "SELECT leaf FROM samples WHERE has_function(stack, '^main$') AND labels['pod'] = 'p0' ORDER BY leaf LIMIT 1",
    )
    .await;
    check(
        "SELECT service_name FROM profiles WHERE selects(labels, profile_type, $1) AND leaf(['a', $2]) = $2",
        &[text(r#"{pod="p1"}"#), text("b")],
        r#"SELECT service_name FROM profiles WHERE selects(labels, profile_type, '{pod="p1"}')"#,
    )
    .await;
    check(
        "SELECT value * $1 AS more FROM samples WHERE leaf IN ($2, $3) AND value BETWEEN $4 AND $5 ORDER BY more OFFSET $6",
        &[number(2), text("read"), text("work"), number(2), ScalarValue::from(4.5), number(0)],
        "SELECT value * 2 AS more FROM samples WHERE leaf IN ('read', 'work') AND value BETWEEN 2 AND 4.5 ORDER BY more",
    )
    .await;
    check("SELECT $1 AS a, $2 AS b", &[text("it's"), ScalarValue::Null], "SELECT 'it''s' AS a, NULL AS b").await;
    check("EXPLAIN SELECT $1 AS a", &[number(7)], "EXPLAIN SELECT 7 AS a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_compared_with_text_numbers_and_timestamps() {
    let later = START / SECOND + 60;
    let plain = "SELECT service_name FROM profiles WHERE time >= '2023-11-15T00:00:00Z' AND time < '2023-11-16'";
    let until = text("2023-11-16");
    for from in [text("2023-11-15T00:00:00Z"), number(later * SECOND), timestamp(later)] {
        check("SELECT service_name FROM profiles WHERE time >= $1 AND time < $2", &[from, until.clone()], plain).await;
    }
    let values = [timestamp(later), number(i64::MAX)];
    check("SELECT service_name FROM profiles WHERE time BETWEEN $1 AND $2", &values, plain).await;
    // what is compared prunes as constants do
    let world = world().await;
    let explained = "EXPLAIN ANALYZE SELECT count(*) FROM profiles WHERE time < $1";
    let plan = bound(&world, explained, &[number(START + SECOND)]).await.unwrap().concat().join("\n");
    assert!(plan.contains("segments=1/2"), "{plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_functions_take_values() {
    let (from, to) = (START, START + SECOND);
    let plain = format!("SELECT name, self, total FROM merge('{CPU}', {from}, {to}) ORDER BY node");
    let statement = "SELECT name, self, total FROM merge($1, $2, $3) ORDER BY node";
    let froms = [number(from), text("2023-11-14T23:59:00Z"), timestamp(from / SECOND), text("now")];
    for from in froms {
        check(statement, &[text(CPU), from, number(to)], &plain).await;
    }
    check(
        "SELECT name FROM top_functions(?, NULL, ?) WHERE self > ?",
        &[text(CPU), number(to), number(1)],
        &plain_top(to),
    )
    .await;
    check(
        "SELECT sum(self_before), sum(self_after) FROM diff($1, $2, $3, $3, $4)",
        &[text(CPU), ScalarValue::Null, number(to), ScalarValue::Null],
        &format!("SELECT sum(self_before), sum(self_after) FROM diff('{CPU}', NULL, {to}, {to}, NULL)"),
    )
    .await;
}

fn plain_top(to: i64) -> String {
    format!("SELECT name FROM top_functions('{CPU}', NULL, {to}) WHERE self > 1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn question_marks_are_numbered_from_left_to_right() {
    check(
        "SELECT ? AS a, '?' AS b FROM (SELECT * FROM samples WHERE leaf = ?) s -- ?\nWHERE\n value = ? OFFSET ? LIMIT ?",
        &[text("x"), text("read"), number(5), number(0), number(9)],
        "SELECT 'x' AS a, '?' AS b FROM samples WHERE leaf = 'read' AND value = 5",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_are_told_where_they_can_be() {
    check_types(
        "SELECT value, time, leaf, labels FROM samples WHERE leaf = $1 AND value > $2 AND time >= $3 LIMIT $4",
        expect![[r#"$1 Utf8, $2 Int64, $3 Timestamp(ns, "UTC"), $4 Int64 -> value Int64, time Timestamp(ns, "UTC"), leaf Utf8, labels Map("key_value": non-null Struct("key": non-null Utf8, "value": Utf8), sorted)"#]],
    )
    .await;
    check_types(
        "SELECT count(*) AS n FROM samples WHERE has_function(stack, ?) AND root LIKE ? AND label(labels, ?) = ?",
        expect!["$1 Utf8, $2 Utf8, $3 Null, $4 Utf8 -> n Int64"],
    )
    .await;
    check_types("SELECT name FROM merge($1, $2, now())", expect!["$1 Utf8, $2 Null -> name Utf8"]).await;
    check_types("SELECT $1 AS a, 1 AS b", expect!["$1 Null -> a Null, b Int64"]).await;
    check_types("SELECT $1 AS a FROM samples WHERE time = $1 AND value = $1", expect!["$1 Null -> a Null"]).await;
    check_types("EXPLAIN SELECT value FROM samples", expect![" -> plan_type Utf8, plan Utf8"]).await;
    check_types("SELECT * FROM nothing WHERE a = $1", expect!["Invalid: a query failed: Error during planning: table 'flamestore.public.nothing' not found [line=1, column=15]"]).await;
    check_types(
        "DROP TABLE samples",
        expect!["Invalid: a query failed: Error during planning: DDL not supported: DropTable"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_by_name() {
    let by_two = "SELECT value FROM samples WHERE leaf = $1 AND value = $2";
    check_refused(
        by_two,
        &[text("read")],
        expect!["Invalid: a parameter of the statement has no value [parameter=$2, values=1]"],
    )
    .await;
    check_refused(by_two, &[], expect!["Invalid: a parameter of the statement has no value [parameter=$1, values=0]"])
        .await;
    check_refused(
        by_two,
        &[text("a"), number(1), number(2)],
        expect!["Invalid: a value is of no parameter of the statement [parameter=$3, values=3]"],
    )
    .await;
    check_refused(
        "SELECT 1",
        &[number(2)],
        expect!["Invalid: a value is of no parameter of the statement [parameter=$1, values=1]"],
    )
    .await;
    check_refused(by_two, &[text("a"), text("many")], expect!["Invalid: the value of a parameter does not fit [parameter=$2, type=Int64]: Arrow error: Cast error: Cannot cast string 'many' to value of Int64 type"]).await;
    check_refused("SELECT time FROM samples WHERE time > $1", &[text("yesterday")], expect![[r#"Invalid: the value of a parameter does not fit [parameter=$1, type=Timestamp(ns, "UTC")]: Arrow error: Parser error: Error parsing timestamp from 'yesterday': timestamp must contain at least 10 characters"#]]).await;
    check_refused("SELECT name FROM merge($1)", &[number(1)], expect!["Invalid: merge takes a selector, then from and to, which may be left out: constants or parameters [parameter=$1]"]).await;
    check_refused("SELECT name FROM merge($1, $2)", &[text(CPU), text("never")], expect!["Invalid: not a time; examples: 2026-05-01T12:00:00Z, 2026-05-01, 1777636800, now, now-1h30m [found=never, parameter=$2]"]).await;
    check_refused(
        "SELECT $1, $3",
        &[number(1), number(2), number(3)],
        expect!["Invalid: the numbers of parameters have a gap [missing=$2, found=$3]"],
    )
    .await;
    check_refused(
        "SELECT $1, ?",
        &[number(1), number(2)],
        expect!["Invalid: parameters are either ? or $1, $2, …, not both [found=$1]"],
    )
    .await;
    check_refused(
        "SELECT $name",
        &[number(1)],
        expect!["Invalid: parameters are $1, $2, … or ?, without names [found=$name]"],
    )
    .await;
    check_refused(
        "SELECT $0",
        &[number(1)],
        expect!["Invalid: parameters are $1, $2, … or ?, without names [found=$0]"],
    )
    .await;
    let plain = sql(&world().await, "SELECT leaf FROM samples WHERE leaf = $1").await.unwrap_err();
    assert!(plain.starts_with("Invalid: a parameter of the statement has no value [parameter=$1"), "{plain}");
}
