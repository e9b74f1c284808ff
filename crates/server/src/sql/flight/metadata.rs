//! What there is to ask, as drivers ask for it: catalogs, schemas, tables, types, and what the server can.
//!
//! Names of tables and their columns come from the engine. There are no keys: their answers have columns and no rows.

use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandGetXdbcTypeInfo, Nullable, Searchable, SqlInfo, SqlNullOrdering, SqlSupportedCaseSensitivity,
    SqlSupportedTransaction, XdbcDataType,
};
use flamestore_model::{Error, Result, Tenant};
use flamestore_query::Engine;
use futures::TryStreamExt;

const CATALOG: &str = "flamestore";
const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

const TABLES: &str =
    "SELECT table_schema, table_name, table_type FROM information_schema.tables ORDER BY table_schema, table_name";

/// The version of Arrow's format that answers have.
const ARROW_VERSION: &str = "1.5.0";

/// The one catalog.
///
/// # Errors
/// `Internal` when the answer cannot be built.
pub(super) fn catalogs(query: CommandGetCatalogs) -> Result<RecordBatch> {
    let mut rows = query.into_builder();
    rows.append(CATALOG);
    rows.build().map_err(unbuildable)
}

/// The schemas that fit.
///
/// # Errors
/// Those of [`Engine::sql`].
pub(super) async fn schemas(engine: &Engine, tenant: &Tenant, query: CommandGetDbSchemas) -> Result<RecordBatch> {
    let mut names: Vec<String> = names(engine, tenant).await?.into_iter().map(|table| table.schema).collect();
    names.dedup();
    let mut rows = query.into_builder();
    names.iter().for_each(|name| rows.append(CATALOG, name));
    rows.build().map_err(unbuildable)
}

/// The tables that fit, with their columns where these are asked for.
///
/// # Errors
/// Those of [`Engine::sql`].
pub(super) async fn tables(engine: &Engine, tenant: &Tenant, query: CommandGetTables) -> Result<RecordBatch> {
    let has_columns = query.include_schema;
    let mut rows = query.into_builder();
    for Named { schema, table, kind } in names(engine, tenant).await? {
        let columns = match has_columns {
            true => engine.describe_sql(tenant, &format!("SELECT * FROM \"{schema}\".\"{table}\"")).await?.columns,
            false => Arc::new(Schema::empty()),
        };
        rows.append(CATALOG, schema, table, kind, &columns).map_err(unbuildable)?;
    }
    rows.build().map_err(unbuildable)
}

/// The kinds of tables.
///
/// # Errors
/// `Internal` when the answer cannot be built.
pub(super) fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch> {
    let mut rows = query.into_builder();
    rows.append(TABLE);
    rows.append(VIEW);
    rows.build().map_err(unbuildable)
}

/// What the server can, as far as it is asked for.
///
/// # Errors
/// `Internal` when the answer cannot be built.
pub(super) fn sql_info(query: CommandGetSqlInfo) -> Result<RecordBatch> {
    static INFO: LazyLock<std::result::Result<SqlInfoData, String>> =
        LazyLock::new(|| info().build().map_err(|error| error.to_string()));
    let info = INFO.as_ref().map_err(|error| Error::internal("no answer can be built").because(error.as_str()))?;
    query.into_builder(info).build().map_err(unbuildable)
}

/// The types of values, as far as they are asked for.
///
/// # Errors
/// `Internal` when the answer cannot be built.
pub(super) fn types(query: CommandGetXdbcTypeInfo) -> Result<RecordBatch> {
    static TYPES: LazyLock<std::result::Result<XdbcTypeInfoData, String>> =
        LazyLock::new(|| type_info().build().map_err(|error| error.to_string()));
    let types = TYPES.as_ref().map_err(|error| Error::internal("no answer can be built").because(error.as_str()))?;
    query.into_builder(types).build().map_err(unbuildable)
}

/// No primary key.
pub(super) fn no_primary_keys() -> RecordBatch {
    let text = |name, is_nullable| Field::new(name, DataType::Utf8, is_nullable);
    RecordBatch::new_empty(Arc::new(Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        text("key_name", true),
        Field::new("key_sequence", DataType::Int32, false),
    ])))
}

/// No key of another table.
pub(super) fn no_foreign_keys() -> RecordBatch {
    let text = |name, is_nullable| Field::new(name, DataType::Utf8, is_nullable);
    RecordBatch::new_empty(Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ])))
}

struct Named {
    schema: String,
    table: String,
    kind: &'static str,
}

/// All tables, by schema and name.
async fn names(engine: &Engine, tenant: &Tenant) -> Result<Vec<Named>> {
    let mut names = Vec::new();
    let mut batches = engine.sql(tenant, TABLES).await?.batches;
    while let Some(batch) = batches.try_next().await? {
        let text = |column: usize| {
            let column = batch.columns().get(column).and_then(|column| column.as_string_opt::<i32>());
            column.ok_or_else(|| Error::internal("the names of tables are text"))
        };
        let (schemas, tables, kinds) = (text(0)?, text(1)?, text(2)?);
        names.extend((0..batch.num_rows()).map(|row| Named {
            schema: schemas.value(row).to_owned(),
            table: tables.value(row).to_owned(),
            kind: if kinds.value(row) == "VIEW" { VIEW } else { TABLE },
        }));
    }
    Ok(names)
}

fn info() -> SqlInfoDataBuilder {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Flamestore");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i64);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    // quoted names are as they are written, for which there is no value
    info.append(SqlInfo::SqlQuotedIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i64);
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i64);
    info.append(SqlInfo::SqlSearchStringEscape, "\\");
    info.append(SqlInfo::SqlSupportsColumnAliasing, true);
    info.append(SqlInfo::SqlNullPlusNullIsNull, true);
    info.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    info.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    info.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    info.append(SqlInfo::SqlSupportsLikeEscapeClause, true);
    info.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(SqlInfo::SqlCatalogAtStart, true);
    info.append(SqlInfo::SqlSelectForUpdateSupported, false);
    info.append(SqlInfo::SqlStoredProceduresSupported, false);
    info.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    info.append(SqlInfo::SqlTransactionsSupported, false);
    info.append(SqlInfo::SqlBatchUpdatesSupported, false);
    info.append(SqlInfo::SqlSavepointsSupported, false);
    info.append(SqlInfo::SqlNamedParametersSupported, false);
    info
}

fn type_info() -> XdbcTypeInfoDataBuilder {
    use XdbcDataType::{
        XdbcBigint, XdbcBit, XdbcDate, XdbcDouble, XdbcInteger, XdbcSmallint, XdbcTimestamp, XdbcVarbinary, XdbcVarchar,
    };
    let types = [
        ("BOOLEAN", XdbcBit, None, 1),
        ("SMALLINT", XdbcSmallint, None, 5),
        ("INTEGER", XdbcInteger, None, 10),
        ("BIGINT", XdbcBigint, None, 19),
        ("DOUBLE", XdbcDouble, None, 15),
        ("VARCHAR", XdbcVarchar, Some("'"), i32::MAX),
        ("BYTEA", XdbcVarbinary, Some("'"), i32::MAX),
        ("DATE", XdbcDate, Some("'"), 10),
        ("TIMESTAMP", XdbcTimestamp, Some("'"), 30),
    ];
    let mut all = XdbcTypeInfoDataBuilder::new();
    for (name, data_type, quote, size) in types {
        let is_number = matches!(data_type, XdbcSmallint | XdbcInteger | XdbcBigint | XdbcDouble);
        all.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type,
            column_size: Some(size),
            literal_prefix: quote.map(str::to_owned),
            literal_suffix: quote.map(str::to_owned),
            nullable: Nullable::NullabilityNullable,
            case_sensitive: data_type == XdbcVarchar,
            searchable: Searchable::Full,
            unsigned_attribute: is_number.then_some(false),
            sql_data_type: data_type,
            num_prec_radix: is_number.then_some(10),
            ..XdbcTypeInfo::default()
        });
    }
    all
}

fn unbuildable(error: FlightError) -> Error {
    Error::internal("no answer can be built").because(error)
}
