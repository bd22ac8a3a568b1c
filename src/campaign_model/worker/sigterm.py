"""SIGTERM asks every worker of the main thread to stop.

Invariant: the program's own handler is installed whenever no worker runs.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["stop_on_sigterm"]

_stop_events: list[threading.Event] = []
"""One for each worker of the main thread. Several asynchronous workers can share that thread."""

_replaced_handlers: list[Any] = []
"""The program's own handler while at least one worker runs, else empty."""


@contextmanager
def stop_on_sigterm(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on SIGTERM. Do nothing outside the main thread, which alone can set handlers.

    The first worker installs the handler. The last one to end restores the program's own handler.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _stop_events:
        _replaced_handlers.append(signal.signal(signal.SIGTERM, _set_stop_events))
    _stop_events.append(stop)
    try:
        yield
    finally:
        _stop_events.remove(stop)
        if not _stop_events:
            signal.signal(signal.SIGTERM, _replaced_handlers.pop())


def _set_stop_events(_signal: int, _frame: FrameType | None) -> None:
    for stop in _stop_events:
        stop.set()
