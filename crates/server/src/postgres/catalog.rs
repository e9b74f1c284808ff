//! Questions about PostgreSQL's catalog, rewritten into what the engine understands.
//!
//! ```text
//! SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^a$'
//!          │ what is the same in every database                                          │ its own ways to say things
//!          ▼                                                                             ▼
//! SELECT 'flamestore' AS pg_get_userbyid        FROM pg_catalog.pg_class c WHERE c.relname ~ '^a$'
//! ```
//!
//! The tables that have something to say here are the engine's, in the schema `pg_catalog`. Of those that say what there is none of
//! here (indexes, policies, publications, …) no question reaches it: there are no rows. A statement that asks nothing of this
//! kind stays as it is, to the letter.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join,
    JoinOperator, ObjectName, Query, Select, SelectItem, SetExpr, Statement, TableFactor, Value, VisitMut, VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use flamestore_query::PgType;

use super::statement::Settings;

/// Words that a statement has which asks something of this kind.
const WORDS: [&str; 13] = [
    "pg_",
    "information_schema",
    "current_",
    "version",
    "user",
    "quote_ident",
    "parse_ident",
    "_privilege",
    "regclass",
    "regtype",
    "set_config",
    "format_type",
    "_description",
];

/// Tables that are always empty here.
const EMPTY: [&str; 38] = [
    "pg_aggregate",
    "pg_attrdef",
    "pg_auth_members",
    "pg_cast",
    "pg_collation",
    "pg_constraint",
    "pg_cursors",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_indexes",
    "pg_inherits",
    "pg_language",
    "pg_locks",
    "pg_matviews",
    "pg_opclass",
    "pg_operator",
    "pg_partitioned_table",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_range",
    "pg_rewrite",
    "pg_sequence",
    "pg_shdescription",
    "pg_statistic_ext",
    "pg_subscription",
    "pg_tablespace",
    "pg_trigger",
    "pg_views",
];

/// Tables of the standard that are always empty here.
const EMPTY_STANDARD: [&str; 8] = [
    "views",
    "routines",
    "parameters",
    "key_column_usage",
    "table_constraints",
    "referential_constraints",
    "constraint_column_usage",
    "triggers",
];

/// The tables of the standard that the engine has under other names.
const STANDARD: [&str; 3] = ["schemata", "tables", "columns"];

/// The tables that lie outside of what needs no schema before its name have larger numbers.
const VISIBLE_OIDS_END: u32 = 20_000;
const OWNER: &str = "flamestore";

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) database: &'a str,
    pub(super) user: &'a str,
    pub(super) settings: &'a Settings,
    pub(super) process: i32,
}

/// A statement as the engine is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// As it came.
    AsItIs,
    /// In other words.
    Rewritten(String),
    /// Not at all: there are no rows, and the columns are text of these names.
    Empty(Vec<String>),
}

/// What becomes of `statement`, which is short enough to be planned.
pub(super) fn rewrite(statement: &str, about: &About<'_>) -> Asked {
    let lower = statement.to_lowercase();
    if !WORDS.iter().any(|word| lower.contains(word)) {
        return Asked::AsItIs;
    }
    // what PostgreSQL cannot read, the engine may
    let Ok(mut statements) = Parser::parse_sql(&PostgreSqlDialect {}, statement) else { return Asked::AsItIs };
    let [parsed] = statements.as_mut_slice() else { return Asked::AsItIs };
    if let Statement::Query(query) = parsed
        && is_empty(query)
    {
        return Asked::Empty(column_names(query));
    }
    let before = parsed.clone();
    let _: ControlFlow<()> = VisitMut::visit(parsed, &mut Rewriting(about));
    if before == *parsed {
        return Asked::AsItIs;
    }
    if let (Statement::Query(before), Statement::Query(after)) = (&before, &mut *parsed) {
        keep_names(before, after);
    }
    Asked::Rewritten(parsed.to_string())
}

fn lower(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.to_lowercase()).collect()
}

fn is_empty_table(table: &TableFactor) -> bool {
    let TableFactor::Table { name, args, .. } = table else { return false };
    let name = lower(name);
    // the options of tables, of which there are none
    if name.last().is_some_and(|name| name == "unnest") && args.is_some() {
        return table.to_string().contains("reloptions");
    }
    match name.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["pg_catalog", name] | [name] => EMPTY.contains(name),
        ["information_schema", name] => EMPTY_STANDARD.contains(name),
        _ => false,
    }
}

/// Whether a query has no rows because a table it joins has none.
fn is_empty(query: &Query) -> bool {
    query.with.is_none() && is_empty_body(&query.body)
}

fn is_empty_body(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => is_empty_select(select),
        SetExpr::Query(query) => is_empty(query),
        SetExpr::SetOperation { left, right, .. } => is_empty_body(left) && is_empty_body(right),
        _ => false,
    }
}

fn is_empty_select(select: &Select) -> bool {
    let is_count = |item: &SelectItem| {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { return false };
        matches!(expr, Expr::Function(function) if lower(&function.name).last().is_some_and(|name| name == "count"))
    };
    let is_needed = |join: &Join| {
        matches!(join.join_operator, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
    };
    let mut joined = select.from.iter().flat_map(|from| {
        let joins = from.joins.iter().filter(|join| is_needed(join)).map(|join| &join.relation);
        std::iter::once(&from.relation).chain(joins)
    });
    joined.any(is_empty_table) && !select.projection.iter().any(is_count)
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

fn column_names(query: &Query) -> Vec<String> {
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(name_of(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    };
    first_select(&query.body).map(|select| select.projection.iter().filter_map(name).collect()).unwrap_or_default()
}

/// The name that PostgreSQL gives a column without one.
fn name_of(expr: &Expr) -> String {
    let name = match expr {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| ident.value.clone()),
        Expr::Function(function) => lower(&function.name).pop(),
        Expr::Cast { expr, .. } | Expr::Collate { expr, .. } | Expr::Nested(expr) => Some(name_of(expr)),
        Expr::Case { .. } => Some("case".to_owned()),
        _ => None,
    };
    name.unwrap_or_else(|| "?column?".to_owned())
}

/// Gives columns that were rewritten the names that they had before.
fn keep_names(before: &Query, after: &mut Query) {
    let (SetExpr::Select(before), SetExpr::Select(after)) = (&*before.body, &mut *after.body) else { return };
    for (before, after) in before.projection.iter().zip(&mut after.projection) {
        let SelectItem::UnnamedExpr(named) = before else { continue };
        if let SelectItem::UnnamedExpr(expr) = &*after
            && expr != named
        {
            let alias = Ident::with_quote('"', name_of(named));
            *after = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

fn parsed(text: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(text).ok()?.parse_expr().ok()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Cast { expr, .. } | Expr::Nested(expr) => literal(expr),
        _ => None,
    }
}

struct Rewriting<'a>(&'a About<'a>);

impl VisitorMut for Rewriting<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias: None, args: None, .. } = table
            && let Some(renamed) = renamed(&lower(name))
            && let Some(last) = lower(name).last()
            && let Some(TableFactor::Table { name: renamed, alias, .. }) = table_of(&format!("{renamed} AS {last}"))
            && let TableFactor::Table { name, alias: none, .. } = table
        {
            (*name, *none) = (renamed, alias);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        let parts = lower(name);
        let renamed = renamed(&parts).or_else(|| match parts.as_slice() {
            // functions that stand in the place of tables
            [schema, function]
                if schema == "pg_catalog"
                    && !function.starts_with("pg_")
                    && !function.starts_with("information_schema_") =>
            {
                Some(function.clone())
            }
            _ => None,
        });
        if let Some(TableFactor::Table { name: renamed, .. }) = renamed.and_then(|renamed| table_of(&renamed)) {
            *name = renamed;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let replaced = match &*expr {
            Expr::Subquery(query) if is_empty(query) => Some("CAST(NULL AS TEXT)".to_owned()),
            Expr::Function(Function { name, args: FunctionArguments::Subquery(query), .. })
                if is_empty(query) && lower(name).last().is_some_and(|name| name == "array") =>
            {
                Some("arrow_cast(NULL, 'List(Utf8)')".to_owned())
            }
            Expr::Exists { subquery, negated } if is_empty(subquery) => Some(negated.to_string()),
            Expr::InSubquery { subquery, negated, .. } if is_empty(subquery) => Some(negated.to_string()),
            // the schemas on the path, however they are cut out of the setting
            Expr::InSubquery { expr, subquery, negated }
                if subquery.to_string().contains("current_setting('search_path')") =>
            {
                Some(format!("{expr} {} IN ('public')", if *negated { "NOT" } else { "" }))
            }
            _ => None,
        };
        replace(expr, replaced)
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let replaced = match expr {
            Expr::Collate { expr: inner, .. } => {
                *expr = (**inner).clone();
                None
            }
            Expr::Value(value) => {
                if let Value::EscapedStringLiteral(text) = &value.value {
                    value.value = Value::SingleQuotedString(text.clone());
                }
                None
            }
            Expr::BinaryOp { op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                    && let Some(known) = parts.last().and_then(|operator| operator_of(operator))
                {
                    *op = known;
                }
                None
            }
            Expr::Cast { expr: inner, data_type, .. } => cast(inner, data_type),
            Expr::Function(function) => self.function(function),
            _ => None,
        };
        replace(expr, replaced)
    }
}

fn replace(expr: &mut Expr, text: Option<String>) -> ControlFlow<()> {
    if let Some(new) = text.and_then(|text| parsed(&text)) {
        *expr = new;
    }
    ControlFlow::Continue(())
}

fn table_of(text: &str) -> Option<TableFactor> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(text).ok()?.parse_table_factor().ok()
}

/// The name that the engine has for a table, if it has another one.
fn renamed(parts: &[String]) -> Option<String> {
    match parts {
        [schema, name] if schema == "information_schema" && STANDARD.contains(&name.as_str()) => {
            Some(format!("pg_catalog.information_schema_{name}"))
        }
        [name] if name.starts_with("pg_") => Some(format!("pg_catalog.{name}")),
        _ => None,
    }
}

fn operator_of(text: &str) -> Option<BinaryOperator> {
    Some(match text {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        "~~" => BinaryOperator::PGLikeMatch,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

/// A cast to a type that only PostgreSQL has, in other words.
fn cast(inner: &Expr, data_type: &mut DataType) -> Option<String> {
    let name = match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, _) => lower(name).pop()?,
        _ => return None,
    };
    match name.as_str() {
        "regclass" => return Some(literal(inner).map_or_else(|| format!("CAST({inner} AS TEXT)"), class_of)),
        "regtype" | "regproc" | "regnamespace" | "regrole" | "name" | "char" | "bpchar" => *data_type = DataType::Text,
        "oid" | "xid" => *data_type = DataType::BigInt(None),
        name => {
            let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(name).ok();
            if let Some(parsed) = parsed.and_then(|mut parser| parser.parse_data_type().ok()) {
                *data_type = parsed;
            }
        }
    }
    None
}

/// The number of the table called `name`.
fn class_of(name: &str) -> String {
    let name = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
    format!("(SELECT min(oid) FROM pg_catalog.pg_class WHERE relname = {})", quoted(name))
}

impl Rewriting<'_> {
    fn function(&self, function: &mut Function) -> Option<String> {
        let parts = lower(&function.name);
        let name = parts.last()?.as_str();
        let arguments = arguments(function);
        let argument = |at: usize| arguments.get(at).map(|expr| (*expr).clone());
        let text = |at: usize| arguments.get(at).and_then(|expr| literal(expr));
        let About { database, user, settings, process } = self.0;
        let constant = match name {
            "version" => quoted("PostgreSQL 15.0 (Flamestore)"),
            "current_database" | "current_catalog" => quoted(database),
            "current_schema" => quoted("public"),
            "current_schemas" => "make_array('pg_catalog', 'public')".to_owned(),
            "current_user" | "session_user" | "user" | "current_role" => quoted(user),
            "current_setting" => settings.get(text(0)?).map_or_else(|_| "CAST(NULL AS TEXT)".to_owned(), quoted),
            "set_config" => argument(1)?.to_string(),
            "pg_backend_pid" => process.to_string(),
            "pg_get_userbyid" => quoted(OWNER),
            "pg_encoding_to_char" => quoted("UTF8"),
            "pg_table_is_visible" => format!("({} < {VISIBLE_OIDS_END})", argument(0)?),
            "pg_type_is_visible" | "pg_function_is_visible" => "true".to_owned(),
            "pg_is_in_recovery" | "pg_relation_is_publishable" => "false".to_owned(),
            name if name.starts_with("has_") && name.ends_with("_privilege") => "true".to_owned(),
            "pg_get_expr"
            | "obj_description"
            | "col_description"
            | "shobj_description"
            | "pg_get_constraintdef"
            | "pg_get_indexdef"
            | "pg_get_viewdef"
            | "pg_get_partkeydef"
            | "pg_get_serial_sequence"
            | "pg_size_pretty"
            | "pg_table_size"
            | "pg_relation_size"
            | "pg_total_relation_size"
            | "pg_database_size" => "CAST(NULL AS TEXT)".to_owned(),
            "to_regclass" => class_of(text(0)?),
            "format_type" => format_type(&argument(0)?),
            "quote_ident" => quote_ident(&argument(0)?, text(0)),
            "parse_ident" => format!(
                "make_array({})",
                identifiers(text(0)?).map(|part| quoted(&part)).collect::<Vec<_>>().join(", ")
            ),
            name => {
                if parts.first().is_some_and(|schema| schema == "pg_catalog") {
                    function.name = ObjectName::from(vec![Ident::new(name)]);
                }
                return None;
            }
        };
        Some(constant)
    }
}

fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let arguments = list.args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    arguments.collect()
}

fn format_type(oid: &Expr) -> String {
    let arms: Vec<_> = PgType::all().map(|ty| format!("WHEN {} THEN {}", ty.oid(), quoted(ty.name()))).collect();
    format!("CASE {oid} {} END", arms.join(" "))
}

fn quote_ident(name: &Expr, text: Option<&str>) -> String {
    const PLAIN: &str = "^[a-z_][a-z0-9_]*$";
    let is_plain = |text: &str| {
        !text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
            && !text.is_empty()
    };
    match text {
        Some(text) if is_plain(text) => quoted(text),
        Some(text) => quoted(&format!("\"{}\"", text.replace('"', "\"\""))),
        None => {
            format!("CASE WHEN {name} ~ '{PLAIN}' THEN {name} ELSE '\"' || replace({name}, '\"', '\"\"') || '\"' END")
        }
    }
}

/// The parts of a name, without their quotes.
fn identifiers(text: &str) -> impl Iterator<Item = String> {
    let part = |part: &str| match part.trim().strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => part.trim().to_lowercase(),
    };
    text.split('.').map(part).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(statement: &str) -> Asked {
        let settings = Settings::new();
        rewrite(statement, &About { database: "team-a", user: "ada", settings: &settings, process: 7 })
    }

    fn check(statement: &str, expected: &str) {
        assert_eq!(asked(statement), Asked::Rewritten(expected.to_owned()), "{statement}");
    }

    #[test]
    fn statements_about_profiles_stay_as_they_are() {
        for statement in
            ["SELECT 1", "SELECT labels['version'] FROM profiles", "SELECT user_id FROM", "not SQL, version"]
        {
            assert_eq!(asked(statement), Asked::AsItIs);
        }
    }

    #[test]
    fn what_is_the_same_everywhere_is_told() {
        check("SELECT version()", "SELECT 'PostgreSQL 15.0 (Flamestore)' AS \"version\"");
        check(
            "SELECT current_database(), current_user",
            "SELECT 'team-a' AS \"current_database\", 'ada' AS \"current_user\"",
        );
        check(
            "SELECT current_setting('server_version_num')::int/100 as version",
            "SELECT '150000'::INT / 100 AS version",
        );
        check(
            "SELECT 'samples'::regclass",
            "SELECT (SELECT min(oid) FROM pg_catalog.pg_class WHERE relname = 'samples') AS \"?column?\"",
        );
        check("SELECT 1::pg_catalog.int4", "SELECT 1::INT4 AS \"?column?\"");
    }

    #[test]
    fn names_and_operators_are_the_engines() {
        check(
            "SELECT c.oid FROM pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(a)$' COLLATE pg_catalog.default",
            "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relname ~ '^(a)$'",
        );
        check(
            "SELECT columns.data_type FROM information_schema.columns",
            "SELECT columns.data_type FROM pg_catalog.information_schema_columns AS columns",
        );
        check("SELECT pg_catalog.lower('A')", "SELECT lower('A') AS \"lower\"");
        check("SELECT quote_ident('A b')", "SELECT '\"A b\"' AS \"quote_ident\"");
    }

    #[test]
    fn of_what_there_is_none_of_there_are_no_rows() {
        let names = |names: &[&str]| Asked::Empty(names.iter().map(ToString::to_string).collect());
        assert_eq!(asked("SELECT extversion FROM pg_extension WHERE extname = 'x'"), names(&["extversion"]));
        assert_eq!(
            asked("SELECT c.oid::pg_catalog.regclass, 1 FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i"),
            names(&["oid", "?column?"])
        );
        check(
            "SELECT a.attname, (SELECT d.adbin FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid) FROM pg_catalog.pg_attribute a",
            "SELECT a.attname, CAST(NULL AS TEXT) AS \"?column?\" FROM pg_catalog.pg_attribute a",
        );
    }

    #[test]
    fn lists_of_nothing_are_null() {
        check(
            "SELECT c.reloptions || array(SELECT x FROM pg_catalog.unnest(c.reloptions) x) AS o FROM pg_catalog.pg_class c",
            "SELECT c.reloptions || arrow_cast(NULL, 'List(Utf8)') AS o FROM pg_catalog.pg_class c",
        );
    }

    #[test]
    fn a_long_chain_is_no_danger() {
        let chain = vec!["pg_backend_pid()"; 160].join(" + ");
        assert!(matches!(asked(&format!("SELECT {chain}")), Asked::Rewritten(_)));
    }
}
