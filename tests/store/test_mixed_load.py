"""Failure 25 under load: random calls on one campaign never deadlock."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

import mixed_load
from support.tenants import new_tenant

SECONDS = {"sqlite": 1.5, "postgresql-15": 1.5, "postgresql-18": 60.0}
"""The newest server runs the full minute. The locks of the older one are the same."""

MAX_SECONDS = 600.0
"""A busy machine may take so many seconds until each kind of call has succeeded."""

REST = 0.5
"""The part of each second that the load leaves to the tests beside it."""


# Measuring coverage would slow the load down, and other tests run the same lines.
@pytest.mark.no_cover
def test_failure_25_a_minute_of_mixed_load_has_no_deadlock(
    engine: sa.Engine, engine_name: str
) -> None:
    seed = random.randrange(2**32)
    seconds, full_minute = SECONDS[engine_name], SECONDS[engine_name] >= 60
    with mixed_load.detecting_deadlocks_soon(engine) as fast_engine:
        succeeded, _ = mixed_load.run(
            new_tenant(fast_engine), seconds, seed, REST, longest=MAX_SECONDS if full_minute else 0
        )
    if full_minute:
        # Every kind of call succeeded at least once.
        assert succeeded.keys() == {call.__name__ for call in mixed_load.CALLS}
