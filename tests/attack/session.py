"""Attack the store on every engine: ``python -m attack --calls N --seed N``.

The calls are divided among the engines, which are attacked at the same time. On PostgreSQL, two
fifths of them are made under row-level security: by the store, and with plain SQL. The last line is
``attack: N calls, N leaks``, and the exit code is 1 if there are leaks.
"""

from __future__ import annotations

import argparse
import random
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import sqlalchemy as sa

from attack.attack import Attack, Report
from attack.raw_sql import RawAttack
from attack.role import service_role
from campaign_model import db
from support import servers


def attack_engine(directory: Path, name: str, calls: int, seed: int) -> list[Report]:
    """Attack one engine in a new database, and print what was found."""
    start = time.monotonic()
    engine = sa.create_engine(servers.Databases(directory).create(name))
    db.init(engine, with_host_tables=True)
    reports = {}
    if engine.dialect.name == "sqlite":
        reports["the store"] = Attack(engine, seed).run(calls)
    else:
        part = calls // 5
        reports["the store"] = Attack(engine, seed).run(calls - 2 * part)
        with service_role(engine) as service:
            attack = Attack(engine, seed, attacker_engine=service)
            reports["the store under row-level security"] = attack.run(part)
            reports["plain SQL under row-level security"] = RawAttack(engine, seed, service).run(
                part
            )
    engine.dispose()
    for way, report in reports.items():
        for leak in report.leaks:
            print(f"{name}, {way}: call {leak.number}: {leak.call}\n    {leak.what}")
        made, leaks = report.calls.total(), len(report.leaks)
        print(f"{name}, {way}: {made} calls, {leaks} leaks", flush=True)
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    return [*reports.values()]


def main() -> int:
    parser = argparse.ArgumentParser(prog="attack", description="Attack the store.")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--engine", choices=servers.available(), action="append")
    options = parser.parse_args()
    names = options.engine or servers.available()
    ends = [options.calls * (index + 1) // len(names) for index in range(len(names))]
    numbers = [end - start for start, end in pairwise([0, *ends])]
    print(f"attack: seed {options.seed}", flush=True)
    with (
        servers.open_directory() as directory,
        ProcessPoolExecutor(mp_context=get_context("spawn")) as pool,
    ):
        jobs = [
            pool.submit(attack_engine, directory, name, number, options.seed)
            for name, number in zip(names, numbers, strict=True)
        ]
        reports = [report for job in jobs for report in job.result()]
    leaks = sum(len(report.leaks) for report in reports)
    print(f"attack: {sum(report.calls.total() for report in reports)} calls, {leaks} leaks")
    return bool(leaks)
