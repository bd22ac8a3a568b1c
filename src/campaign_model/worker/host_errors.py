"""Exceptions of the host's functions, as an outcome and a log record may name them.

The text of a database error has the statement, its parameters and often a whole row: messages,
names, addresses. The text of any other exception may have a URL with a key in it. So an outcome
names only types and SQLSTATEs. A traceback in the log keeps the text of the host's own exceptions,
but not that of database errors.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from campaign_model._logs import worker_log
from campaign_model.claims import Failed, Outcome
from campaign_model.store.database_errors import describe_database_error

GENERATE_FAILED = "generate_failed"
"""Error code of a contact for which ``generate`` raised."""

SAVE_FAILED = "save_failed"
"""Error code of a contact for which ``save`` raised."""

PUSH_FAILED = "push_failed"
"""Code of a contact for which ``push`` raised. No row keeps it."""

TASK_TIMED_OUT = "task_timed_out"
"""Error code of a contact whose coroutine did not end within ``task_timeout``."""


class _DatabaseError(Exception):
    """Stands for an exception in a traceback whose text would have data of contacts."""


def flatten_groups(error: BaseException) -> list[Any]:
    """Return the errors in an exception group and in the groups inside it, or the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for nested in error.exceptions for leaf in flatten_groups(nested)]


def describe(error: BaseException) -> str:
    """Name the types of an error, and the SQLSTATEs of database errors, without their texts."""
    return "; ".join(dict.fromkeys(_describe_leaf(leaf) for leaf in flatten_groups(error)))


def log_exception(
    function: str, error: BaseException, extra: dict[str, Any], outcome: Outcome | None = None
) -> None:
    """Log that a function of the host raised ``error``, with its traceback.

    The text of a database error may have data of contacts, so the log shows another exception in
    its place. ``outcome`` is what the worker records of the contact.
    """
    description = describe(error)
    shown = _DatabaseError(description) if _has_database_error(error) else error
    extra = {**extra, "error": description}
    if isinstance(outcome, Failed):
        extra["error_code"] = outcome.code
    exc_info = (type(shown), shown, error.__traceback__)
    worker_log.error("%s raised %s", function, description, exc_info=exc_info, extra=extra)


def _describe_leaf(error: BaseException) -> str:
    if isinstance(error, sa.exc.DBAPIError):
        return describe_database_error(error)
    name = type(error).__name__ or "Exception"
    if isinstance(error.__cause__, sa.exc.DBAPIError):
        return f"{name} from {describe_database_error(error.__cause__)}"
    return name


def _has_database_error(error: BaseException) -> bool:
    """Return True if the traceback would show a database error: as itself, a cause or a member."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        shown = pending.pop()
        if shown is None or id(shown) in seen:
            continue
        seen.add(id(shown))
        # The drivers' own errors have no common base class, but SQLAlchemy wraps all of them.
        if isinstance(shown, sa.exc.StatementError):
            return True
        pending += [shown.__cause__, shown.__context__]
        if isinstance(shown, BaseExceptionGroup):
            pending += shown.exceptions
    return False
