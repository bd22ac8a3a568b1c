"""Failure 25 under load: random calls on one campaign never deadlock."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy as sa

import mixed_load
from support.tenants import new_tenant
from support.transactions import on_newest_postgresql

CALLS = {"sqlite": 100, "postgresql-15": 200, "postgresql-18": 1000}
"""The number of calls. The locks of the older server are the same as those of the newest."""

REST = 0.5
"""The part of each second that the load leaves to the tests beside it."""

# Measuring coverage would slow the load down, and other tests run the same lines.
pytestmark = pytest.mark.no_cover


def run(engine: sa.Engine, seed: int, calls: int) -> Counter[str]:
    """Make random calls in parallel. Return how often each kind of call succeeded."""
    with mixed_load.detecting_deadlocks_soon(engine) as fast_engine:
        succeeded, _ = mixed_load.run(new_tenant(fast_engine), seed, calls=calls, rest=REST)
    return succeeded


def test_failure_25_mixed_load_has_no_deadlock(
    engine: sa.Engine, engine_name: str, seed: int
) -> None:
    assert run(engine, seed, CALLS[engine_name])


@pytest.mark.long
@on_newest_postgresql
def test_failure_25_every_kind_of_call_succeeds_under_load(engine: sa.Engine, seed: int) -> None:
    assert run(engine, seed, 4000).keys() == {call.__name__ for call in mixed_load.CALLS}
