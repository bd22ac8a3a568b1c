"""Kill an adoption at each of its statements, in both shapes. This takes about half an hour.

Run it with ``pytest -o faulthandler_timeout=0 tests/benchmarks/every_statement.py``. The ordinary
tests, ``tests/adoption/test_interrupted.py``, kill at a few statements only.
"""

from __future__ import annotations

import itertools

import pytest

from support.adoption import LegacyDatabases, adopt, describe_shape
from support.interruption import (
    adopt_until_killed,
    kill_index_builds,
    kill_repeatedly,
    read_result,
    read_undisturbed_result,
)
from support.legacy import Shape
from support.legacy_rows import sample_rows

SHAPES = (Shape(service=True), Shape(extended=True, tags=True, full_name=True, service=True))


@pytest.mark.parametrize("shape", SHAPES, ids=describe_shape)
def test_an_adoption_continues_after_a_kill_at_any_statement(
    legacies: LegacyDatabases, shape: Shape
) -> None:
    expected = read_undisturbed_result(legacies, shape)
    for number in itertools.count(1):
        with legacies.database(shape, sample_rows) as engine:
            was_killed = adopt_until_killed(engine, number, after_writes=False)
            adopt(engine)
            assert read_result(engine) == expected, number
        if not was_killed:
            break
    assert number > 100


@pytest.mark.parametrize("shape", SHAPES, ids=describe_shape)
def test_an_adoption_that_is_killed_after_every_write_ends_like_an_undisturbed_one(
    legacies: LegacyDatabases, shape: Shape
) -> None:
    assert kill_repeatedly(legacies, shape, 1) > 50


@pytest.mark.parametrize("shape", SHAPES, ids=describe_shape)
def test_every_index_whose_build_was_killed_is_built_again(
    legacies: LegacyDatabases, shape: Shape
) -> None:
    pattern = "CREATE (UNIQUE )?INDEX CONCURRENTLY"
    assert len(kill_index_builds(legacies, shape, pattern)) > 2
