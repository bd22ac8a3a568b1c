"""Measures rows of figures, each as the ratio of ours to a yardstick of the same run.

A row's ``pairs(bench)`` yields ``(ours, yardstick)``, measured one right after the other and in
turns as to which goes first: what else the machine does then meets both. The figure is the median
of the pairs' ratios. Whatever was measured on a database, its totals have to be right afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from campaign_model import db
from campaign_model.store.tables import campaigns
from campaign_model.testing.totals_check import find_wrong_totals
from support import servers

__all__ = ["Bench", "Pair", "Result", "Row", "Span", "in_turns", "measured", "seconds", "table"]

Pair = tuple[float, float]
Span = tuple[float, float] | None
"""From when to when somebody worked, by the monotonic clock that all processes share."""


@attrs.define
class Bench:
    """What rows are measured with: a durable PostgreSQL, and how much time there is."""

    quick: bool
    """Be done in a few seconds: fewer pairs, and smaller where size is not the point."""

    _directory: Path
    engine_name: str = "postgresql-15"
    _made: list[str] = attrs.field(factory=list)
    _filled: dict[str, str] = attrs.field(factory=dict)

    @cached_property
    def _databases(self) -> servers.Databases:
        return servers.Databases(self._directory, durable=True)

    def database(self, name: str = "empty", fill: Callable[[sa.Engine], Any] | None = None) -> str:
        """The URL of a new database with our schema and host tables, gone when the row ends.

        ``fill(engine)`` has filled it; it is called once for all that are asked for by ``name``.
        """
        if name not in self._filled:
            url = self._databases.create(self.engine_name)
            engine = sa.create_engine(url)
            db.init(engine, with_host_tables=True)
            if fill is not None:
                fill(engine)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                # As a server that has run for a while: nothing is left for it to do beside us.
                connection.execute(sa.text("VACUUM ANALYZE"))
                connection.execute(sa.text("CHECKPOINT"))
            engine.dispose()
            self._filled[name] = url
        self._made.append(self._databases.create(self.engine_name, self._filled[name]))
        return self._made[-1]

    @contextmanager
    def row(self) -> Iterator[None]:
        """Check and drop, at the end, the databases that were made meanwhile."""
        yield
        while self._made:
            url = self._made.pop()
            engine = sa.create_engine(url)
            with engine.connect() as connection:
                rows = connection.execute(sa.select(campaigns.c.tenant_id, campaigns.c.id)).all()
                wrong = find_wrong_totals(
                    connection, {one[0] for one in rows}, [one[1] for one in rows]
                )
            engine.dispose()
            assert not wrong, "\n".join(wrong)
            self._databases.drop(url)


@attrs.frozen
class Row:
    """One line of the table. Its figure is to be ``at_most`` or ``at_least`` what it says.

    A row that says neither is there for comparison.
    """

    work: str
    yardstick: str
    pairs: Callable[[Bench], Iterable[Pair]] = attrs.field(repr=False)
    at_most: float | None = None
    at_least: float | None = None
    long: bool = False
    """``--quick`` leaves it out, unless it is asked for by name."""

    @property
    def reach(self) -> str:
        """The figure to reach, in words; none if there is none to reach."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "" if self.at_least is None else f"at least {self.at_least:g}"


@attrs.frozen
class Result:
    """A row that was measured."""

    row: Row
    pairs: tuple[Pair, ...]
    seconds: float
    """How long the whole row took."""

    @property
    def ratio(self) -> float:
        """Ours to the yardstick."""
        return median(ours / yardstick for ours, yardstick in self.pairs)

    @property
    def ok(self) -> bool:
        """Whether the row reaches its figure."""
        most, least = self.row.at_most, self.row.at_least
        return (most is None or self.ratio <= most) and (least is None or self.ratio >= least)

    def document(self) -> dict[str, Any]:
        """The row for programs."""
        return {
            "work": self.row.work,
            "yardstick": self.row.yardstick,
            "ratio": round(self.ratio, 3),
            "reach": self.row.reach,
            "ok": self.ok,
            "seconds": round(self.seconds),
            "pairs": [list(pair) for pair in self.pairs],
        }


def seconds(work: Callable[[], Any]) -> float:
    """How long ``work()`` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turns(
    ours: Callable[[], float], yardstick: Callable[[], float], number: int
) -> Iterator[Pair]:
    """So many pairs of what the two return; each goes first every other time."""
    for first, _ in zip(cycle((True, False)), range(number), strict=False):
        if first:
            mine = ours()
            yield mine, yardstick()
        else:
            other = yardstick()
            yield ours(), other


def measured(rows: Iterable[Row], bench: Bench, console: Console) -> Iterator[Result]:
    """Each row's result, as soon as it is there."""
    for row in rows:
        pairs: list[Pair] = []
        with console.status(row.work), bench.row():
            took = seconds(lambda: pairs.extend(row.pairs(bench)))  # noqa: B023
        yield Result(row, tuple(pairs), took)


def table(results: Iterable[Result]) -> Table:
    """The results for people."""
    shown = Table("work", "yardstick in the same run", "reach", "ratio", "from ... to", "s", "")
    for result in results:
        ratios = sorted(ours / yardstick for ours, yardstick in result.pairs)
        shown.add_row(
            result.row.work,
            result.row.yardstick,
            result.row.reach,
            f"{result.ratio:.3g}",
            f"{ratios[0]:.3g} ... {ratios[-1]:.3g}",
            f"{result.seconds:.0f}",
            ("ok" if result.ok else "NOT REACHED") if result.row.reach else "",
        )
    return shown
