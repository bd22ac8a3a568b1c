"""Sudden death of a worker, for tests: its commits stay, its open transaction is rolled back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

__all__ = ["Death", "dying"]


class Death(BaseException):
    """The worker's process died. ``except Exception`` does not catch this error."""


@contextmanager
def dying(engine: sa.Engine, at: int) -> Iterator[Callable[[], None]]:
    """End the block at the moment with number ``at``, counted from 0, as the death of a worker.

    Every statement on ``engine`` is a moment, and so is every call of the function that this
    context manager yields: call it where other work happens, such as a call of a language model.
    At moment ``at`` :class:`Death` is raised before the statement runs, so the code in the block
    rolls its transaction back. :class:`Death` does not leave the block.
    """
    moments = itertools.count()

    def moment(*_: object) -> None:
        # Later moments raise too: a dead process runs no statement, not even while it cleans up.
        if next(moments) >= at:
            raise Death

    sa.event.listen(engine, "before_cursor_execute", moment)
    try:
        yield moment
    except Death:
        pass
    finally:
        sa.event.remove(engine, "before_cursor_execute", moment)
