"""Measure how many values per second each strategy of the test kit draws.

``nox -s rates`` prints the table. The time is CPU time of this process, without the checks that
a real test makes.
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

FORMS = ("submitted", "stored")


def iter_strategies() -> Iterator[tuple[str, SearchStrategy[Any]]]:
    """Iterate over all public strategies with their names, including those of ``from_type``."""
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
    for type_ in strategies._BY_TYPE:
        yield f"of_type({type_.__name__})", strategies.of_type(type_)


def _draw_only(max_examples: int) -> settings:
    """Make settings under which Hypothesis only draws: no shrinking, no database, no checks."""
    return settings(
        max_examples=max_examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def draw_values(strategy: SearchStrategy[Any], number: int) -> list[Any]:
    """Draw ``number`` values that are independent of each other, and the same in every run.

    Hypothesis makes most examples by changing one place of an earlier example. Eight examples of
    ten values each, with a new seed for every eight, avoid such near copies.
    """
    drawn: list[Any] = []

    @_draw_only(8)
    @given(st.lists(strategy, min_size=10, max_size=10))
    def draw(values: list[Any]) -> None:
        drawn.extend(values)

    for run in range(math.ceil(number / 80)):
        seed(run)(draw)()
    return drawn[:number]


def measure_rate(strategy: SearchStrategy[Any]) -> float:
    """Return how many examples per second an empty test gets."""
    drawn: list[Any] = []

    @seed(1)
    @_draw_only(200)
    @given(strategy)
    def draw(value: Any) -> None:
        drawn.append(value)

    draw_values(strategy, 1)  # Builds the strategy, so that only drawing is measured.
    started = time.process_time()
    draw()
    return len(drawn) / (time.process_time() - started)


if __name__ == "__main__":
    for name, strategy in iter_strategies():
        print(f"{measure_rate(strategy):8.0f} examples per second: {name}")  # noqa: T201 - the table
