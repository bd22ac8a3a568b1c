"""Several transactions at once, brought into a known order without sleeping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from campaign_model.errors import CampaignModelError
from campaign_model.store import CampaignStore
from campaign_model.store.types import Array
from campaign_model.testing.sample_campaigns import Tenant

__all__ = ["Work", "behind"]

Work = Callable[[CampaignStore], Any]

_PATIENCE = 20.0
"""Seconds after which something that should happen at once counts as not happening."""

_BLOCKED = sa.text(
    "SELECT pid FROM unnest(:pids) AS pid WHERE cardinality(pg_blocking_pids(pid)) > 0"
).bindparams(sa.bindparam("pids", type_=Array(sa.Integer)))


def behind(tenant: Tenant, first: Work, *others: Work) -> list[Any]:
    """What ``others`` were told who came while the transaction of ``first`` was still open.

    Each comes when the one before waits or has its answer (on SQLite, where waiting cannot be
    seen, in any order), and ``first`` commits when all do. An error of the library is an answer,
    any other passes through.
    """
    # By the server process, which through a pooler may be another one for every transaction.
    pids: dict[int, int] = {}
    is_postgresql = tenant.engine.dialect.name == "postgresql"

    def run(index: int) -> Any:
        def announced(store: CampaignStore) -> Any:
            if is_postgresql:
                pids[index] = store.connection.execute(
                    sa.select(sa.func.pg_backend_pid())
                ).scalar_one()
            return others[index](store)

        try:
            return tenant.transact(announced)
        except CampaignModelError as error:
            return error

    with ThreadPoolExecutor(len(others)) as pool, tenant.engine.connect() as connection:
        with connection.begin():
            first(CampaignStore(connection, tenant.id, host=tenant.host))
            answers: list[Future[Any]] = []
            for index in range(len(others)):
                answers.append(pool.submit(run, index))
                if is_postgresql:
                    _wait(connection, pids, answers)
        return [answer.result(_PATIENCE) for answer in answers]


def _wait(connection: sa.Connection, pids: dict[int, int], answers: list[Future[Any]]) -> None:
    """Return once every one of them waits for a lock or has ended."""
    tick = threading.Event()
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        going = [index for index, answer in enumerate(answers) if not answer.done()]
        known = [pids[index] for index in going if index in pids]
        blocked = set(connection.scalars(_BLOCKED, {"pids": known}))
        if len(known) == len(going) and blocked >= set(known):
            return
        tick.wait(0.005)
    raise AssertionError(
        f"of {len(answers) + 1} transactions at once one came neither to an end nor to a lock: are "
        "there so many connections in the engine's pool and in the pooler?"
    )
