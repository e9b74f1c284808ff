//! The schema `pg_catalog`: the tables and their columns as PostgreSQL's catalog tells them, for clients that know no other.
//!
//! It is there for statements that name it, and lists the tables of the schemas that people and clients read. Numbers of tables
//! grow with their place, those of the schema `segment` from [`SEGMENT_OID`] on: what is below it needs no schema before its
//! name. Three tables begin with `information_schema_`: those of that name in the standard, with PostgreSQL's names of types.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use flamestore_model::Tenant;

use super::pg_types::PgType;
use crate::session::{PUBLIC, Schema};

/// The name of the schema.
pub(super) const NAME: &str = "pg_catalog";

/// The first table of `segment`.
const SEGMENT_OID: i64 = 20_000;
const PUBLIC_OID: i64 = 16_384;
const CATALOG_NAMESPACE: i64 = 11;
const PUBLIC_NAMESPACE: i64 = 2_200;
const SEGMENT_NAMESPACE: i64 = 2_201;
const OWNER_OID: i64 = 10;
const HEAP_OID: i64 = 2;
const OWNER: &str = "flamestore";
const UTF8: i64 = 6;

/// The name of the database that has the tables of `tenant`.
pub fn database_of(tenant: &Tenant) -> &str {
    if *tenant == Tenant::default() { OWNER } else { tenant.as_str() }
}

/// Whether `statement` names the schema.
pub(super) fn is_named(statement: &str) -> bool {
    statement.contains(NAME)
}

/// The schema, which tells of `schemas`.
///
/// # Errors
/// When a table cannot be made.
pub(super) fn schema(schemas: &[Schema], tenant: &Tenant) -> Result<Schema> {
    let tables = Tables::of(schemas);
    let database = database_of(tenant);
    let all = [
        ("pg_class", classes(&tables)),
        ("pg_attribute", attributes(&tables)),
        ("pg_namespace", namespaces()),
        ("pg_type", types()),
        ("pg_database", databases(database)),
        ("pg_roles", roles()),
        ("pg_am", access_methods()),
        ("pg_tables", pg_tables(&tables)),
        ("pg_description", empty(&["objoid", "classoid", "objsubid"], &["description"])),
        ("pg_attrdef", empty(&["oid", "adrelid", "adnum"], &["adbin"])),
        ("pg_index", empty(&["indexrelid", "indrelid", "indnatts"], &["indkey"])),
        ("pg_constraint", empty(&["oid", "connamespace", "conrelid", "confrelid"], &["conname", "contype"])),
        ("information_schema_schemata", schemata(database)),
        ("information_schema_tables", standard_tables(&tables, database)),
        ("information_schema_columns", standard_columns(&tables, database)),
    ];
    let tables = all.into_iter().map(|(name, columns)| Ok((name, table(columns)?))).collect::<Result<_>>()?;
    Ok((NAME, tables))
}

/// A table to tell of.
struct Table {
    oid: i64,
    schema: &'static str,
    name: &'static str,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    ty: PgType,
    is_nullable: bool,
}

struct Tables(Vec<Table>);

impl Tables {
    fn of(schemas: &[Schema]) -> Self {
        let mut all = Vec::new();
        for (schema, tables) in schemas {
            let first = if *schema == PUBLIC { PUBLIC_OID } else { SEGMENT_OID };
            all.extend((first..).zip(tables).map(|(oid, (name, table))| {
                let fields = table.schema();
                let columns = fields.fields().iter().map(|field| Column {
                    name: field.name().clone(),
                    ty: PgType::of(field.data_type()),
                    is_nullable: field.is_nullable(),
                });
                Table { oid, schema, name, columns: columns.collect() }
            }));
        }
        Self(all)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn numbers(&self, of: impl Fn(&Table) -> i64) -> ArrayRef {
        numbers(self.0.iter().map(of))
    }

    fn texts(&self, of: impl Fn(&Table) -> &'static str) -> ArrayRef {
        texts(self.0.iter().map(of))
    }

    /// All columns with their table and their place in it, from 1 on.
    fn columns(&self) -> Vec<(&Table, i64, &Column)> {
        let tables = self.0.iter();
        let places =
            tables.flat_map(|table| (1_i64..).zip(&table.columns).map(move |(place, column)| (table, place, column)));
        places.collect()
    }
}

impl Table {
    fn namespace(&self) -> i64 {
        if self.schema == PUBLIC { PUBLIC_NAMESPACE } else { SEGMENT_NAMESPACE }
    }
}

type Columns = Vec<(&'static str, ArrayRef)>;

fn table(columns: Columns) -> Result<Arc<dyn TableProvider>> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

fn numbers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Columns that are the same in every row.
struct Same(usize);

impl Same {
    fn number(&self, value: i64) -> ArrayRef {
        numbers(std::iter::repeat_n(value, self.0))
    }

    fn text(&self, value: &str) -> ArrayRef {
        texts(std::iter::repeat_n(value, self.0))
    }

    fn bool(&self, value: bool) -> ArrayRef {
        Arc::new(BooleanArray::from(vec![value; self.0]))
    }

    fn no_text(&self) -> ArrayRef {
        Arc::new(StringArray::from(vec![None::<&str>; self.0]))
    }

    fn no_texts(&self) -> ArrayRef {
        let mut lists = ListBuilder::new(StringBuilder::new());
        (0..self.0).for_each(|_| lists.append(false));
        Arc::new(lists.finish())
    }
}

fn empty(of_numbers: &[&'static str], of_texts: &[&'static str]) -> Columns {
    let same = Same(0);
    let of_numbers = of_numbers.iter().map(|name| (*name, same.number(0)));
    of_numbers.chain(of_texts.iter().map(|name| (*name, same.text("")))).collect()
}

fn classes(tables: &Tables) -> Columns {
    let same = Same(tables.len());
    let natts = |table: &Table| i64::try_from(table.columns.len()).unwrap_or(i64::MAX);
    vec![
        ("oid", tables.numbers(|table| table.oid)),
        ("relname", tables.texts(|table| table.name)),
        ("relnamespace", tables.numbers(Table::namespace)),
        ("reltype", same.number(0)),
        ("reloftype", same.number(0)),
        ("relowner", same.number(OWNER_OID)),
        ("relam", same.number(HEAP_OID)),
        ("relfilenode", same.number(0)),
        ("reltablespace", same.number(0)),
        ("relpages", same.number(0)),
        ("reltuples", same.number(-1)),
        ("relallvisible", same.number(0)),
        ("reltoastrelid", same.number(0)),
        ("relhasindex", same.bool(false)),
        ("relisshared", same.bool(false)),
        ("relpersistence", same.text("p")),
        ("relkind", same.text("r")),
        ("relnatts", tables.numbers(natts)),
        ("relchecks", same.number(0)),
        ("relhasrules", same.bool(false)),
        ("relhastriggers", same.bool(false)),
        ("relhassubclass", same.bool(false)),
        ("relrowsecurity", same.bool(false)),
        ("relforcerowsecurity", same.bool(false)),
        ("relispopulated", same.bool(true)),
        ("relreplident", same.text("d")),
        ("relispartition", same.bool(false)),
        ("reloptions", same.no_texts()),
        ("relacl", same.no_texts()),
        ("relpartbound", same.no_text()),
    ]
}

fn attributes(tables: &Tables) -> Columns {
    let columns = tables.columns();
    let same = Same(columns.len());
    let is_required = columns.iter().map(|(_, _, column)| Some(!column.is_nullable));
    vec![
        ("attrelid", numbers(columns.iter().map(|(table, _, _)| table.oid))),
        ("attname", texts(columns.iter().map(|(_, _, column)| &column.name))),
        ("atttypid", numbers(columns.iter().map(|(_, _, column)| i64::from(column.ty.oid())))),
        ("attstattarget", same.number(-1)),
        ("attlen", numbers(columns.iter().map(|(_, _, column)| i64::from(column.ty.bytes())))),
        ("attnum", numbers(columns.iter().map(|(_, place, _)| *place))),
        ("attndims", numbers(columns.iter().map(|(_, _, column)| i64::from(column.ty.is_array)))),
        ("atttypmod", same.number(-1)),
        ("attstorage", same.text("p")),
        ("attcompression", same.text("")),
        ("attnotnull", Arc::new(is_required.collect::<BooleanArray>())),
        ("atthasdef", same.bool(false)),
        ("attidentity", same.text("")),
        ("attgenerated", same.text("")),
        ("attisdropped", same.bool(false)),
        ("attislocal", same.bool(true)),
        ("attinhcount", same.number(0)),
        ("attcollation", same.number(0)),
        ("attacl", same.no_texts()),
        ("attoptions", same.no_texts()),
    ]
}

/// The schemas by their numbers.
const NAMESPACES: [(i64, &str); 4] = [
    (CATALOG_NAMESPACE, NAME),
    (PUBLIC_NAMESPACE, PUBLIC),
    (SEGMENT_NAMESPACE, crate::session::SEGMENT),
    (2_202, "information_schema"),
];

fn namespaces() -> Columns {
    let same = Same(NAMESPACES.len());
    vec![
        ("oid", numbers(NAMESPACES.iter().map(|(oid, _)| *oid))),
        ("nspname", texts(NAMESPACES.iter().map(|(_, name)| name))),
        ("nspowner", same.number(OWNER_OID)),
        ("nspacl", same.no_texts()),
    ]
}

fn types() -> Columns {
    let all: Vec<PgType> = PgType::all().collect();
    let same = Same(all.len());
    let name = |ty: &PgType| match ty.is_array {
        true => format!("_{}", ty.entry().short_name),
        false => ty.entry().short_name.to_owned(),
    };
    let element = |ty: &PgType| if ty.is_array { i64::from(ty.entry().oid) } else { 0 };
    let array = |ty: &PgType| if ty.is_array { 0 } else { i64::from(ty.entry().array_oid) };
    vec![
        ("oid", numbers(all.iter().map(|ty| i64::from(ty.oid())))),
        ("typname", texts(all.iter().map(name))),
        ("typnamespace", same.number(CATALOG_NAMESPACE)),
        ("typowner", same.number(OWNER_OID)),
        ("typlen", numbers(all.iter().map(|ty| i64::from(ty.bytes())))),
        ("typtype", same.text("b")),
        ("typcategory", texts(all.iter().map(|ty| if ty.is_array { "A" } else { ty.entry().category }))),
        ("typispreferred", same.bool(false)),
        ("typisdefined", same.bool(true)),
        ("typdelim", same.text(",")),
        ("typrelid", same.number(0)),
        ("typelem", numbers(all.iter().map(element))),
        ("typarray", numbers(all.iter().map(array))),
        ("typinput", texts(all.iter().map(|ty| if ty.is_array { "array_in" } else { "" }))),
        ("typnotnull", same.bool(false)),
        ("typbasetype", same.number(0)),
        ("typtypmod", same.number(-1)),
        ("typndims", same.number(0)),
        ("typcollation", same.number(0)),
        ("typdefault", same.no_text()),
    ]
}

fn databases(database: &str) -> Columns {
    let same = Same(1);
    vec![
        ("oid", same.number(1)),
        ("datname", same.text(database)),
        ("datdba", same.number(OWNER_OID)),
        ("encoding", same.number(UTF8)),
        ("datlocprovider", same.text("c")),
        ("datistemplate", same.bool(false)),
        ("datallowconn", same.bool(true)),
        ("datconnlimit", same.number(-1)),
        ("dattablespace", same.number(0)),
        ("datcollate", same.text("C.UTF-8")),
        ("datctype", same.text("C.UTF-8")),
        ("daticulocale", same.no_text()),
        ("daticurules", same.no_text()),
        ("datacl", same.no_texts()),
    ]
}

fn roles() -> Columns {
    let same = Same(1);
    vec![
        ("oid", same.number(OWNER_OID)),
        ("rolname", same.text(OWNER)),
        ("rolsuper", same.bool(false)),
        ("rolinherit", same.bool(true)),
        ("rolcreaterole", same.bool(false)),
        ("rolcreatedb", same.bool(false)),
        ("rolcanlogin", same.bool(true)),
        ("rolreplication", same.bool(false)),
        ("rolbypassrls", same.bool(false)),
        ("rolconnlimit", same.number(-1)),
        ("rolvaliduntil", same.no_text()),
    ]
}

fn access_methods() -> Columns {
    let same = Same(1);
    vec![("oid", same.number(HEAP_OID)), ("amname", same.text("heap")), ("amtype", same.text("t"))]
}

fn pg_tables(tables: &Tables) -> Columns {
    let same = Same(tables.len());
    vec![
        ("schemaname", tables.texts(|table| table.schema)),
        ("tablename", tables.texts(|table| table.name)),
        ("tableowner", same.text(OWNER)),
        ("tablespace", same.no_text()),
        ("hasindexes", same.bool(false)),
        ("hasrules", same.bool(false)),
        ("hastriggers", same.bool(false)),
        ("rowsecurity", same.bool(false)),
    ]
}

fn schemata(database: &str) -> Columns {
    let same = Same(NAMESPACES.len());
    vec![
        ("catalog_name", same.text(database)),
        ("schema_name", texts(NAMESPACES.iter().map(|(_, name)| name))),
        ("schema_owner", same.text(OWNER)),
    ]
}

fn standard_tables(tables: &Tables, database: &str) -> Columns {
    let same = Same(tables.len());
    vec![
        ("table_catalog", same.text(database)),
        ("table_schema", tables.texts(|table| table.schema)),
        ("table_name", tables.texts(|table| table.name)),
        ("table_type", same.text("BASE TABLE")),
        ("is_insertable_into", same.text("NO")),
    ]
}

fn standard_columns(tables: &Tables, database: &str) -> Columns {
    let columns = tables.columns();
    let same = Same(columns.len());
    let data_type = |ty: PgType| if ty.is_array { "ARRAY" } else { ty.name() };
    let short_name = |ty: PgType| format!("{}{}", if ty.is_array { "_" } else { "" }, ty.entry().short_name);
    vec![
        ("table_catalog", same.text(database)),
        ("table_schema", texts(columns.iter().map(|(table, _, _)| table.schema))),
        ("table_name", texts(columns.iter().map(|(table, _, _)| table.name))),
        ("column_name", texts(columns.iter().map(|(_, _, column)| &column.name))),
        ("ordinal_position", numbers(columns.iter().map(|(_, place, _)| *place))),
        ("column_default", same.no_text()),
        ("is_nullable", texts(columns.iter().map(|(_, _, column)| if column.is_nullable { "YES" } else { "NO" }))),
        ("data_type", texts(columns.iter().map(|(_, _, column)| data_type(column.ty)))),
        ("character_maximum_length", same.no_text()),
        ("numeric_precision", same.no_text()),
        ("udt_schema", same.text(NAME)),
        ("udt_name", texts(columns.iter().map(|(_, _, column)| short_name(column.ty)))),
        ("is_updatable", same.text("NO")),
    ]
}
