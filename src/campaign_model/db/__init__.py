"""The database schema and its upkeep, with the rights of the schema's owner.

``init`` builds the schema in a fresh database. ``adopt`` brings a legacy database to it in place,
beside services that still write into it, and ``enforce`` adds the constraints once they are gone;
``verify`` says what is missing, ``sql`` writes the adoption as plain SQL. ``sync_presets`` updates
the system templates, ``prepare_engine`` configures an engine for the store, ``grants`` writes the
privileges of a service's role, ``generating`` lists the campaigns that need a worker, across all
tenants, and ``remove_tenant`` deletes everything of one tenant. ``create_outbox`` adds a table that
gets every change of a campaign's status, and ``take_moves`` is for its consumer.

Three functions are for operators who want more: ``install_row_security`` lets PostgreSQL itself
keep the rows of tenants apart, ``install_guard`` adds triggers that refuse what no function of the
library does, and ``distribute_sql`` writes the SQL that spreads the tables over a Citus cluster.
"""

from __future__ import annotations

import attrs
import sqlalchemy as sa

from campaign_model.campaign import Move
from campaign_model.db.adoption.catalog import read_catalog
from campaign_model.db.adoption.inspection import find_host_obstacles
from campaign_model.db.adoption.plan import plan_host_key
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
from campaign_model.db.distribute import distribute_sql
from campaign_model.db.engine import begin_setup, prepare_engine
from campaign_model.db.generating import Generating, generating
from campaign_model.db.grants import grants
from campaign_model.db.guard import GuardStatus, install_guard, read_guard, remove_guard
from campaign_model.db.minimal_host import MinimalHost
from campaign_model.db.outbox import create_outbox, drop_outbox, take_moves
from campaign_model.db.revisions import VERSION_TABLE, upgrade
from campaign_model.db.rls import (
    RowSecurity,
    TableSecurity,
    install_row_security,
    read_row_security,
    remove_row_security,
)
from campaign_model.db.schema import HOST_KEY, quote
from campaign_model.db.setup import SetupError, change_tables, read_access, require_all_rows
from campaign_model.db.system_templates import SyncReport, sync_presets
from campaign_model.db.tenants import RemovedTenant, remove_tenant
from campaign_model.store.tables import HostTables, metadata

__all__ = [
    "KINDS",
    "TABLES",
    "VERSION_TABLE",
    "AdoptReport",
    "AdoptionRefused",
    "Finding",
    "Generating",
    "GuardStatus",
    "HostTables",
    "MinimalHost",
    "Move",
    "RemovedTenant",
    "RowSecurity",
    "SetupError",
    "SyncReport",
    "TableSecurity",
    "ToleratedWrites",
    "Verdict",
    "adopt",
    "create_outbox",
    "distribute_sql",
    "drop_outbox",
    "enforce",
    "generating",
    "grants",
    "include_object",
    "init",
    "install_guard",
    "install_row_security",
    "prepare_engine",
    "read_guard",
    "read_row_security",
    "remove_guard",
    "remove_row_security",
    "remove_tenant",
    "sql",
    "sync_presets",
    "take_moves",
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

    Raises :class:`SetupError` if a host table is missing or does not fit, if there are tables of
    the same names that this library has not created, if a newer version of the library has created
    them, if the database only reads, if a role may create no tables in a database without them, if
    another ``init`` or ``adopt`` runs for ten minutes, if other sessions keep a host table locked
    for a minute, or if the engine's driver is asynchronous.
    Raises ``ValueError`` for a driver or a session setting that the store refuses too.
    """
    host = host or HostTables()
    minimal = MinimalHost(host) if with_host_tables else None
    with begin_setup(engine) as connection:
        _require_schema(connection)
        require_all_rows(connection, TABLES)
        change_tables(connection, _build, host, minimal)
        return sync_presets(connection)


def _require_schema(connection: sa.Connection) -> None:
    """Raise :class:`SetupError` if a new database has no schema in which tables can be created."""
    if connection.dialect.name == "postgresql" and not sa.inspect(connection).has_table(
        VERSION_TABLE
    ):
        obstacle = read_access(connection).create_obstacle
        if obstacle is not None:
            raise SetupError(obstacle)


def _build(connection: sa.Connection, host: HostTables, minimal: MinimalHost | None) -> None:
    """Create the missing tables of the library, and the ``minimal`` ones of the host, if any."""
    if minimal is not None:
        minimal.create_referred(connection)
    _check_tables(connection, host)
    upgrade(connection, attrs.asdict(host))
    if minimal is not None:
        minimal.create_referring(connection)


def _check_tables(connection: sa.Connection, host: HostTables) -> None:
    """Raise :class:`SetupError` if the schema cannot be built beside the tables that are there."""
    host_names = attrs.astuple(host)
    if connection.dialect.name == "postgresql":
        tables = read_catalog(connection, {*metadata.tables, *host_names, VERSION_TABLE})
        present = {*tables}
        schema = read_access(connection).schema
        library_tables = {
            name for name in metadata.tables if name in tables and tables[name].schema == schema
        }
    else:
        present = {*sa.inspect(connection).get_table_names()}
        library_tables = present & metadata.tables.keys()
    missing = [name for name in host_names if name not in present]
    if missing:
        raise SetupError(
            f"the database has no table {', '.join(missing)}; name your own tables with "
            "--tenants, --owners and --contacts (HostTables), or have minimal ones created "
            "(--with-host-tables)"
        )
    if VERSION_TABLE in present:
        return
    if library_tables:
        raise SetupError(
            f"the database already has {', '.join(sorted(library_tables))}, not made by this "
            "library; init changed nothing. On PostgreSQL, db.adopt (campaign-model db adopt) "
            "brings such a database to the schema"
        )
    if connection.dialect.name == "postgresql":
        obstacles = [*find_host_obstacles(tables, host)]
        if not obstacles:
            obstacles = [
                f"{name} has no unique key that foreign keys can refer to: ALTER TABLE "
                f"{quote(name)} ADD UNIQUE (tenant_id, id)"
                for name in dict.fromkeys((host.owners, host.contacts))
                if any(plan_host_key(name, tables[name]))
            ]
    else:
        obstacles = [
            f"{name}.{column['name']} is of type {column['type']}, and must hold a UUID"
            for name in host_names
            for column in sa.inspect(connection).get_columns(name)
            if column["name"] in HOST_KEY and isinstance(column["type"], sa.Integer)
        ]
    if obstacles:
        raise SetupError("; ".join(obstacles))
