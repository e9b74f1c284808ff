"""Asks a server of the given binary by PostgreSQL's protocol and by plain HTTP, and compares the rows."""

import base64
import csv
import datetime
import decimal
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import psycopg

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 60


class Server:
    """A server on a store, until its block ends."""

    def __init__(self, binary: str, store: str):
        arguments = ["serve", "--store", store, "--listen", "127.0.0.1:0", "--postgres-listen", "127.0.0.1:0"]
        self.process = subprocess.Popen([binary, *arguments], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.http = re.search(r"http://[0-9.:]+", line)[0]
        self.host, self.port = re.search(r"postgresql://([0-9.]+):([0-9]+)", line).groups()

    def fill(self, binary: str):
        """Pushes a few profiles."""
        now = str(int(time.time()))
        for pod, text in [("p1", "main;read 3\nmain;write 2\n"), ("p2", "main;read;wait 5\n")]:
            with tempfile.NamedTemporaryFile("w", suffix=".folded") as file:
                file.write(text)
                file.flush()
                labels = ["--label", "service_name=api", "--label", f"pod={pod}"]
                subprocess.run([binary, "push", "--server", self.http, "--time", now, file.name, *labels], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, "the server does not end well"

    def connect(self, database: str = "flamestore"):
        return psycopg.connect(host=self.host, port=self.port, user="ci", dbname=database, connect_timeout=PATIENCE)

    def by_http(self, statement: str) -> list:
        query = urllib.parse.urlencode({"q": statement, "format": "json"})
        with urllib.request.urlopen(f"{self.http}/api/v1/sql?{query}", timeout=PATIENCE) as answer:
            return json.load(answer)["rows"]

    def psql(self, command: str, *flags: str) -> str:
        target = f"host={self.host} port={self.port} user=ci dbname=flamestore sslmode=prefer connect_timeout={PATIENCE}"
        arguments = ["psql", "-X", "-v", "ON_ERROR_STOP=1", *flags, target, "-c", command]
        ran = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE)
        assert ran.returncode == 0, f"{command}: {ran.stderr}"
        return ran.stdout


def statements() -> list[str]:
    return re.findall(r"```sql\n(.*?)```", (ROOT / "docs/sql.md").read_text(), re.DOTALL)


def plain(value):
    """A value as JSON of plain HTTP has it, cut to microseconds as PostgreSQL's types are."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, str) and (time := re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", value)):
        return f"{time[1]}{(time[2] or '.')[:7].ljust(7, '0')}Z"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, decimal.Decimal):
        return int(value)
    return value


def sorted_rows(rows) -> list[str]:
    return sorted(json.dumps([plain(value) for value in row], sort_keys=True) for row in rows)


def compare(server: Server) -> None:
    with server.connect() as connection:
        for statement in statements():
            rows = connection.execute(statement).fetchall()
            lines = list(csv.reader(io.StringIO(server.psql(statement, "--csv"))))[1:]
            if statement.startswith("EXPLAIN"):
                assert rows and lines, statement
                continue
            assert sorted_rows(rows) == sorted_rows(server.by_http(statement)), statement
            assert len(lines) == len(rows), statement
    print(f"{len(statements())} statements of docs/sql.md have the rows that plain HTTP gives")


def parameters(server: Server) -> None:
    statement = "SELECT service_name, value FROM samples WHERE time <= %(time)s AND value > %(value)s ORDER BY value"
    values = {"time": datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1), "value": 2}
    with server.connect() as connection:
        for binary in [False, True]:
            with connection.cursor(binary=binary) as cursor:
                # a statement is prepared by its name after some runs
                for _ in range(8):
                    assert [row[1] for row in cursor.execute(statement, values)] == [3, 5]
        refused(connection, psycopg.errors.FeatureNotSupported, "COPY samples TO STDOUT")
        refused(connection, psycopg.errors.ReadOnlySqlTransaction, "INSERT INTO samples VALUES (1)")
        refused(connection, psycopg.errors.UndefinedColumn, "SELECT nothing FROM samples")
        row = connection.execute("SELECT stack, labels FROM samples WHERE leaf = 'wait'", binary=True).fetchone()
        assert row == (["main", "read", "wait"], {"pod": "p2", "service_name": "api"}), row
    with server.connect("team-a") as connection:
        assert connection.execute("SELECT count(*) FROM profiles").fetchone() == (0,)


def refused(connection, error: type, statement: str) -> None:
    try:
        connection.execute(statement)
    except error:
        connection.rollback()
        return
    raise AssertionError(f"{statement}: was not refused")


def cancel(server: Server) -> None:
    with server.connect() as connection:
        done = threading.Event()

        def ask():
            while not done.wait(0.5):
                connection.cancel()

        asking = threading.Thread(target=ask)
        start = time.monotonic()
        asking.start()
        try:
            refused(connection, psycopg.errors.QueryCanceled, "SELECT count(*) FROM generate_series(1, 1000000000000)")
        finally:
            done.set()
            asking.join()
        print(f"a statement was cancelled after 0.5 s, and ended after {time.monotonic() - start:.2f} s")


def catalog(server: Server) -> None:
    tables = server.psql(r"\dt")
    for name in ["functions", "profiles", "samples", "segments", "series", "stacks"]:
        assert re.search(rf"public \| {name} +\| table", tables), tables
    columns = server.psql(r"\d samples")
    assert re.search(r"time +\| timestamp with time zone", columns), columns
    assert re.search(r"stack +\| text\[\]", columns), columns
    assert re.search(r"labels +\| json", columns), columns
    assert re.search(r"segment \| flamestore", server.psql(r"\dn"))
    assert "flamestore" in server.psql(r"\l")
    for command in [r"\d", r"\dt+", r"\d+ samples", r"\dv", r"\df", r"\dx", r"\du", r"\conninfo", "SELECT version()"]:
        server.psql(command)
    assert server.psql("SHOW server_version", "-At").startswith("15"), "the version"
    print("psql lists tables, columns, schemas and databases")


def damaged(binary: str) -> None:
    """A segment that cannot be read is told as a warning."""
    with tempfile.TemporaryDirectory() as store:
        with Server(binary, store) as server:
            server.fill(binary)
        path = next(pathlib.Path(store, "anonymous", "samples").rglob("*.parquet"))
        path.write_bytes(b"x" * path.stat().st_size)
        with Server(binary, store) as server, server.connect() as connection:
            told = []
            connection.add_notice_handler(lambda said: told.append((said.severity, said.sqlstate, said.message_primary)))
            assert connection.execute("SELECT value FROM samples").fetchall() == [], "rows of a damaged segment"
            assert len(told) == 1 and told[0][:2] == ("WARNING", "01000") and path.stem in told[0][2], told
            server.psql("SELECT value FROM samples")
    print("a damaged segment is told as a warning")


with Server(sys.argv[1], "memory:") as server:
    server.fill(sys.argv[1])
    compare(server)
    parameters(server)
    cancel(server)
    catalog(server)
damaged(sys.argv[1])
