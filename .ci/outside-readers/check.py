"""Writes a bucket with a flamestore binary, then reads it with DuckDB (through docs/views.sql) and pyarrow, with no
server running, and compares what they say with what the server said."""

import glob
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import duckdb
import pyarrow.dataset
import pyarrow.parquet

ROOT = pathlib.Path(__file__).resolve().parents[2]
RANGE = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-03T00:00:00Z"]
SECONDS_MAX = 60


class Server:
    """A server on a folder, on a port the system picks. It merges nothing by itself."""

    def __init__(self, binary, store):
        self.binary, self.store = binary, store

    def __enter__(self):
        roles = ["--roles", "ingest,query"]
        command = [self.binary, "serve", "--store", self.store, "--listen", "127.0.0.1:0", *roles]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + SECONDS_MAX
        for line in self.process.stdout:
            found = re.search(r"127\.0\.0\.1:\d+", line)
            if found:
                self.url = "http://" + found.group(0)
                return self
            if time.monotonic() > deadline:
                break
        raise SystemExit("the server printed no address")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(SECONDS_MAX)
        if status != 0:
            raise SystemExit(f"the server ended with status {status}")

    def run(self, *arguments):
        command = [self.binary, *arguments, "--server", self.url]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode("utf-8", "replace")


def profiles(folder):
    """(file, service, format): our own folded text, and the corpus where there is one."""
    text = {"api": "main;read 3\nmain;read;copy 5\nmain;write 1\n", "web": "main;read 7\nidle 2\nmain;α 4\n"}
    for service, folded in text.items():
        path = pathlib.Path(folder, service + ".folded")
        path.write_text(folded, encoding="utf-8")
        yield str(path), service, "folded"
    corpus = os.environ.get("FLAMESTORE_CORPUS")
    if corpus:
        for path in sorted(glob.glob(corpus + "/pprof/go*/*") + glob.glob(corpus + "/pprof/languages/*")):
            if os.path.getsize(path) < 300_000:
                yield path, os.path.basename(path).replace(".", "_"), "pprof"


TRACE, SPAN, NOON = "0102030405060708090a0b0c0d0e0f10", "00000000000000ff", 1767355200000000000


def push_observations(url):
    """Pushes two observations of one stack, as OpenTelemetry's clients do."""
    body = {
        "resourceProfiles": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "jobs"}}]},
            "scopeProfiles": [{"profiles": [{
                "sampleType": {"typeStrindex": 1, "unitStrindex": 2}, "timeUnixNano": str(NOON), "durationNano": "9",
                "samples": [{"stackIndex": 1, "linkIndex": 1, "values": ["6", "7"],
                             "timestampsUnixNano": [str(NOON + 2), str(NOON + 1)]}]}]}]}],
        "dictionary": {
            "stringTable": ["", "cpu", "nanoseconds", "main"], "functionTable": [{}, {"nameStrindex": 3}],
            "locationTable": [{}, {"lines": [{"functionIndex": 1}]}], "stackTable": [{}, {"locationIndices": [1]}],
            "mappingTable": [{}], "attributeTable": [{}], "linkTable": [{}, {"traceId": TRACE, "spanId": SPAN}]},
    }
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url + "/v1development/profiles", json.dumps(body).encode(), headers)
    urllib.request.urlopen(request, timeout=SECONDS_MAX).read()


# What Flamestore's own SQL is asked, by the mark that stands before DuckDB's statement in docs/format/segment.md.
OWN = {
    "totals": "SELECT service_name, profile_type, count(DISTINCT profile_id), sum(total) FROM profiles GROUP BY 1, 2",
    "leaves": "SELECT service_name, profile_type, leaf, sum(value) FROM samples WHERE leaf IS NOT NULL GROUP BY 1, 2, 3",
}


def live_segments(binary, store):
    listing = [binary, "store", "ls", "--store", store, "--format", "json"]
    return json.loads(subprocess.run(listing, check=True, stdout=subprocess.PIPE).stdout)


def compare_sums(db, binary, store, segments_min):
    """Compares sums of DuckDB over the live segments with those of `flamestore sql`; says how many there are."""
    segments = [segment["id"] for segment in live_segments(binary, store)]
    if len(segments) < segments_min:
        raise SystemExit(f"{len(segments)} segments where {segments_min} were expected")
    db.execute(f"SET VARIABLE segments = {segments!r}")
    document, sums = (ROOT / "docs" / "format" / "segment.md").read_text(encoding="utf-8"), 0
    for mark, own in OWN.items():
        statement = re.search(rf"<!-- {mark} -->\n```sql\n(.*?)```", document, re.DOTALL).group(1)
        theirs = {tuple(row) for row in db.execute(statement).fetchall() if row[-1]}
        asked = [binary, "sql", own, "--store", store, "--format", "json"]
        told = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout)
        ours = {tuple(row) for row in told["rows"] if row[-1]}
        if ours != theirs:
            raise SystemExit(f"DuckDB and flamestore sql differ on {mark}: {sorted(ours ^ theirs, key=repr)[:6]}")
        sums += len(ours)
    return len(segments), sums


def lines(rows):
    return sorted(f"{stack} {value}" for stack, value in rows if value)


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        store, expected, services = os.path.join(folder, "d"), {}, []
        with Server(binary, store) as server:
            for path, service, form in profiles(folder):
                at = ["--time", "2026-01-02T12:00:00Z", "--label", "service_name=" + service]
                pushed = subprocess.run([binary, "push", path, "--format", form, *at, "--server", server.url])
                if pushed.returncode == 0:
                    services.append(service)
            for service in services:
                chosen = '{service_name="%s"}' % service
                for ty in json.loads(server.run("types", "--query", chosen, *RANGE, "--format", "json")):
                    folded = server.run("merge", "--query", ty + chosen, *RANGE, "--combine", "sum", "--format", "folded")
                    expected[service, ty] = sorted(folded.split("\n")[:-1])
        if len(expected) < 2:
            raise SystemExit("nothing was stored")
        # A second segment, of samples that have columns which those of the first are without.
        with Server(binary, store) as server:
            push_observations(server.url)

        listed = subprocess.run(
            [binary, "store", "ls", "--store", store, "--format", "json"], check=True, stdout=subprocess.PIPE
        ).stdout
        segments = os.path.join(folder, "segments.json")
        pathlib.Path(segments).write_bytes(listed)
        db = duckdb.connect()
        db.execute(f"SET VARIABLE tenant = '{store}/anonymous'")
        db.execute(f"SET VARIABLE segments = (SELECT list(id) FROM read_json('{segments}'))")
        db.execute((ROOT / "docs" / "views.sql").read_text())
        db.execute("CREATE TABLE texts AS FROM stack_text")
        for (service, ty), want in expected.items():
            rows = db.execute(
                "SELECT stack, sum(value)::BIGINT FROM observations JOIN texts USING (segment, stack_id) "
                "WHERE service_name = ? AND profile_type = ? GROUP BY 1",
                [service, ty],
            ).fetchall()
            got = lines(rows)
            if got != want:
                difference = sorted(set(want) ^ set(got))[:4]
                raise SystemExit(f"DuckDB and the server differ on {service} {ty}: {difference}")
        observed = db.execute(
            "SELECT value, observed_unix_nano, ended_unix_nano, trace_id, span_id FROM observations "
            "WHERE service_name = 'jobs' ORDER BY 1"
        ).fetchall()
        if observed != [(6, NOON + 2, None, TRACE, SPAN), (7, NOON + 1, None, TRACE, SPAN)]:
            raise SystemExit(f"DuckDB reads other observations than were pushed: {observed}")
        total = db.execute("SELECT count(*) FROM samples").fetchone()[0]

        samples = pyarrow.dataset.dataset(f"{store}/anonymous/samples", partitioning="hive")
        if samples.count_rows() != total:
            raise SystemExit(f"pyarrow counts {samples.count_rows()} samples, DuckDB {total}")
        tables = sorted(os.listdir(f"{store}/anonymous"))
        for table in tables:
            for path in glob.glob(f"{store}/anonymous/{table}/*/*.parquet"):
                pyarrow.parquet.read_table(path, partitioning=None)
        # The same services again, at other times, so that each is in several segments; then all of them merged.
        for hour in (13, 14):
            with Server(binary, store) as server:
                for path, service, form in profiles(folder):
                    if service in services:
                        at = ["--time", f"2026-01-02T{hour}:00:00Z", "--label", "service_name=" + service]
                        server.run("push", path, "--format", form, *at)
        fresh, sums = compare_sums(db, binary, store, 4)
        subprocess.run([binary, "store", "compact", "--all", "--store", store], check=True, stdout=subprocess.PIPE)
        merged, sums_merged = compare_sums(db, binary, store, 1)
        if merged >= fresh or sums != sums_merged:
            raise SystemExit(f"{fresh} segments with {sums} sums became {merged} with {sums_merged}")
        print(f"{sums} sums by DuckDB and flamestore sql are equal over {fresh} segments, and over {merged} after compaction")
        print(f"DuckDB {duckdb.__version__} and pyarrow {pyarrow.__version__} agree with the server on")
        print(f"{len(expected)} merges, {total} samples, {len(tables)} tables")


if __name__ == "__main__":
    main(sys.argv[1])
