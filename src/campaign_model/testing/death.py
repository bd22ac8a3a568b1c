"""Sudden death, for tests of workers: whatever was done before counts, and nothing after it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

__all__ = ["Death", "dying"]


class Death(BaseException):
    """The worker's process is gone; ``except Exception`` does not catch it."""


@contextmanager
def dying(engine: sa.Engine, at: int) -> Iterator[Callable[[], None]]:
    """From moment ``at`` on nothing is done: the block ends there, and its transaction is undone.

    Moments are counted from 0. Every statement on ``engine`` is one, and so is every call of the
    function that this gives: call it where something else is done, such as in a language model.
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
