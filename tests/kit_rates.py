"""How fast the test kit draws: every strategy of it, in draws a second of this process's time.

``nox -s rates`` prints the table. What it takes to check a value comes on top in a test.
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


def every() -> Iterator[tuple[str, SearchStrategy[Any]]]:
    """All public strategies by name, with their defaults, and those of ``from_type``."""
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


def _settings(number: int) -> settings:
    return settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def drawn(strategy: SearchStrategy[Any], number: int) -> list[Any]:
    """So many values, always the same ones, and independent of each other.

    Of every example after the first ones Hypothesis makes several that differ from it in one place
    only; so there are few examples at a time, each of many values.
    """
    found: list[Any] = []

    @_settings(8)
    @given(st.lists(strategy, min_size=10, max_size=10))
    def draw(values: list[Any]) -> None:
        found.extend(values)

    for run in range(math.ceil(number / 80)):
        seed(run)(draw)()
    return found[:number]


def rate(strategy: SearchStrategy[Any]) -> float:
    """Examples a second of this process's time, in a test that does nothing."""
    found: list[Any] = []

    @seed(1)
    @_settings(200)
    @given(strategy)
    def draw(value: Any) -> None:
        found.append(value)

    drawn(strategy, 1)
    began = time.process_time()
    draw()
    return len(found) / (time.process_time() - began)


if __name__ == "__main__":
    for name, strategy in every():
        print(f"{rate(strategy):8.0f} examples a second of {name}")  # noqa: T201 - the table
