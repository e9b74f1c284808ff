"""Writes the record of `record.rs` (`Record::example`) with another writer of Arrow, for `pyarrow.arrows`.

    pip install pyarrow==26.0.1 && python pyarrow.py pyarrow.arrows
"""

import sys

import pyarrow as pa

NOON = 1_772_366_400_000_000_000
CPU = ("parca_agent", "samples", "count", "cpu", "nanoseconds")
WALL = ("parca_agent", "wallclock", "nanoseconds", "samples", "count")
API = {"comm": "api", "node": "n1", "thread_id": "7"}
WEB = {"comm": "web", "node": "n1"}

# (system_name, filename, start_line)
FUNCTIONS = [("read", "io.c", 5), ("serve", "main.c", 20), ("main", "main.c", 1), ("sys_read", "", 0)]
# (line, function)
LINES = [(7, 0), (30, 1), (9, 2), (0, 3)]
# (address, file, build id, where its lines start, how many; none where it has no lines)
LOCATIONS = [
    (16, "/bin/api", "b1", 0, 2),
    (32, "/bin/api", "b1", 2, 1),
    (48, "/bin/api", "b1", 0, None),
    (64, "[kernel.kallsyms]", None, 3, 1),
]
# the stacks of all samples, one place for each
KEYS = [0, 1, 3, 0, 1, 2]
# (start in KEYS, size, value, time, types, period, labels)
SAMPLES = [
    (0, 2, 1, NOON, CPU, 52_631_578, API),
    (0, 2, 1, NOON + 5, CPU, 52_631_578, API),
    (2, 3, 1, NOON + 3, CPU, 52_631_578, API | {"thread_id": "8"}),
    (5, 1, 1, NOON - 1, CPU, 52_631_578, WEB),
    (6, 0, 250, NOON + 9, WALL, 1, API),
]


def texts(values):
    return pa.array(values, pa.string()).dictionary_encode().cast(pa.dictionary(pa.uint32(), pa.string()))


def runs(values, make):
    ends, kept = [], []
    for end, value in enumerate(values, 1):
        if kept and kept[-1] == value:
            ends[-1] = end
        else:
            ends.append(end)
            kept.append(value)
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), make(kept))


def struct(**columns):
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


def keys(of, values):
    return pa.DictionaryArray.from_arrays(pa.array(of, pa.uint32()), values)


def views(starts, sizes, values):
    nulls = pa.array([size is None for size in sizes])
    sizes = [size or 0 for size in sizes]
    return pa.ListViewArray.from_arrays(
        pa.array(starts, pa.int32()), pa.array(sizes, pa.int32()), values, mask=nulls
    )


def stacks():
    names, files, starts = zip(*FUNCTIONS)
    functions = struct(
        system_name=pa.array(names, pa.string_view()), filename=texts(files), start_line=pa.array(starts, pa.uint64())
    )
    numbers, of = zip(*LINES)
    lines = struct(
        line=pa.array(numbers, pa.uint64()),
        column=pa.array([0] * len(numbers), pa.uint64()),
        function=keys(of, functions),
    )
    addresses, files, build_ids, starts, sizes = zip(*LOCATIONS)
    locations = struct(
        address=pa.array(addresses, pa.uint64()),
        frame_type=texts(["native"] * len(addresses)),
        mapping_file=texts(files),
        mapping_build_id=texts(build_ids),
        lines=views(starts, sizes, lines),
    )
    return views([sample[0] for sample in SAMPLES], [sample[1] for sample in SAMPLES], keys(KEYS, locations))


def record():
    starts, _, values, times, types, periods, labels = zip(*SAMPLES)
    names = sorted({name for label in labels for name in label})
    column = {name: runs([label.get(name) for label in labels], texts) for name in names}
    ids = pa.array([start.to_bytes(16, "big") for start in starts], pa.binary(16))
    strings = lambda kept: pa.array(kept, pa.string())
    types = {
        name: runs(list(of), strings)
        for name, of in zip(("producer", "sample_type", "sample_unit", "period_type", "period_unit"), zip(*types))
    }
    rows = len(SAMPLES)
    return {
        "labels": struct(**column),
        "stacktrace": stacks(),
        "stacktrace_id": pa.ExtensionArray.from_storage(pa.uuid(), ids),
        "value": pa.array(values, pa.int64()),
        **types,
        "temporality": runs(["delta"] * rows, strings),
        "period": runs(list(periods), lambda kept: pa.array(kept, pa.int64())),
        "duration": runs([1_000_000_000] * rows, lambda kept: pa.array(kept, pa.uint64())),
        "timestamp": pa.array(times, pa.timestamp("ns", tz="UTC")),
    }


def main(path):
    columns = record()
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    schema = batch.schema.with_metadata({"parca_write_schema_version": "v2"})
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(path, "wb") as out, pa.ipc.new_stream(out, schema, options=options) as writer:
        writer.write_batch(batch.replace_schema_metadata(schema.metadata))


main(sys.argv[1])
