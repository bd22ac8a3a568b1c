"""Sudden death of a worker, for tests: what it did before counts, and it does nothing after."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

__all__ = ["Death", "dying"]


class Death(BaseException):
    """The worker's process is gone. ``except Exception`` does not catch it."""


@contextmanager
def dying(engine: sa.Engine, at: int) -> Iterator[Callable[[], None]]:
    """Let the block die at moment ``at`` (from 0): raise :class:`Death` there and end the block.

    The open transaction is rolled back. Every statement on ``engine`` is a moment. Every call of
    the function that this context manager yields is one too: call it where other work happens, such
    as a call of a language model.
    """
    moments = itertools.count()

    def moment(*_: object) -> None:
        if next(moments) >= at:
            raise Death

    sa.event.listen(engine, "before_cursor_execute", moment)
    try:
        yield moment
    except Death:
        pass
    finally:
        sa.event.remove(engine, "before_cursor_execute", moment)
