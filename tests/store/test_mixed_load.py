"""Failure 25 under load: whatever is done at once to one campaign, nobody waits in a circle."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

import mixed_load
from support.world import World

SECONDS = {"sqlite": 1.5, "postgresql-15": 1.5, "postgresql-18": 60.0}
"""The full minute is for the newest server; its locks are those of the one before."""

REST = 0.5
"""Of each second the processors are left to the tests beside it for so much."""


# Measured, it would do less in its minute, and nothing that other tests leave out.
@pytest.mark.no_cover
def test_failure_25_a_minute_of_mixed_load_sees_no_deadlock(
    engine: sa.Engine, engine_name: str
) -> None:
    seed = random.randrange(2**32)
    with mixed_load.impatient(engine) as impatient:
        through, _ = mixed_load.run(World(impatient), SECONDS[engine_name], seed, REST)
    if SECONDS[engine_name] >= 60:
        # Each call has met the others, and not only been refused.
        assert through.keys() == {call.__name__ for call in mixed_load.CALLS}
