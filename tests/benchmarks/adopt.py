"""Measure how long readers and writers wait during an adoption.

``python tests/benchmarks/adopt.py`` fills a legacy database with 100,000 campaigns and 2,000,000
campaign contacts, and runs both steps of an adoption while a reader and a writer work without a
pause. It takes several minutes and some gigabytes. ``--campaigns`` and ``--contacts`` (of each
campaign) make it smaller.
``--engine`` chooses the server; ``--url`` names an empty database on another server.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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

SELECT_CAMPAIGNS = """
SELECT name, status, total_contacts, generated_count, generation_cost, template_config
FROM campaigns
WHERE tenant_id = md5('t' || %s)::uuid
LIMIT 50
"""
WRITES = (
    "INSERT INTO campaigns (id, tenant_id, name) VALUES (%s, md5('t1')::uuid, 'New')",
    "UPDATE campaigns SET language = 'nl' WHERE id = %s",
    "INSERT INTO messages (tenant_id, campaign_id, body) VALUES (md5('t1')::uuid, %s, 'Hello')",
)
SELECT_LOCKED_TABLES = """
SELECT relation::regclass::text
FROM pg_locks
JOIN pg_class ON pg_class.oid = relation
WHERE mode = 'AccessExclusiveLock'
    AND granted
    AND relkind = 'r'
    AND relpersistence = 'p'
    AND relnamespace = 'public'::regnamespace
"""


def read_once(connection: psycopg.Connection, number: int) -> None:
    """Read like a legacy service."""
    connection.execute(SELECT_CAMPAIGNS, [number % 10 + 1]).fetchall()


def write_once(connection: psycopg.Connection, _number: int) -> None:
    """Write like a legacy service: three statements."""
    campaign_id = uuid4()
    for statement in WRITES:
        connection.execute(statement, [campaign_id])


def measure_waits(url: str, work: str, pipe: Connection) -> None:
    """Read or write until a message arrives. Send how often, and the longest time it took."""
    work_once = {"read": read_once, "write": write_once}[work]
    count, longest = 0, 0.0
    # Prepared statements fail once when the type of a column changes: docs/adopting.md.
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        pipe.send(None)
        while not pipe.poll():
            began = time.monotonic()
            work_once(connection, count)
            longest = max(longest, time.monotonic() - began)
            count += 1
    pipe.send((count, longest))


def measure_locks(url: str, _work: str, pipe: Connection) -> None:
    """Look for ACCESS EXCLUSIVE locks until a message arrives. Send the longest time of one.

    The time runs from the last look without the lock to the first look after it, so it is never
    too short.
    """
    count, longest = 0, 0.0
    locked_since: dict[str, float] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        pipe.send(None)
        last_look = time.monotonic()
        while not pipe.poll(0.002):
            count += 1
            locked = {name for (name,) in connection.execute(SELECT_LOCKED_TABLES)}
            now = time.monotonic()
            for name in locked_since.keys() - locked:
                longest = max(longest, now - locked_since.pop(name))
            locked_since |= dict.fromkeys(locked - locked_since.keys(), last_look)
            last_look = now
    pipe.send((count, longest))


@contextmanager
def run_process(
    target: Callable[..., None], url: str, work: str = ""
) -> Iterator[Callable[[], Any]]:
    """Run ``target`` in a process. The function that is yielded ends it and returns its result."""
    pipe, childs_pipe = _spawn.Pipe()
    process = _spawn.Process(target=target, args=(url, work, childs_pipe), daemon=True)
    process.start()
    childs_pipe.close()
    pipe.recv()

    def end() -> Any:
        pipe.send(None)
        result = pipe.recv()
        process.join()
        return result

    yield end


def peak_megabytes() -> float:
    """Return the most memory that this process has used so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(engine: sa.Engine, campaigns: int, contacts: int) -> None:
    """Fill the database, adopt it, and print the measurements."""
    url = servers.plain(engine.url)
    began = time.monotonic()
    with engine.begin() as connection:
        legacy.build(connection, SHAPE)
        legacy.fill_bulk(connection, SHAPE, campaigns=campaigns, contacts=contacts)
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
    print_line(f"filled in {time.monotonic() - began:.0f} s")
    print_line(f"{'campaigns':<32}{campaigns:,}")
    print_line(f"{'campaign contacts':<32}{campaigns * contacts:,}")
    for step, shape in ((db.adopt, "expanded"), (db.enforce, "current")):
        print_line(f"{step.__name__}:")
        measure_step(engine, url, step)
        verdict = db.verify(engine)
        assert verdict.shape == shape, verdict


def measure_step(engine: sa.Engine, url: str, step: Callable[[sa.Engine], db.AdoptReport]) -> None:
    """Run a step beside a reader and a writer, and print the measurements."""
    began, memory_before = time.monotonic(), peak_megabytes()
    with (
        run_process(measure_waits, url, "read") as end_reading,
        run_process(measure_waits, url, "write") as end_writing,
        run_process(measure_locks, url) as end_looking,
    ):
        report = step(engine)
        duration, memory_after = time.monotonic() - began, peak_megabytes()
        reads, longest_read = end_reading()
        writes, longest_write = end_writing()
        looks, longest_lock = end_looking()
    lines = (
        ("values repaired", f"{sum(report.repaired.values()):,}"),
        ("duration", f"{duration:.1f} s"),
        ("longest ACCESS EXCLUSIVE lock", f"{longest_lock:.3f} s ({looks:,} looks)"),
        ("longest wait of the reader", f"{longest_read:.3f} s ({reads:,} reads)"),
        ("longest wait of the writer", f"{longest_write:.3f} s ({writes:,} x 3 writes)"),
        ("memory before, at most", f"{memory_before:.0f} MB, {memory_after:.0f} MB"),
    )
    for name, value in lines:
        print_line(f"  {name:<30}{value}")


def print_line(line: str) -> None:
    """Print a line without a delay."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the arguments and run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--campaigns", type=int, default=100_000)
    parser.add_argument("--contacts", type=int, default=20)
    parser.add_argument("--engine", choices=servers.available()[1:], default="postgresql-18")
    parser.add_argument("--url")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        url = arguments.url
        if url is None:
            directory = stack.enter_context(servers.open_directory(on_disk=True))
            url = servers.Databases(directory).create(arguments.engine)
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        run(engine, arguments.campaigns, arguments.contacts)


if __name__ == "__main__":
    main()
