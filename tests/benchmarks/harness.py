"""Measure the library against a yardstick in the same run. Each figure is a ratio of the two.

A row's ``pairs(bench)`` yields ``(ours, yardstick)``. The two are measured one right after the
other, and take turns in going first, so that other load of the machine affects both. The figure is
the median of the pairs' ratios. The totals of every measured database must be right afterwards.
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
"""When some work began and ended, by the monotonic clock that all processes share."""


@attrs.define
class Bench:
    """The durable PostgreSQL on which rows are measured."""

    quick: bool
    """Measure for a few seconds only: fewer pairs, and less data where its size does not matter."""

    _directory: Path
    engine_name: str = "postgresql-15"
    _made: list[str] = attrs.field(factory=list)
    _filled: dict[str, str] = attrs.field(factory=dict)

    @cached_property
    def _databases(self) -> servers.Databases:
        return servers.Databases(self._directory, durable=True)

    def database(self, name: str = "empty", fill: Callable[[sa.Engine], Any] | None = None) -> str:
        """Make a database with our schema and host tables for the present row; return its URL.

        ``fill(engine)`` fills it. All databases of the same ``name`` are copies of one that was
        filled once.
        """
        if name not in self._filled:
            url = self._databases.create(self.engine_name)
            engine = sa.create_engine(url)
            db.init(engine, with_host_tables=True)
            if fill is not None:
                fill(engine)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                # Leave the server no work of its own to do during the measurement.
                connection.execute(sa.text("VACUUM ANALYZE"))
                connection.execute(sa.text("CHECKPOINT"))
            engine.dispose()
            self._filled[name] = url
        self._made.append(self._databases.create(self.engine_name, self._filled[name]))
        return self._made[-1]

    @contextmanager
    def row(self) -> Iterator[None]:
        """At the end, check and drop the databases that were made in the block."""
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
    """One line of the table, with the limit ``at_most`` or ``at_least`` for its figure.

    A row without a limit is there for comparison.
    """

    work: str
    yardstick: str
    pairs: Callable[[Bench], Iterable[Pair]] = attrs.field(repr=False)
    at_most: float | None = None
    at_least: float | None = None
    long: bool = False
    """``--quick`` leaves the row out, unless ``--only`` names it."""

    @property
    def reach(self) -> str:
        """The limit in words, or ``""``."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "" if self.at_least is None else f"at least {self.at_least:g}"


@attrs.frozen
class Result:
    """The measurements of a row."""

    row: Row
    pairs: tuple[Pair, ...]
    seconds: float
    """The duration of the whole row."""

    @property
    def ratio(self) -> float:
        """The median ratio of ours to the yardstick."""
        return median(ours / yardstick for ours, yardstick in self.pairs)

    @property
    def ok(self) -> bool:
        """True if the ratio is within the limit."""
        most, least = self.row.at_most, self.row.at_least
        return (most is None or self.ratio <= most) and (least is None or self.ratio >= least)

    def document(self) -> dict[str, Any]:
        """Return the result as JSON."""
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
    """Return the seconds that ``work()`` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turns(
    ours: Callable[[], float], yardstick: Callable[[], float], number: int
) -> Iterator[Pair]:
    """Yield ``number`` pairs of what the two functions return. They take turns in going first."""
    for first, _ in zip(cycle((True, False)), range(number), strict=False):
        if first:
            mine = ours()
            yield mine, yardstick()
        else:
            other = yardstick()
            yield ours(), other


def measured(rows: Iterable[Row], bench: Bench, console: Console) -> Iterator[Result]:
    """Measure the rows, and yield each result at once."""
    for row in rows:
        pairs: list[Pair] = []
        with console.status(row.work), bench.row():
            took = seconds(lambda: pairs.extend(row.pairs(bench)))  # noqa: B023
        yield Result(row, tuple(pairs), took)


def table(results: Iterable[Result]) -> Table:
    """Return the results as a table for the console."""
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
