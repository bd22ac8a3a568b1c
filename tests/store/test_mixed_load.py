"""Failure 25 under load: random calls on one campaign never deadlock."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

import mixed_load
from support.tenants import new_tenant

MANY = 4000
CALLS = {"sqlite": 100, "postgresql-15": 200, "postgresql-18": MANY}
"""The number of calls. The locks of the older server are the same as those of the newest."""

REST = 0.5
"""The part of each second that the load leaves to the tests beside it."""


# Measuring coverage would slow the load down, and other tests run the same lines.
@pytest.mark.no_cover
def test_failure_25_mixed_load_has_no_deadlock(
    engine: sa.Engine, engine_name: str, seed: int
) -> None:
    calls = CALLS[engine_name]
    with mixed_load.detecting_deadlocks_soon(engine) as fast_engine:
        succeeded, _ = mixed_load.run(new_tenant(fast_engine), seed, calls=calls, rest=REST)
    if calls == MANY:
        # Every kind of call succeeded at least once.
        assert succeeded.keys() == {call.__name__ for call in mixed_load.CALLS}
