"""Frequent operations without a database: import the library, load steps, check a transition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
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
from campaign_model._json import decode, fault_in, freeze_object, text_fault

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


def storable_text(text: str) -> str:
    if text_fault(text) is not None:
        raise ValueError("no database stores this text")
    return text


def storable_object(members: dict[str, Any]) -> JsonObject:
    frozen = freeze_object(members)  # Like our reader, without counting the members.
    if fault_in(frozen) is not None:
        raise ValueError("no database stores this object")
    return frozen


class RuledStep(PydanticStep):
    label: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable_text)]
    config: Annotated[dict[str, Any], AfterValidator(storable_object)] | None = None


class RuledSteps(RootModel[Annotated[tuple[RuledStep, ...], Field(max_length=20)]]):
    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _rules_between_steps(self) -> RuledSteps:
        keys, latest_day = set(), 0
        for position, step in enumerate(self.root, 1):
            keys.add(step.key or f"s{position}")
            if step.step != position or latest_day > (step.day_offset or latest_day):
                raise ValueError("steps count from 1, and day offsets must not decrease")
            latest_day = step.day_offset or latest_day
        if len(keys) < len(self.root):
            raise ValueError("every step needs a key of its own")
        return self


@lru_cache(512)
def load_by_our_rules(text: str) -> RuledSteps:
    """Load with pydantic and obey all our rules.

    Pydantic alone accepts repeated members, numbers that no double holds, and text that
    PostgreSQL does not store. The cache is ours too: equal text gives the same value.
    """
    document, faults = decode(text)
    assert not faults
    return RuledSteps.model_validate(document)


_fresh = count()


def documents(steps: int, number: int) -> list[bytes]:
    """Return new documents, as ``jsonb`` writes them. Every step has every field."""
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
    """Measure the processor time of ``work`` on all texts, each a new ``str`` as from a driver.

    Processor time, because other processes disturb such short measurements.
    """
    strings = [text.decode() for text in texts]
    begun = time.process_time()
    for string in strings:
        work(string)
    return time.process_time() - begun


def load(
    bench: Bench,
    *,
    steps: int,
    again: bool = False,
    yardstick: Callable[[str], Any] = PydanticSteps.model_validate_json,
) -> Iterator[Pair]:
    """Yield seconds for 200 documents: all new, or 20 known ones ten times each."""
    known = documents(steps, 20) * 10 if again else None

    def measure(work: Callable[[str], Any]) -> float:
        return each(work, known or documents(steps, 200))

    ours, theirs = partial(measure, recover_template_config), partial(measure, yardstick)
    ours()  # Loads cattrs and fills the cache.
    yield from in_turns(ours, theirs, 9 if bench.quick else 101)


# --- Checking a transition -----------------------------------------------------------------------

_TARGETS = {(line.source, line.action): line.target for line in lifecycle.TRANSITIONS}
_MOVES = list(_TARGETS)
# For one of these, every guard of the table holds.
_WAITING = Facts(enabled_steps=3, contacts=9, claimable=4, generated=5)
_FINISHED = Facts(enabled_steps=3, contacts=9, generated=9, review=ReviewTally(9, 0, 0))


def looked_up(source: Status, action: Action) -> Status | None:
    return _TARGETS.get((source, action))


def check(bench: Bench) -> Iterator[Pair]:
    """Yield seconds for a hundred rounds of every allowed transition of the table."""
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
    """Measure a new Python process that runs ``statement``.

    ``above_bare`` subtracts the time of a process that runs nothing.
    """

    def run(code: str) -> float:
        command = [sys.executable, "-c", code]
        return seconds(
            partial(
                subprocess.run,
                command,
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
            )
        )

    return run(statement) - (run("pass") if above_bare else 0)


COMMAND = "import campaign_model.cli; campaign_model.cli.main({!r})"
BARE_TYPER_APP = "import typer; app = typer.Typer(); app.command()(lambda: None); app(['--help'])"


def imports(
    bench: Bench, *, statement: str, above_bare: bool = False, yardstick: str = "import attrs"
) -> Iterator[Pair]:
    """Yield seconds of new processes. The bytecode is compiled before."""
    with TemporaryDirectory() as directory:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": directory}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        ours = partial(start, statement, above_bare=above_bare, environment=environment)
        other = partial(start, yardstick, above_bare=above_bare, environment=environment)
        ours()
        other()
        yield from in_turns(ours, other, 9 if bench.quick else 25)


ROWS = [
    *(
        Row(
            f"load a stored template_config of {steps} steps, first time",
            "pydantic by the same rules: immutable, rules between steps, no repeated member, "
            "only text and numbers that databases store, and the same cache",
            partial(load, steps=steps, yardstick=load_by_our_rules),
            at_most=1.5,
        )
        for steps in (5, 20)
    ),
    *(
        Row(
            f"load a stored template_config of {steps} steps, {'again' if again else 'first time'}",
            "pydantic, frozen models of the same shape" + (", with fewer rules" * (not again)),
            partial(load, steps=steps, again=again),
            at_most=0.05 if again else None,
        )
        for again, steps in product((True, False), (5, 20))
    ),
    Row(
        "a transition check: lifecycle.apply with its guards, for every transition",
        "a lookup of status and action in a dict",
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
    *(
        Row(
            f"campaign-model {' '.join(words)}",
            "--help of an app of Typer with one empty command",
            partial(imports, statement=COMMAND.format(words), yardstick=BARE_TYPER_APP),
            at_most=1.5,
        )
        for words in (["--version"], ["--help"], ["campaigns", "--help"])
    ),
]
