"""The transaction-and-retry loop that every service would write."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from campaign_model.store.connection import sqlstate
from campaign_model.store.store import CampaignStore

__all__ = ["is_retryable", "transact"]

Result = TypeVar("Result")

_SERIALIZATION_FAILURE = "40001"
_DEADLOCK = "40P01"
_PRIMARY_CODE = 0xFF

_LONGEST_PAUSE = 1000
"""Milliseconds between two attempts, at the most."""


def is_retryable(error: BaseException) -> bool:
    """Whether the same transaction may succeed if it is run once more from its beginning.

    Judged by SQLSTATE (serialization failure, deadlock), on SQLite by its result code (busy,
    locked). A lost connection is not among them: whether the commit took place is unknown then.
    """
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY_CODE
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return sqlstate(error) in (_SERIALIZATION_FAILURE, _DEADLOCK)


def transact(
    bind: sa.Engine | sa.Connection,
    tenant_id: UUID,
    work: Callable[[CampaignStore], Result],
    *,
    attempts: int = 5,
    patience: timedelta = timedelta(0),
    idempotent: bool = False,
    **options: Any,
) -> Result:
    """Run ``work(store)`` in a transaction of its own and commit it; what ``work`` returned.

    Where nothing of it can have been committed, it is run again from the beginning, up to
    ``attempts`` times in all: what :func:`is_retryable` approves of, a connection that could not
    be made, and one that was lost before the commit. One that is lost during the commit is tried
    again only if ``idempotent`` says that doing the work twice does no harm. For ``patience`` a
    server that cannot be reached, as while it restarts, is tried more often than that.
    ``options`` are those of :class:`CampaignStore`. Every other error rolls back and passes
    through.

    ``bind`` is an engine, or a connection that has no transaction yet: whoever claims and records
    again and again keeps one, for to borrow it from an engine's pool takes about as long as a
    claim does.
    """
    if attempts < 1:
        raise ValueError(f"attempts is at least 1, not {attempts}")
    deadline = time.monotonic() + patience.total_seconds()
    attempt = 0
    while True:
        attempt += 1
        connected = committing = False
        try:
            with bind.begin() as begun:
                connected = True
                connection = begun if isinstance(begun, sa.Connection) else begun.connection
                result = work(CampaignStore(connection, tenant_id, **options))
                committing = True
        except sa.exc.DBAPIError as error:
            unreachable = error.connection_invalidated or (
                not connected and isinstance(error, sa.exc.OperationalError)
            )
            again = is_retryable(error) or (unreachable and (idempotent or not committing))
            patient = unreachable and time.monotonic() < deadline
            if not again or (attempt >= attempts and not patient):
                raise
        else:
            return result
        # Apart in time, so that the two that got into each other's way do not meet again.
        time.sleep(secrets.randbelow(min(2**attempt * 10, _LONGEST_PAUSE)) / 1000)
