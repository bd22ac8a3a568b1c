"""The schema and its upkeep, acting as the owner of the database."""

from __future__ import annotations

import attrs
import sqlalchemy as sa

from campaign_model.db.adoption import adopt, sql, verify
from campaign_model.db.engine import prepare_engine
from campaign_model.db.generating import Generating, generating
from campaign_model.db.host import MinimalHost
from campaign_model.db.report import AdoptionRefused, AdoptReport, Finding, Verdict
from campaign_model.db.revisions import VERSION_TABLE, SetupError, one_at_a_time, upgrade
from campaign_model.db.rules import KINDS, STATUS_CASES
from campaign_model.db.system_templates import SyncReport, sync_presets
from campaign_model.store.tables import HostTables, metadata

__all__ = [
    "KINDS",
    "STATUS_CASES",
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
    "Verdict",
    "adopt",
    "generating",
    "init",
    "prepare_engine",
    "sql",
    "sync_presets",
    "verify",
]

TABLES = frozenset({*metadata.tables, VERSION_TABLE})
"""The names of this library's tables, for a host's own migrations to keep off."""


def init(
    engine: sa.Engine, *, host: HostTables | None = None, with_host_tables: bool = False
) -> SyncReport:
    """Build the schema in a fresh database, or bring ours up to date, and sync the presets.

    ``host`` names the host's tables; ``with_host_tables`` makes minimal ones where they are
    missing (for demos and tests). One transaction: it happens whole or not at all.
    Raises :class:`SetupError` when a host table is missing, when tables of our names are there
    that this library did not make, or that a newer version of it made. Needs the ``migrations``
    extra.
    """
    host = host or HostTables()
    minimal = MinimalHost(host)
    with prepare_engine(engine).begin() as connection:
        one_at_a_time(connection)
        if with_host_tables:
            minimal.create_referred(connection)
        _check(connection, host)
        upgrade(connection, attrs.asdict(host))
        if with_host_tables:
            minimal.create_referring(connection)
        return sync_presets(connection)


def _check(connection: sa.Connection, host: HostTables) -> None:
    present = set(sa.inspect(connection).get_table_names())
    missing = [name for name in attrs.asdict(host).values() if name not in present]
    if missing:
        raise SetupError(
            f"the database has no table {', '.join(missing)}; name your own with HostTables, or "
            "let minimal ones be made (--with-host-tables)"
        )
    ours = present & set(metadata.tables)
    if ours and VERSION_TABLE not in present:
        raise SetupError(
            f"the database already has {', '.join(sorted(ours))}, not made by this library; init "
            "changed nothing: db.adopt (campaign-model db adopt) brings such a database to our "
            "schema"
        )
