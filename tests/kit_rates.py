"""Measure how many examples each strategy of the test kit draws in a second of processor time.

``nox -s rates`` prints the table. In a test, the time to check the examples is added.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model.testing import documents, strategies
from campaign_model.testing.strategies import _BY_TYPE

FORMS = ("submitted", "stored")


def every() -> Iterator[tuple[str, SearchStrategy[Any]]]:
    """Yield all public strategies with their names, and those of ``from_type``."""
    for name in strategies.__all__:
        if name != "of_type":
            yield f"{name}()", getattr(strategies, name)()
    for kind in documents.KINDS:
        for form in FORMS:
            yield f"valid({kind}, {form})", documents.valid(kind, form)
            yield f"invalid({kind}, {form})", documents.invalid(kind, form)
        yield f"legacy({kind})", documents.legacy(kind)
        yield f"any_document({kind})", documents.any_document(kind)
        yield f"changed({kind})", documents.changed(documents.valid(kind))
    for type_ in _BY_TYPE:
        yield f"of_type({type_.__name__})", strategies.of_type(type_)


def _settings(number: int) -> settings:
    return settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def drawn(strategy: SearchStrategy[Any], number: int) -> list[Any]:
    """Draw this number of values, the same ones every time and independent of each other.

    After the first examples, Hypothesis makes several that differ from an earlier one in one place
    only. So each run draws few examples with many values each.
    """
    values: list[Any] = []

    @_settings(8)
    @given(st.lists(strategy, min_size=10, max_size=10))
    def draw(example: list[Any]) -> None:
        values.extend(example)

    for run in range(math.ceil(number / 80)):
        seed(run)(draw)()
    return values[:number]


def rate(strategy: SearchStrategy[Any]) -> float:
    """Return the examples in a second of processor time, in a test that does nothing."""
    values: list[Any] = []

    @seed(1)
    @_settings(200)
    @given(strategy)
    def draw(value: Any) -> None:
        values.append(value)

    drawn(strategy, 1)
    start = time.process_time()
    draw()
    return len(values) / (time.process_time() - start)


if __name__ == "__main__":
    for name, strategy in every():
        print(f"{rate(strategy):8.0f} examples a second of {name}")  # noqa: T201 - the table
