"""Pushes profiles to a server of a flamestore binary, runs every statement of docs/sql.md with several clients, and requires that
they all tell the same rows. Then statements with parameters, and what drivers ask to find out what there is. At last the same of
a store with a damaged segment, which answers name."""

import base64
import datetime
import gzip
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import adbc_driver_flightsql.dbapi
import pyarrow
import pyarrow.flight

HERE = pathlib.Path(__file__).resolve().parent
SECONDS_MAX = 60
CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
TABLES = ["functions", "profiles", "samples", "segments", "series", "stacks"]


class Server:
    """A server on a folder, on a port the system picks. It merges nothing by itself: a check at any time of day has the same segments."""

    def __init__(self, binary, store):
        self.binary, self.store = binary, store

    def __enter__(self):
        roles = ["--roles", "ingest,query"]
        command = [self.binary, "serve", "--store", self.store, "--listen", "127.0.0.1:0", "--log", "warn", *roles]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + SECONDS_MAX
        for line in self.process.stdout:
            found = re.search(r"127\.0\.0\.1:\d+", line)
            if found:
                self.address = found.group(0)
                return self
            if time.monotonic() > deadline:
                break
        self.process.kill()
        raise SystemExit("the server printed no address")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(SECONDS_MAX)
        if status != 0:
            raise SystemExit(f"the server ended with status {status}")

    def push(self, path, seconds, **labels):
        """Sends a profile as one that was taken at `seconds` since 1970."""
        command = [self.binary, "push", path, "--format", "pprof", "--time", str(seconds)]
        for name, value in labels.items():
            command += ["--label", f"{name}={value}"]
        subprocess.run([*command, "--server", "http://" + self.address], check=True, stdout=subprocess.DEVNULL)


def field(number, value):
    """A field of a protobuf message: a number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def pprof(types, period, samples):
    """A profile: `types` and `period` as pairs of names, `samples` as stacks with the root first, values and labels."""
    strings, functions, out = [""], [], b""

    def text(value):
        if value not in strings:
            strings.append(value)
        return strings.index(value)

    def pair(names):
        return field(1, text(names[0])) + field(2, text(names[1]))

    def location(name):
        if name not in functions:
            functions.append(name)
        return functions.index(name) + 1

    out += b"".join(field(1, pair(names)) for names in types)
    for stack, values, labels in samples:
        sample = b"".join(field(1, location(name)) for name in reversed(stack.split(";")))
        sample += b"".join(field(2, value) for value in values)
        for name, value in labels.items():
            sample += field(3, field(1, text(name)) + field(3, value))
        out += field(2, sample)
    for number, name in enumerate(functions, 1):
        out += field(4, field(1, number) + field(4, field(1, number) + field(2, number)))
        out += field(5, field(1, number) + field(2, text(name)) + field(4, text("main.go")) + field(5, number * 10))
    out += field(11, pair(period)) + field(12, 10000000)
    return out + b"".join(field(6, string.encode()) for string in strings)


def profile(at):
    """Time spent, as in the tests of SQL; no two sums of it are equal, so that rows have one order."""
    stacks = [("main;read", 3), ("main;write", 1), ("main;poll;wait", 2)]
    if at // 3 % 2:
        stacks = [("main;read", 5), ("other;work", 11), ("main;deep;deep;deep", 6)]
    samples = [(stack, [value * 1000 + at * at], {}) for stack, value in stacks]
    return pprof([("cpu", "nanoseconds")], ("cpu", "nanoseconds"), samples)


def heap():
    """Memory, with a label of samples."""
    types = [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")]
    samples = [("main;alloc", [1, 100, 0, 0], {}), ("main;keep", [2, 200, 1, 100], {"bytes": 64})]
    return pprof(types, ("space", "bytes"), samples)


def fill(binary, store, folder):
    """Pushes profiles of the last half hour: those of one server end in a segment when it stops."""
    path, begin = pathlib.Path(folder, "profile.pb"), int(time.time()) - 1800
    for half in range(2):
        with Server(binary, store) as server:
            for at in range(half * 9, half * 9 + 9):
                labels = {"service_name": ["api", "web", "db"][at % 3], "pod": ["p0", "p1"][at % 2]}
                path.write_bytes(profile(at))
                server.push(path, begin + at * 10, **labels)
                if at % 4 == 0:
                    path.write_bytes(heap())
                    server.push(path, begin + at * 10 + 1, **labels)


def documented():
    text = (HERE.parents[1] / "docs" / "sql.md").read_text(encoding="utf-8")
    return [block.strip() for block in re.findall(r"```sql\n(.*?)```", text, re.S)]


# Statements with parameters, their values, and the same statement without any.
NOON = datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.timezone.utc)
BOUND = [
    (
        "SELECT leaf, sum(value) AS spent FROM samples WHERE service_name = ? AND value > ? GROUP BY leaf ORDER BY leaf LIMIT ?",
        ["api", 1, 2],
        "SELECT leaf, sum(value) AS spent FROM samples WHERE service_name = 'api' AND value > 1 GROUP BY leaf ORDER BY leaf LIMIT 2",
    ),
    (
        "SELECT count(*) AS n FROM samples WHERE has_function(stack, $2) AND labels[$1] = $3 AND time >= $4",
        ["pod", "^main$", "p1", NOON],
        "SELECT count(*) AS n FROM samples WHERE has_function(stack, '^main$') AND labels['pod'] = 'p1'",
    ),
    (
        "SELECT name, self, total FROM merge(?, ?, 'now+1h') ORDER BY node",
        [CPU + '{service_name="api"}', "now-1h"],
        "SELECT name, self, total FROM merge('" + CPU + "{service_name=\"api\"}', 'now-1h', 'now+1h') ORDER BY node",
    ),
]


def plain(value):
    """A value as JSON has it."""
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, list) and value and all(isinstance(entry, tuple) for entry in value):
        return {key: plain(entry) for key, entry in value}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value


def nanos(text):
    """The nanoseconds since 1970 of a time as RFC 3339 has it."""
    if text is None:
        return None
    whole, fraction = re.fullmatch(r"(.*?)(?:\.(\d+))?Z", text).groups()
    seconds = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc).timestamp()
    return int(seconds) * 10**9 + int((fraction or "").ljust(9, "0"))


# A client is made of a server, and has `run`, which gives the rows of each statement; a statement is a pair of text and values.
# Rows are lists of what JSON has; a time is its nanoseconds since 1970, bytes are base64. `tables` gives the names of those in the
# schema `public`. A further client (one of another protocol, say) is a class like these and an entry of CLIENTS.


class Http:
    """JSON over plain HTTP: what the others are compared with. It has no parameters."""

    def __init__(self, server, _folder):
        self.url = f"http://{server.address}/api/v1/sql?"

    def run(self, statements):
        return [self.rows(text) for text, _ in statements]

    def rows(self, text):
        asked = self.url + urllib.parse.urlencode({"q": text})
        with urllib.request.urlopen(asked, timeout=SECONDS_MAX) as answer:
            told = json.load(answer)
        is_time = [column["type"].startswith("Timestamp") for column in told["columns"]]
        return [[nanos(cell) if time else cell for cell, time in zip(row, is_time)] for row in told["rows"]]


class Adbc:
    """ADBC's driver for Flight SQL."""

    def __init__(self, server, _folder):
        self.connection = adbc_driver_flightsql.dbapi.connect(f"grpc://{server.address}", autocommit=True)

    def run(self, statements):
        return [self.rows(*statement) for statement in statements]

    def rows(self, text, values):
        with self.connection.cursor() as cursor:
            cursor.execute(text, values or None)
            table = cursor.fetch_arrow_table()
        columns = []
        for column in table.columns:
            if pyarrow.types.is_timestamp(column.type):
                column = column.cast(pyarrow.timestamp("ns", column.type.tz)).cast(pyarrow.int64())
            columns.append([plain(cell) for cell in column.to_pylist()])
        return [list(row) for row in zip(*columns)]

    def tables(self):
        objects = self.connection.adbc_get_objects(depth="all", db_schema_filter="public").read_all().to_pylist()
        tables = [table for catalog in objects for schema in catalog["catalog_db_schemas"] for table in schema["db_schema_tables"]]
        if not all(table["table_columns"] for table in tables):
            raise SystemExit("ADBC is told of a table without columns")
        return sorted(table["table_name"] for table in tables)


class Jdbc:
    """The JDBC driver of Flight SQL, in a process of its own: in UTC, since elsewhere it shifts times that have a zone."""

    def __init__(self, server, folder):
        self.url, self.folder = f"jdbc:arrow-flight-sql://{server.address}/?useEncryption=false", folder

    def run(self, statements):
        asked = pathlib.Path(self.folder, "asked")
        asked.mkdir(exist_ok=True)
        for old in asked.iterdir():
            old.unlink()
        for number, (text, values) in enumerate(statements):
            pathlib.Path(asked, f"{number:03}.sql").write_text(text, encoding="utf-8")
            if values:
                of = [f"{type(value).__name__}\t{value.isoformat() if value is NOON else value}" for value in values]
                pathlib.Path(asked, f"{number:03}.values").write_text("\n".join(of), encoding="utf-8")
        command = ["java", "--add-opens=java.base/java.nio=ALL-UNNAMED", "-Duser.timezone=UTC", "-cp", JAR]
        command += [str(HERE / "Query.java"), self.url, str(asked)]
        ran = subprocess.run(command, stdout=subprocess.PIPE, timeout=5 * SECONDS_MAX, check=False)
        if ran.returncode != 0:
            raise SystemExit("the JDBC driver failed")
        told = [json.loads(line) for line in ran.stdout.decode().splitlines()]
        self.told_tables = told.pop()
        return told

    def tables(self):
        return sorted(self.told_tables)


CLIENTS = {"ADBC": Adbc, "JDBC": Jdbc}


# What is asked of a store whose samples are damaged in part: rows that there are, and none at all.
DAMAGED = [
    "SELECT service_name, value, stack FROM samples ORDER BY service_name, value, stack",
    "SELECT sum(value) AS spent FROM samples",
    "SELECT leaf, labels FROM samples WHERE value < 0",
]


def damage(store):
    """Has the samples of one segment of `store` be other bytes than were written; gives its name."""
    path = sorted(pathlib.Path(store, "anonymous", "samples").rglob("*.parquet"))[0]
    path.write_bytes(b"x" * path.stat().st_size)
    return path.stem


def named(server, text):
    """The segments that Flight's messages name as missing from the rows of `text`."""
    kind = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    command = field(1, kind) + field(2, field(1, text.encode()))
    with pyarrow.flight.connect(f"grpc://{server.address}") as client:
        info = client.get_flight_info(pyarrow.flight.FlightDescriptor.for_command(command))
        chunks = list(client.do_get(info.endpoints[0].ticket))
    told = [json.loads(chunk.app_metadata.to_pybytes()) for chunk in chunks if chunk.app_metadata is not None]
    return [missing["segment"] for each in told for missing in each["damaged"]]


def compare_damaged(binary, store, folder):
    segment = damage(store)
    with Server(binary, store) as server:
        asked = [(text, []) for text in DAMAGED]
        expected = Http(server, folder).run(asked)
        if not expected[0] or expected[2]:
            raise SystemExit(f"of a damaged store there are these rows: {expected}")
        for name, kind in CLIENTS.items():
            for (text, _), want, got in zip(asked, expected, kind(server, folder).run(asked), strict=True):
                if got != want:
                    raise SystemExit(f"{name} and HTTP differ on a damaged store: {text}\n{name}: {got}\nHTTP: {want}")
        for text in DAMAGED:
            if named(server, text) != [segment]:
                raise SystemExit(f"of {text} Flight names {named(server, text)}, not {segment}")
    print(f"{', '.join(CLIENTS)}: the rows of {len(DAMAGED)} statements on a store with a damaged segment, which Flight names")


def comparable(text, rows):
    """Rows without what differs from one run to the next; sorted, unless the statement does."""
    if "ORDER BY" not in text:
        rows = sorted(rows, key=json.dumps)
    if text.startswith("EXPLAIN"):
        return [[re.sub(r"metrics=\[.*?\]\n|\d{9,}", "", str(cell) + "\n") for cell in row] for row in rows]
    if "pprof(" in text:
        return [[sorted(gzip.decompress(base64.b64decode(cell))) for cell in row] for row in rows]
    return rows


def main(binary):
    statements = [(text, []) for text in documented()]
    if len(statements) < 18:
        raise SystemExit(f"docs/sql.md has only {len(statements)} statements")
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store")
        fill(binary, store, folder)
        with Server(binary, store) as server:
            http = Http(server, folder)
            expected = http.run(statements + [(same, []) for _, _, same in BOUND])
            for (text, _), rows in zip(statements, expected):
                if not rows:
                    raise SystemExit(f"HTTP tells no rows of: {text}")
            asked = statements + [(text, values) for text, values, _ in BOUND]
            for name, kind in CLIENTS.items():
                client = kind(server, folder)
                for (text, values), want, got in zip(asked, expected, client.run(asked), strict=True):
                    if comparable(text, got) != comparable(text, want):
                        raise SystemExit(f"{name} and HTTP differ on: {text} {values}\n{name}: {got}\nHTTP: {want}")
                if client.tables() != TABLES:
                    raise SystemExit(f"{name} is told of the tables {client.tables()}")
                print(f"{name}: the rows of {len(asked)} statements, {len(BOUND)} of them with parameters, and {len(TABLES)} tables")
        compare_damaged(binary, store, folder)


if __name__ == "__main__":
    JAR = sys.argv[2]
    main(sys.argv[1])
