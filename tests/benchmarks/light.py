"""What every service does all the time: import the library, load steps, ask what may happen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, product
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, model_validator

from benchmarks.harness import Bench, Pair, Row, in_turns, seconds
from campaign_model import (
    Action,
    Condition,
    Facts,
    JsonObject,
    ReviewTally,
    Status,
    lifecycle,
    recover_template_config,
)
from campaign_model._json import quick_loads

# --- Loading a stored template_config ------------------------------------------------------------


class PydanticStep(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    step: Annotated[int, Field(ge=1, le=20)]
    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    label: Annotated[str, Field(min_length=1, max_length=200)]
    enabled: bool
    needs_pdf: bool
    variant_count: Annotated[int, Field(ge=1, le=3)]
    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")] | None = None
    day_offset: Annotated[int, Field(ge=0, le=365)] | None = None
    condition: Annotated[Condition, Field(strict=False)] | None = None
    config: dict[str, Any] | None = None


class PydanticSteps(RootModel[Annotated[tuple[PydanticStep, ...], Field(max_length=20)]]):
    model_config = ConfigDict(frozen=True)


class ImmutableStep(PydanticStep):
    config: Annotated[dict[str, Any], AfterValidator(JsonObject)] | None = None


class RuledSteps(RootModel[Annotated[tuple[ImmutableStep, ...], Field(max_length=20)]]):
    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _rules_between_steps(self) -> RuledSteps:
        keys, latest = set(), 0
        for place, step in enumerate(self.root, 1):
            keys.add(step.key or f"s{place}")
            if step.step != place or latest > (step.day_offset or latest):
                raise ValueError("steps count from 1 and follow each other")
            latest = step.day_offset or latest
        if len(keys) < len(self.root):
            raise ValueError("every step needs a key of its own")
        return self


def held_to_the_same(text: str) -> RuledSteps:
    # Pydantic by itself lets members stand twice.
    return RuledSteps.model_validate(quick_loads(text))


_fresh = count()


def documents(steps: int, number: int) -> list[bytes]:
    """So many that nobody has seen before, as ``jsonb`` writes them, every field in every step."""
    return [
        json.dumps(
            [
                {
                    "key": f"k{next(_fresh):016x}",
                    "step": place,
                    "label": f"Follow-up {place}",
                    "config": {"tone": "casual", "max_length": 300},
                    "channel": channel,
                    "enabled": True,
                    "condition": "no_response",
                    "needs_pdf": False,
                    "day_offset": place,
                    "variant_count": 2,
                }
                for place, channel in zip(
                    range(1, steps + 1), ("linkedin_connect", "email") * steps, strict=False
                )
            ]
        ).encode()
        for _ in range(number)
    ]


def each(work: Callable[[str], Any], texts: list[bytes]) -> float:
    """How long ``work`` takes on all of them, each a ``str`` of its own as a driver gives it."""
    strings = [text.decode() for text in texts]

    def all_of_them() -> None:
        for string in strings:
            work(string)

    return seconds(all_of_them)


def load(
    bench: Bench,
    *,
    steps: int,
    again: bool = False,
    other: Callable[[str], Any] = PydanticSteps.model_validate_json,
) -> Iterator[Pair]:
    """Seconds for 200 documents: each of them new, or 20 that were read before, ten times each."""
    known = documents(steps, 20) * 10 if again else None

    def time(work: Callable[[str], Any]) -> float:
        return each(work, known or documents(steps, 200))

    ours, theirs = partial(time, recover_template_config), partial(time, other)
    ours()
    yield from in_turns(ours, theirs, 9 if bench.quick else 101)


# --- Asking what may happen ----------------------------------------------------------------------

_TARGETS = {(line.source, line.action): line.target for line in lifecycle.TRANSITIONS}
_MOVES = list(_TARGETS)
# Every guard of the table holds of one of these.
_WAITING = Facts(enabled_steps=3, contacts=9, claimable=4, generated=5)
_FINISHED = Facts(enabled_steps=3, contacts=9, generated=9, review=ReviewTally(9, 0, 0))


def looked_up(source: Status, action: Action) -> Status | None:
    return _TARGETS.get((source, action))


def check(bench: Bench) -> Iterator[Pair]:
    """Seconds for every line of the table a hundred times, all of them allowed."""
    allowed = [
        (source, action, facts)
        for source, action in _MOVES
        for facts in (_WAITING, _FINISHED)
        if lifecycle.why_not(source, action, facts) is None
    ]
    assert {move[:2] for move in allowed} == set(_MOVES)

    def ours() -> None:
        for _ in range(100):
            for source, action, facts in allowed:
                lifecycle.apply(source, action, facts)

    def bare() -> None:
        for _ in range(100):
            for source, action, _facts in allowed:
                looked_up(source, action)

    yield from in_turns(partial(seconds, ours), partial(seconds, bare), 9 if bench.quick else 51)


# --- Importing -----------------------------------------------------------------------------------


def start(statement: str, *, above_bare: bool, environment: dict[str, str]) -> float:
    """How long a new Python takes that runs one statement, or longer than one that runs none."""

    def run(code: str) -> float:
        command = [sys.executable, "-c", code]
        return seconds(partial(subprocess.run, command, check=True, env=environment))

    return run(statement) - (run("pass") if above_bare else 0)


def imports(bench: Bench, *, statement: str, above_bare: bool) -> Iterator[Pair]:
    """Seconds of a new process each, its bytecode compiled before."""
    with TemporaryDirectory() as directory:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": directory}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        ours = partial(start, statement, above_bare=above_bare, environment=environment)
        attrs = partial(start, "import attrs", above_bare=above_bare, environment=environment)
        ours()
        yield from in_turns(ours, attrs, 9 if bench.quick else 51)


ROWS = [
    *(
        Row(
            f"load a stored template_config of {steps} steps, {'again' if again else 'first time'}",
            "pydantic, frozen models of the same shape",
            partial(load, steps=steps, again=again),
            at_most=0.05 if again else 1,
        )
        for again, steps in product((False, True), (5, 20))
    ),
    *(
        Row(
            f"load a stored template_config of {steps} steps, first time",
            "pydantic, all of it immutable, with the rules between steps and no member twice",
            partial(load, steps=steps, other=held_to_the_same),
        )
        for steps in (5, 20)
    ),
    Row(
        "a transition check: lifecycle.apply with its guards, on every line of the table",
        "a function that looks up status and action in a dict",
        check,
        at_most=3,
    ),
    *(
        Row(
            f"{statement}{', above bare Python' if above_bare else ''}",
            f"import attrs{', above bare Python' if above_bare else ''}",
            partial(imports, statement=statement, above_bare=above_bare),
            at_most=1.5 if statement == "import campaign_model" else None,
        )
        for statement in ("import campaign_model", "from campaign_model import *")
        for above_bare in (False, True)
    ),
]
