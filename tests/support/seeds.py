"""A pytest plugin: the random choices of a failed test can be repeated."""

from __future__ import annotations

import random
import secrets

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="repeat the random choices of a failed test")


@pytest.fixture(autouse=True)
def seed(pytestconfig: pytest.Config) -> int:
    """Seed the module ``random`` for one test. pytest prints the seed if the test fails.

    Tests seed their own generators with it. (Hypothesis prints how to repeat its choices.)
    """
    number: int | None = pytestconfig.getoption("seed")
    if number is None:
        number = secrets.randbits(32)
    print(f"--seed {number} repeats the random choices of this test")  # noqa: T201
    random.seed(number)
    return number
