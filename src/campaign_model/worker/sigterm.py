"""SIGTERM, which asks every worker of the main thread to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["stopped_by_sigterm"]

_asked: list[threading.Event] = []
"""Of every worker that runs in the main thread: of coroutines, several may."""

_before: list[Any] = []
"""The program's own handler, while there is a worker."""


@contextmanager
def stopped_by_sigterm(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on SIGTERM; nothing is done outside the main thread, which alone hears of it.

    The program's own handler comes back when the last worker is gone, in whatever order they go.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _asked:
        _before.append(signal.signal(signal.SIGTERM, _ask))
    _asked.append(stop)
    try:
        yield
    finally:
        _asked.remove(stop)
        if not _asked:
            signal.signal(signal.SIGTERM, _before.pop())


def _ask(_signal: int, _frame: FrameType | None) -> None:
    for stop in _asked:
        stop.set()
