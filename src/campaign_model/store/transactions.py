"""The transaction-and-retry loop that every service would write."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from campaign_model.store.scope import sqlstate
from campaign_model.store.store import CampaignStore

__all__ = ["is_retryable", "transact"]

Result = TypeVar("Result")

_SERIALIZATION_FAILURE = "40001"
_DEADLOCK = "40P01"
_PRIMARY_CODE = 0xFF


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
    engine: sa.Engine,
    tenant_id: UUID,
    work: Callable[[CampaignStore], Result],
    *,
    attempts: int = 5,
    idempotent: bool = False,
    **options: Any,
) -> Result:
    """Run ``work(store)`` in a transaction of its own and commit it; what ``work`` returned.

    What :func:`is_retryable` approves of is run again from the beginning, up to ``attempts``
    times in all. A connection that is lost, perhaps during the commit, is tried again only if
    ``idempotent`` says that doing the work twice does no harm. ``options`` are those of
    :class:`CampaignStore`. Every other error rolls back and passes through.
    """
    for attempt in range(1, attempts + 1):
        try:
            with engine.begin() as connection:
                return work(CampaignStore(connection, tenant_id, **options))
        except sa.exc.DBAPIError as error:
            again = is_retryable(error) or (idempotent and error.connection_invalidated)
            if attempt == attempts or not again:
                raise
            # Apart in time, so that the two that got into each other's way do not meet again.
            time.sleep(secrets.randbelow(2**attempt * 10) / 1000)
    raise ValueError(f"attempts is at least 1, not {attempts}")
