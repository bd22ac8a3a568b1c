"""Checks of a worker's arguments, before it claims anything."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from campaign_model._values import checked_id, checked_instance, money
from campaign_model.errors import InvalidArgument, short_repr
from campaign_model.store.asynchronous import find_sync_engine
from campaign_model.store.connection import check_driver


def is_coroutine_function(function: Any) -> bool:
    """Return True for ``async def``, also as a method, a partial or the call of an object."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method itself is of interest
    )


def check_arguments(arguments: Mapping[str, Any], *, is_async: bool = False) -> None:
    """Raise ``TypeError`` for arguments of a wrong type, ``InvalidArgument`` for wrong values.

    ``is_async``: ``generate`` or ``push`` is a coroutine function.
    """
    engine = arguments["engine"]
    is_ordinary = isinstance(engine, sa.Engine) and not engine.dialect.is_async
    if not is_ordinary and not (is_async and find_sync_engine(engine)):
        what = engine.dialect.driver if isinstance(engine, sa.Engine) else _type(engine)
        raise TypeError(
            "engine is an ordinary engine, made by sqlalchemy.create_engine with a synchronous "
            f"driver such as psycopg, not {what}; run_worker_async and run_export_async take an "
            "AsyncEngine too (not its sync_engine)"
        )
    check_driver(engine.dialect)
    for name in ("tenant_id", "campaign_id"):
        checked_id(arguments[name], name)
    name, runner = ("push", "run_export") if "push" in arguments else ("generate", "run_worker")
    if not callable(arguments[name]):
        raise TypeError(f"{name} is a function, not {_type(arguments[name])}")
    if is_async and not is_coroutine_function(arguments[name]):
        raise TypeError(
            f"{runner}_async awaits a coroutine function (async def); for a plain function, use "
            f"{runner}"
        )
    if not is_async and is_coroutine_function(arguments[name]):
        raise TypeError(f"{runner} calls a plain function; for async def, use {runner}_async")
    for name in ("save", "report"):
        function = arguments.get(name)
        if function is not None and (not callable(function) or is_coroutine_function(function)):
            what = "async def" if is_coroutine_function(function) else _type(function)
            raise TypeError(f"{name} is a plain function, not {what}")
    for name in ("lease", "stop_patience"):
        checked_instance(arguments[name], timedelta, name)
    limit = arguments["task_timeout"]
    if limit is not None and checked_instance(limit, timedelta, "task_timeout") <= timedelta(0):
        raise InvalidArgument("task_timeout", f"task_timeout is longer than zero, not {limit}")
    if arguments.get("reserve") is not None:
        money(arguments["reserve"], "reserve")
    if isinstance(arguments["stop"], asyncio.Event):
        raise TypeError("stop is a threading.Event: an asyncio.Event cannot be read in a thread")
    for name in ("concurrency", "max_attempts", "max_equal_failures"):
        number = arguments.get(name, 1)  # Exporters have no max_attempts.
        if number is None and name == "max_equal_failures":
            continue
        if type(number) is not int:
            raise TypeError(f"{name} is an int, not {_type(number)}")
        if number < 1:
            raise InvalidArgument(name, f"{name} is at least 1, not {short_repr(number)}")


def _type(value: Any) -> str:
    return type(value).__name__
