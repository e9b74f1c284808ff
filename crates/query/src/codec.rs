//! Call trees as record batches: one row is one tree, with the symbols it needs.
//!
//! ```text
//! strings    list<binary>                                           sorted, 0 is empty
//! mappings   list<struct<memory_start … build_id, has_* …>>         filename, build_id: rows of strings
//! functions  list<struct<name, system_name, filename, start_line>>  rows of strings
//! locations  list<struct<mapping, address, is_folded, lines: list<struct<function, line, column>>>>
//! nodes      list<struct<parent, location, self_0, …>>              preorder; one self column per column of values
//! ```
//!
//! Ids are row numbers of the lists of the same row; 4294967295 stands for none. This is how trees travel between operators;
//! what users get is the table of [`crate::frames`]. Encoding moves or copies columns, it never walks the tree.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int64Array, ListArray, PrimitiveArray, RecordBatch, StructArray,
    UInt32Array, UInt64Array,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Fields, Int64Type, Schema, SchemaRef, UInt32Type, UInt64Type,
};
use datafusion::common::{DFSchema, DFSchemaRef};
use flamestore_calltree::{ByteStrings, CallTree, Dictionary, Functions, LabelSets, Locations, ValueTree};
use flamestore_model::{Error, Mapping, Result};

const SELF_NAMES: [&str; 2] = ["self_0", "self_1"];

/// The schema of trees with `columns` columns of values; 1 or 2.
///
/// # Panics
/// With another number of columns.
pub(crate) fn schema(columns: usize) -> SchemaRef {
    static SCHEMAS: LazyLock<[SchemaRef; 2]> = LazyLock::new(|| [build_schema(1), build_schema(2)]);
    Arc::clone(&SCHEMAS[columns - 1])
}

/// The schema of trees with two columns, as logical plans have it.
pub(crate) fn diff_schema() -> &'static DFSchemaRef {
    static SCHEMA: LazyLock<DFSchemaRef> = LazyLock::new(|| {
        let schema = DFSchema::try_from(schema(2).as_ref().clone());
        Arc::new(schema.unwrap_or_else(|_| DFSchema::empty()))
    });
    &SCHEMA
}

/// `tree` as one row.
///
/// # Errors
/// `Exhausted` when a table of the tree has more rows than Arrow's lists can hold (2³¹).
pub(crate) fn encode(tree: ValueTree) -> Result<RecordBatch> {
    let ValueTree { dictionary, tree, values } = tree;
    let dictionary = Arc::try_unwrap(dictionary).unwrap_or_else(|shared| Dictionary::clone(&shared));
    let Dictionary { strings, mappings, functions, locations, label_sets: _ } = dictionary;
    let schema = schema(values.len());
    let columns = vec![
        one_list(encode_strings(&strings)?)?,
        one_list(encode_mappings(&mappings)?)?,
        one_list(encode_functions(functions)?)?,
        one_list(encode_locations(locations)?)?,
        one_list(encode_nodes(tree, values)?)?,
    ];
    RecordBatch::try_new(schema, columns).map_err(wrong)
}

/// The trees of `batch`, one per row.
///
/// # Errors
/// `Internal` when the batch is not what [`encode`] makes.
pub(crate) fn decode(batch: &RecordBatch) -> Result<Vec<ValueTree>> {
    (0..batch.num_rows()).map(|row| decode_row(batch, row)).collect()
}

fn decode_row(batch: &RecordBatch, row: usize) -> Result<ValueTree> {
    let strings = element(batch, 0, row)?;
    let dictionary = Dictionary {
        strings: decode_strings(cast::<BinaryArray>(&strings)?)?,
        mappings: decode_mappings(cast(&element(batch, 1, row)?)?)?,
        functions: decode_functions(cast(&element(batch, 2, row)?)?)?,
        locations: decode_locations(cast(&element(batch, 3, row)?)?)?,
        label_sets: LabelSets::default(),
    };
    let nodes = element(batch, 4, row)?;
    let nodes: &StructArray = cast(&nodes)?;
    let tree = CallTree { parent: u32s(nodes, 0)?, location: u32s(nodes, 1)? };
    let values = (2..nodes.num_columns()).map(|column| i64s(nodes, column)).collect::<Result<_>>()?;
    Ok(ValueTree { dictionary: Arc::new(dictionary), tree, values })
}

fn build_schema(columns: usize) -> SchemaRef {
    let list = |name: &str, item: DataType| Field::new(name, DataType::List(item_field(item)), false);
    Arc::new(Schema::new(vec![
        list("strings", DataType::Binary),
        list("mappings", DataType::Struct(mapping_fields())),
        list("functions", DataType::Struct(function_fields())),
        list("locations", DataType::Struct(location_fields())),
        list("nodes", DataType::Struct(node_fields(columns))),
    ]))
}

fn item_field(item: DataType) -> FieldRef {
    Arc::new(Field::new("item", item, false))
}

fn fields(all: &[(&str, DataType)]) -> Fields {
    all.iter().map(|(name, ty)| Field::new(*name, ty.clone(), false)).collect()
}

fn mapping_fields() -> Fields {
    use DataType::{Boolean, UInt32, UInt64};
    fields(&[
        ("memory_start", UInt64),
        ("memory_limit", UInt64),
        ("file_offset", UInt64),
        ("filename", UInt32),
        ("build_id", UInt32),
        ("has_functions", Boolean),
        ("has_filenames", Boolean),
        ("has_line_numbers", Boolean),
        ("has_inline_frames", Boolean),
    ])
}

fn function_fields() -> Fields {
    use DataType::{Int64, UInt32};
    fields(&[("name", UInt32), ("system_name", UInt32), ("filename", UInt32), ("start_line", Int64)])
}

fn line_fields() -> Fields {
    use DataType::{Int64, UInt32};
    fields(&[("function", UInt32), ("line", Int64), ("column", Int64)])
}

fn location_fields() -> Fields {
    use DataType::{Boolean, List, Struct, UInt32, UInt64};
    let lines = List(item_field(Struct(line_fields())));
    fields(&[("mapping", UInt32), ("address", UInt64), ("is_folded", Boolean), ("lines", lines)])
}

fn node_fields(columns: usize) -> Fields {
    use DataType::{Int64, UInt32};
    let mut all = vec![("parent", UInt32), ("location", UInt32)];
    all.extend(SELF_NAMES.iter().take(columns).map(|name| (*name, Int64)));
    fields(&all)
}

fn one_list(values: ArrayRef) -> Result<ArrayRef> {
    let offsets = list_offsets(&[0, u32::try_from(values.len()).map_err(|_| too_many(values.len()))?])?;
    let list = ListArray::try_new(item_field(values.data_type().clone()), offsets, values, None);
    Ok(Arc::new(list.map_err(wrong)?))
}

fn list_offsets(offsets: &[u32]) -> Result<OffsetBuffer<i32>> {
    let last = offsets.last().copied().unwrap_or_default();
    i32::try_from(last).map_err(|_| too_many(last as usize))?;
    Ok(OffsetBuffer::new(offsets.iter().map(|offset| offset.cast_signed()).collect::<ScalarBuffer<i32>>()))
}

fn structs(fields: Fields, columns: Vec<ArrayRef>) -> Result<ArrayRef> {
    Ok(Arc::new(StructArray::try_new(fields, columns, None).map_err(wrong)?))
}

fn encode_strings(strings: &ByteStrings) -> Result<ArrayRef> {
    let bytes = Buffer::from_slice_ref(strings.bytes());
    Ok(Arc::new(BinaryArray::try_new(list_offsets(strings.offsets())?, bytes, None).map_err(wrong)?))
}

fn encode_mappings(mappings: &[Mapping]) -> Result<ArrayRef> {
    let u64s = |get: fn(&Mapping) -> u64| Arc::new(mappings.iter().map(get).collect::<UInt64Array>()) as ArrayRef;
    let u32s = |get: fn(&Mapping) -> u32| Arc::new(mappings.iter().map(get).collect::<UInt32Array>()) as ArrayRef;
    let bools = |get: fn(&Mapping) -> bool| {
        Arc::new(BooleanArray::from(mappings.iter().map(get).collect::<Vec<_>>())) as ArrayRef
    };
    structs(
        mapping_fields(),
        vec![
            u64s(|m| m.memory_start),
            u64s(|m| m.memory_limit),
            u64s(|m| m.file_offset),
            u32s(|m| m.filename),
            u32s(|m| m.build_id),
            bools(|m| m.has_functions),
            bools(|m| m.has_filenames),
            bools(|m| m.has_line_numbers),
            bools(|m| m.has_inline_frames),
        ],
    )
}

fn encode_functions(functions: Functions) -> Result<ArrayRef> {
    let Functions { name, system_name, filename, start_line } = functions;
    structs(function_fields(), vec![of(name), of(system_name), of(filename), of_i64(start_line)])
}

fn encode_locations(locations: Locations) -> Result<ArrayRef> {
    let Locations { mapping, address, is_folded, line_offsets, line_function, line_line, line_column } = locations;
    let lines = structs(line_fields(), vec![of(line_function), of_i64(line_line), of_i64(line_column)])?;
    let item = item_field(lines.data_type().clone());
    let lines = ListArray::try_new(item, list_offsets(&line_offsets)?, lines, None).map_err(wrong)?;
    let address: ArrayRef = Arc::new(UInt64Array::from(address));
    structs(location_fields(), vec![of(mapping), address, Arc::new(BooleanArray::from(is_folded)), Arc::new(lines)])
}

fn encode_nodes(tree: CallTree, values: Vec<Vec<i64>>) -> Result<ArrayRef> {
    let fields = node_fields(values.len());
    let mut columns = vec![of(tree.parent), of(tree.location)];
    columns.extend(values.into_iter().map(of_i64));
    structs(fields, columns)
}

fn of(values: Vec<u32>) -> ArrayRef {
    Arc::new(UInt32Array::from(values))
}

fn of_i64(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn element(batch: &RecordBatch, column: usize, row: usize) -> Result<ArrayRef> {
    let column = batch.columns().get(column).ok_or_else(|| wrong("a column is missing"))?;
    Ok(cast::<ListArray>(column)?.value(row))
}

fn decode_strings(strings: &BinaryArray) -> Result<ByteStrings> {
    let first = strings.value_offsets().first().copied().unwrap_or_default();
    let offsets = strings.value_offsets().iter().map(|offset| (offset - first).cast_unsigned()).collect();
    let end = strings.value_offsets().last().copied().unwrap_or_default();
    let (first, end) = (first.cast_unsigned() as usize, end.cast_unsigned() as usize);
    ByteStrings::from_parts(strings.value_data()[first..end].to_vec(), offsets)
}

fn decode_mappings(mappings: &StructArray) -> Result<Vec<Mapping>> {
    let u64s = |column| primitives::<UInt64Type>(mappings, column);
    let (start, limit, offset) = (u64s(0)?, u64s(1)?, u64s(2)?);
    let (filename, build_id) = (u32s(mappings, 3)?, u32s(mappings, 4)?);
    let flags = (5..9).map(|column| bools(mappings, column)).collect::<Result<Vec<_>>>()?;
    let mapping = |row: usize| Mapping {
        memory_start: start[row],
        memory_limit: limit[row],
        file_offset: offset[row],
        filename: filename[row],
        build_id: build_id[row],
        has_functions: flags[0][row],
        has_filenames: flags[1][row],
        has_line_numbers: flags[2][row],
        has_inline_frames: flags[3][row],
    };
    Ok((0..mappings.len()).map(mapping).collect())
}

fn decode_functions(functions: &StructArray) -> Result<Functions> {
    Ok(Functions {
        name: u32s(functions, 0)?,
        system_name: u32s(functions, 1)?,
        filename: u32s(functions, 2)?,
        start_line: i64s(functions, 3)?,
    })
}

fn decode_locations(locations: &StructArray) -> Result<Locations> {
    let lists: &ListArray = cast(field(locations, 3)?)?;
    let offsets = lists.value_offsets();
    let first = offsets.first().copied().unwrap_or_default();
    let count = offsets.last().copied().unwrap_or_default() - first;
    let lines = lists.values().slice(first.cast_unsigned() as usize, count.cast_unsigned() as usize);
    let lines: &StructArray = cast(&lines)?;
    Ok(Locations {
        mapping: u32s(locations, 0)?,
        address: primitives::<UInt64Type>(locations, 1)?,
        is_folded: bools(locations, 2)?,
        line_offsets: offsets.iter().map(|offset| (offset - first).cast_unsigned()).collect(),
        line_function: u32s(lines, 0)?,
        line_line: i64s(lines, 1)?,
        line_column: i64s(lines, 2)?,
    })
}

fn field(array: &StructArray, column: usize) -> Result<&ArrayRef> {
    array.columns().get(column).ok_or_else(|| wrong("a field is missing"))
}

fn primitives<T: ArrowPrimitiveType>(array: &StructArray, column: usize) -> Result<Vec<T::Native>> {
    Ok(cast::<PrimitiveArray<T>>(field(array, column)?)?.values().to_vec())
}

fn u32s(array: &StructArray, column: usize) -> Result<Vec<u32>> {
    primitives::<UInt32Type>(array, column)
}

fn i64s(array: &StructArray, column: usize) -> Result<Vec<i64>> {
    primitives::<Int64Type>(array, column)
}

fn bools(array: &StructArray, column: usize) -> Result<Vec<bool>> {
    Ok(cast::<BooleanArray>(field(array, column)?)?.values().iter().collect())
}

fn cast<T: 'static>(array: &ArrayRef) -> Result<&T> {
    array.as_any().downcast_ref().ok_or_else(|| wrong(format!("unexpected column type {}", array.data_type())))
}

fn too_many(rows: usize) -> Error {
    Error::exhausted("a call tree has more rows than a record batch can hold")
        .with("limit", i32::MAX)
        .with("rows", rows)
}

fn wrong(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::internal("a record batch does not hold a call tree").because(error)
}

#[cfg(test)]
mod tests {
    use flamestore_calltree::{Function, Line, NONE};

    use super::*;

    fn tree(columns: usize) -> ValueTree {
        let mut dictionary = Dictionary::default();
        dictionary.strings.push(b"\xffbin");
        dictionary.strings.push(b"main");
        dictionary.mappings.push(Mapping {
            memory_start: 1 << 63,
            filename: 1,
            has_functions: true,
            ..Mapping::default()
        });
        dictionary.functions.push(Function { name: 2, start_line: -1, ..Function::default() });
        dictionary.locations.push(NONE, 7, true, []);
        let line = Line { function: 0, line: 3, column: 4 };
        dictionary.locations.push(0, u64::MAX, false, [line, Line { function: NONE, ..line }]);
        let tree = CallTree { parent: vec![0, 0, 1], location: vec![NONE, 0, 1] };
        let values = (0..columns).map(|column| vec![0, -5, i64::try_from(column).unwrap()]).collect();
        ValueTree { dictionary: Arc::new(dictionary), tree, values }
    }

    #[test]
    fn a_tree_is_decoded_as_it_was_encoded() {
        for columns in [1, 2] {
            let batch = encode(tree(columns)).unwrap();
            assert_eq!(decode(&batch).unwrap(), [tree(columns)]);
        }
        assert_eq!(decode(&encode(ValueTree::empty(1)).unwrap()).unwrap(), [ValueTree::empty(1)]);
    }

    #[test]
    fn trees_of_several_rows_are_decoded_one_by_one() {
        let batches = [encode(tree(1)).unwrap(), encode(ValueTree::empty(1)).unwrap(), encode(tree(1)).unwrap()];
        let joined = arrow::compute::concat_batches(&schema(1), &batches).unwrap();
        assert_eq!(decode(&joined).unwrap(), [tree(1), ValueTree::empty(1), tree(1)]);
        assert_eq!(decode(&joined.slice(2, 1)).unwrap(), [tree(1)]);
    }

    #[test]
    fn a_batch_of_another_shape_is_refused() {
        let batch = RecordBatch::new_empty(Arc::new(Schema::empty()));
        assert!(decode(&batch).unwrap().is_empty());
        let other = RecordBatch::try_from_iter([("a", of(vec![1]))]).unwrap();
        assert!(decode(&other).is_err());
    }
}
