"""The database schema and its upkeep, with the rights of the schema's owner.

``init`` builds the schema in a fresh database. ``adopt`` brings a legacy database to it in place,
beside services that still write into it, and ``enforce`` adds the constraints once they are gone;
``verify`` says what is missing, ``sql`` writes the adoption as plain SQL. ``sync_presets`` updates
the system templates, ``prepare_engine`` configures an engine for the store, ``grants`` writes the
privileges of a service's role, and ``generating`` lists the campaigns that need a worker, across
all tenants.
"""

from __future__ import annotations

import attrs
import sqlalchemy as sa

from campaign_model.db.adoption.report import (
    KINDS,
    AdoptionRefused,
    AdoptReport,
    Finding,
    ToleratedWrites,
    Verdict,
)
from campaign_model.db.adoption.run import adopt, enforce, sql, verify
from campaign_model.db.autogenerate import include_object
from campaign_model.db.engine import prepare_engine, require_synchronous
from campaign_model.db.generating import Generating, generating
from campaign_model.db.grants import grants
from campaign_model.db.minimal_host import MinimalHost
from campaign_model.db.revisions import VERSION_TABLE, upgrade
from campaign_model.db.setup import SetupError, lock_setup
from campaign_model.db.system_templates import SyncReport, sync_presets
from campaign_model.store.connection import check_session
from campaign_model.store.tables import HostTables, metadata

__all__ = [
    "KINDS",
    "TABLES",
    "VERSION_TABLE",
    "AdoptReport",
    "AdoptionRefused",
    "Finding",
    "Generating",
    "HostTables",
    "MinimalHost",
    "SetupError",
    "SyncReport",
    "ToleratedWrites",
    "Verdict",
    "adopt",
    "enforce",
    "generating",
    "grants",
    "include_object",
    "init",
    "prepare_engine",
    "sql",
    "sync_presets",
    "verify",
]

TABLES = frozenset({*metadata.tables, VERSION_TABLE})
"""The names of the library's tables, which the host's own migrations must not change."""


def init(
    engine: sa.Engine, *, host: HostTables | None = None, with_host_tables: bool = False
) -> SyncReport:
    """Build the schema in a fresh database, or upgrade it, and sync the system templates.

    ``host`` names the host's tables. ``with_host_tables`` creates the missing ones with a minimum
    of columns, for demos and tests. The whole call is one transaction. It needs the extra
    ``migrations``.

    Raises :class:`SetupError` if a host table is missing, if there are tables of the same names
    that this library has not created, if a newer version of the library has created them, or if the
    engine's driver is asynchronous. Raises ``ValueError`` for a driver or a session setting that
    the store refuses too.
    """
    host = host or HostTables()
    minimal = MinimalHost(host)
    with require_synchronous(engine).begin() as connection:
        check_session(connection)
        lock_setup(connection)
        if with_host_tables:
            minimal.create_referred(connection)
        _check_tables(connection, host)
        upgrade(connection, attrs.asdict(host))
        if with_host_tables:
            minimal.create_referring(connection)
        return sync_presets(connection)


def _check_tables(connection: sa.Connection, host: HostTables) -> None:
    """Raise :class:`SetupError` if the schema cannot be built beside the tables that are there."""
    present = set(sa.inspect(connection).get_table_names())
    missing = [name for name in attrs.astuple(host) if name not in present]
    if missing:
        raise SetupError(
            f"the database has no table {', '.join(missing)}; name your own tables with "
            "HostTables, or have minimal ones created (--with-host-tables)"
        )
    library_tables = present & set(metadata.tables)
    if library_tables and VERSION_TABLE not in present:
        raise SetupError(
            f"the database already has {', '.join(sorted(library_tables))}, not made by this "
            "library; init changed nothing. On PostgreSQL, db.adopt (campaign-model db adopt) "
            "brings such a database to the schema"
        )
