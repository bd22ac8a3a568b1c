"""An adoption killed at each of its statements, in both shapes: half an hour.

``pytest -o faulthandler_timeout=0 tests/benchmarks/every_statement.py``. Of these,
``tests/adoption/test_interrupted.py`` does a few in every run.
"""

from __future__ import annotations

import itertools

import pytest

from adoption.test_interrupted import (
    adopt_until,
    kill_again_and_again,
    kill_while_building,
    outcome,
)
from adoption.test_rows import names
from support.adoption import Legacies, adopt
from support.legacy import Shape
from support.legacy_data import sample

SHAPES = (Shape(service=True), Shape(extended=True, tags=True, full_name=True, service=True))


@pytest.mark.parametrize("shape", SHAPES, ids=names)
def test_after_a_kill_at_any_statement_the_next_adoption_completes_it(
    legacies: Legacies, shape: Shape
) -> None:
    with legacies.database(shape, sample) as engine:
        adopt(engine)
        wanted = outcome(engine)
    for number in itertools.count(1):
        with legacies.database(shape, sample) as engine:
            killed = adopt_until(engine, number, writing=False)
            adopt(engine)
            assert outcome(engine) == wanted, number
        if not killed:
            break
    assert number > 100


@pytest.mark.parametrize("shape", SHAPES, ids=names)
def test_killed_after_every_write_it_ends_as_if_it_never_was(
    legacies: Legacies, shape: Shape
) -> None:
    assert kill_again_and_again(legacies, shape, 1) > 50


@pytest.mark.parametrize("shape", SHAPES, ids=names)
def test_killed_while_it_builds_any_index(legacies: Legacies, shape: Shape) -> None:
    pattern = "CREATE (UNIQUE )?INDEX CONCURRENTLY"
    assert len(kill_while_building(legacies, shape, pattern)) > 2
