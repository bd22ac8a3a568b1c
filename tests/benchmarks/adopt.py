"""How an adoption is felt by those who read and write meanwhile.

``python tests/benchmarks/adopt.py`` fills a legacy database with 100,000 campaigns and 2,000,000
campaign contacts and adopts it, beside a reader and a writer who never pause. It takes minutes and
some gigabytes. ``--campaigns`` and ``--contacts`` (of each campaign) make it smaller; ``--engine``
chooses the server, ``--url`` an empty database on a server of one's own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaign_model import db
from support import legacy, servers

SHAPE = legacy.Shape(extended=True, service=True)
_spawn = multiprocessing.get_context("spawn")

READ = """SELECT name, status, total_contacts, generated_count, generation_cost, template_config
    FROM campaigns WHERE tenant_id = md5('t' || %s)::uuid LIMIT 50"""
WRITES = (
    "INSERT INTO campaigns (id, tenant_id, name) VALUES (%s, md5('t1')::uuid, 'New')",
    "UPDATE campaigns SET language = 'nl' WHERE id = %s",
    "INSERT INTO messages (tenant_id, campaign_id, body) VALUES (md5('t1')::uuid, %s, 'Hello')",
)
LOCKS = """SELECT relation::regclass::text FROM pg_locks JOIN pg_class ON pg_class.oid = relation
    WHERE mode = 'AccessExclusiveLock' AND granted AND relkind = 'r' AND relpersistence = 'p'
        AND relnamespace = 'public'::regnamespace"""


def read(connection: psycopg.Connection, number: int) -> None:
    """What a legacy reader asks for."""
    connection.execute(READ, [number % 10 + 1]).fetchall()


def write(connection: psycopg.Connection, _number: int) -> None:
    """What a legacy writer does."""
    id_ = uuid4()
    for statement in WRITES:
        connection.execute(statement, [id_])


def work(url: str, what: str, pipe: Connection) -> None:
    """Read or write until told to stop; send how often, and the longest time it took."""
    do = {"read": read, "write": write}[what]
    number, longest = 0, 0.0
    # Prepared statements fail once when the type of a column changes: docs/adopting.md.
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        pipe.send(None)
        while not pipe.poll():
            begun = time.monotonic()
            do(connection, number)
            longest = max(longest, time.monotonic() - begun)
            number += 1
    pipe.send((number, longest))


def watch(url: str, _what: str, pipe: Connection) -> None:
    """Look for ACCESS EXCLUSIVE locks until told to stop; send how often, and the longest one.

    From the last look that did not find it to the first that no longer did: never too short.
    """
    number, longest = 0, 0.0
    since: dict[str, float] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        pipe.send(None)
        before = time.monotonic()
        while not pipe.poll(0.002):
            number += 1
            held = {name for (name,) in connection.execute(LOCKS)}
            now = time.monotonic()
            for name in since.keys() - held:
                longest = max(longest, now - since.pop(name))
            since |= dict.fromkeys(held - since.keys(), before)
            before = now
    pipe.send((number, longest))


@contextmanager
def process(target: Callable[..., None], url: str, what: str) -> Iterator[Callable[[], Any]]:
    """A process at work; the function ends it and says what it has found."""
    ours, theirs = _spawn.Pipe()
    one = _spawn.Process(target=target, args=(url, what, theirs), daemon=True)
    one.start()
    theirs.close()
    ours.recv()

    def end() -> Any:
        ours.send(None)
        found = ours.recv()
        one.join()
        return found

    yield end


def peak_megabytes() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(engine: sa.Engine, campaigns: int, contacts: int) -> None:
    """Fill, adopt and tell."""
    plain = servers.plain(engine.url)
    begun = time.monotonic()
    with engine.begin() as connection:
        legacy.build(connection, SHAPE)
        legacy.bulk(connection, SHAPE, campaigns=campaigns, contacts=contacts)
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
    say(f"filled in {time.monotonic() - begun:.0f} s")
    begun, before = time.monotonic(), peak_megabytes()
    with (
        process(work, plain, "read") as end_reading,
        process(work, plain, "write") as end_writing,
        process(watch, plain, "") as end_watching,
    ):
        report = db.adopt(engine)
        took, memory = time.monotonic() - begun, peak_megabytes()
        (reads, read_longest), (writes, write_longest), (looks, held) = (
            end() for end in (end_reading, end_writing, end_watching)
        )
    verdict = db.verify(engine)
    assert verdict.shape == "current", verdict
    lines = (
        ("campaigns", f"{campaigns:,}"),
        ("campaign contacts", f"{campaigns * contacts:,}"),
        ("values repaired", f"{sum(report.repaired.values()):,}"),
        ("adopted in", f"{took:.1f} s"),
        ("longest ACCESS EXCLUSIVE lock", f"{held:.3f} s ({looks:,} looks)"),
        ("longest wait of the reader", f"{read_longest:.3f} s ({reads:,} reads)"),
        ("longest wait of the writer", f"{write_longest:.3f} s ({writes:,} x 3 writes)"),
        ("memory before, at most", f"{before:.0f} MB, {memory:.0f} MB"),
    )
    for name, value in lines:
        say(f"{name:<32}{value}")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--campaigns", type=int, default=100_000)
    parser.add_argument("--contacts", type=int, default=20)
    parser.add_argument("--engine", choices=servers.available()[1:], default="postgresql-18")
    parser.add_argument("--url")
    arguments = parser.parse_args()
    url, close = arguments.url, None
    if url is None:
        directory, close = servers.open_directory(on_disk=True)
        url = servers.Databases(directory).create(arguments.engine)
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        run(engine, arguments.campaigns, arguments.contacts)
    finally:
        if close is not None:
            close()


if __name__ == "__main__":
    main()
