"""The store: one tenant, one connection, the caller's transaction; and :func:`transact`.

``transact`` runs work in a transaction of its own, and retries where that is safe.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from campaign_model.store.campaigns import Campaigns
from campaign_model.store.connection import Clock, check_connection, database_time, sqlstate
from campaign_model.store.contacts import Contacts
from campaign_model.store.generation import Generation
from campaign_model.store.scope import Scope
from campaign_model.store.tables import HostTables
from campaign_model.store.templates import Templates
from campaign_model.store.types import checked_id
from campaign_model.wire import DEFAULT, Codec

__all__ = ["CampaignStore", "is_retryable", "transact"]

Result = TypeVar("Result")

_SERIALIZATION_FAILURE = "40001"
_DEADLOCK = "40P01"
_PRIMARY_CODE = 0xFF

_LONGEST_PAUSE = 1000
"""Milliseconds between two attempts, at the most."""


class CampaignStore:
    """Campaigns, templates, contacts and generation of one tenant.

    The caller owns the transaction: the store never begins, commits or rolls back, so that a
    service writes its own rows and the library's together. Use one store per transaction.
    ``actor`` is noted in the history; ``clock`` tells the time (the database's, unless a test
    passes another one); ``host`` names the host's tables. A method that raises one of the
    library's errors has written nothing and leaves the transaction usable.

    Raises ``ValueError`` for a connection on which the store cannot keep its promises: SQLite
    without ``db.prepare_engine``, another database, AUTOCOMMIT, or a ``schema_translate_map``.
    """

    campaigns: Campaigns
    templates: Templates
    contacts: Contacts
    generation: Generation

    def __init__(
        self,
        connection: sa.Connection,
        tenant_id: UUID,
        *,
        actor: str | None = None,
        clock: Clock = database_time,
        codec: Codec = DEFAULT,
        host: HostTables | None = None,
    ) -> None:
        check_connection(connection)
        scope = Scope(connection, checked_id(tenant_id), actor, clock, codec, host or HostTables())
        self.connection = connection
        self.tenant_id = tenant_id
        self.campaigns = Campaigns(scope)
        self.templates = Templates(scope)
        self.contacts = Contacts(scope)
        self.generation = Generation(scope)


def is_retryable(error: BaseException) -> bool:
    """Return True if the same transaction may succeed when it is run again from its beginning.

    True for serialization failures and deadlocks (by SQLSTATE), on SQLite for a busy or locked
    database (by result code). False for a lost connection: the commit may have taken place.
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
    """Run ``work(store)`` in a transaction of its own, commit, and return what ``work`` returned.

    ``bind`` is an engine, or a connection without a transaction. A loop that claims and records
    many times a second should keep a connection: borrowing one from the engine's pool takes about
    as long as a claim.

    The work is run again from its beginning, up to ``attempts`` times in all, if nothing of it
    can have been committed: after an error for which :func:`is_retryable` is true, if no connection
    could be made, or if it was lost before the commit. If it was lost during the commit, the work
    is run again only if ``idempotent`` says that doing it twice does no harm. While the server
    cannot be reached, for example while it restarts, attempts go on for ``patience``.
    ``options`` are those of :class:`CampaignStore`. Every other error rolls back and passes
    through. Raises ``ValueError`` for less than one attempt.
    """
    if attempts < 1:
        raise ValueError(f"attempts is at least 1, not {attempts}")
    deadline = time.monotonic() + patience.total_seconds()
    attempt = 0
    while True:
        attempt += 1
        is_connected = is_committing = False
        try:
            with bind.begin() as begun:
                is_connected = True
                connection = begun if isinstance(begun, sa.Connection) else begun.connection
                result = work(CampaignStore(connection, tenant_id, **options))
                is_committing = True
        except sa.exc.DBAPIError as error:
            is_unreachable = error.connection_invalidated or (
                not is_connected and isinstance(error, sa.exc.OperationalError)
            )
            may_retry = is_retryable(error) or (
                is_unreachable and (idempotent or not is_committing)
            )
            has_patience = is_unreachable and time.monotonic() < deadline
            if not may_retry or (attempt >= attempts and not has_patience):
                raise
        else:
            return result
        # A random pause, so that two transactions in conflict do not meet again.
        time.sleep(secrets.randbelow(min(2**attempt * 10, _LONGEST_PAUSE)) / 1000)
