"""The schema and its upkeep, acting as the owner of the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
import sqlalchemy as sa

from campaign_model.db.engine import prepare_engine
from campaign_model.db.host import MinimalHost
from campaign_model.db.presets import SyncReport, sync_presets
from campaign_model.store.tables import HostTables, metadata

__all__ = [
    "TABLES",
    "VERSION_TABLE",
    "HostTables",
    "MinimalHost",
    "SetupError",
    "SyncReport",
    "init",
    "prepare_engine",
    "sync_presets",
]

VERSION_TABLE = "campaign_model_alembic_version"
"""Where our revisions are noted, apart from the host's own."""

TABLES = frozenset({*metadata.tables, VERSION_TABLE})
"""The names of this library's tables, for a host's own migrations to keep off."""

_INIT_LOCK = 0x63616D706169676E
"""Key of the advisory lock that lets one ``init`` at a time go on, on PostgreSQL."""


_one_upgrade = threading.Lock()


class SetupError(Exception):
    """The database is not one that this command can work on; the message says what to do."""


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
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_INIT_LOCK)))
        if with_host_tables:
            minimal.create_referred(connection)
        _check(connection, host)
        _upgrade(connection, attrs.asdict(host))
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
            f"the database already has {', '.join(sorted(ours))}, not made by this library; "
            "init builds fresh schemas only and changed nothing"
        )


def _upgrade(connection: sa.Connection, host: Mapping[str, str]) -> None:
    from alembic import command  # noqa: PLC0415 - an extra that only this function needs
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes.update(connection=connection, host=host, version_table=VERSION_TABLE)
    try:
        with _alembics_globals():
            command.upgrade(config, "head")
    except CommandError as error:
        raise SetupError(
            f"the database was set up by a newer version of this library ({error}); upgrade the "
            "library"
        ) from error


@contextmanager
def _alembics_globals() -> Iterator[None]:
    """Alembic keeps what it works on in module globals: they are ours until the end of the block.

    A revision of the host's own may be what calls us; then they are its again.
    """
    from alembic import context, op  # noqa: PLC0415 - an extra that only migrations need

    with _one_upgrade:
        before = [getattr(module, "_proxy", None) for module in (context, op)]
        try:
            yield
        finally:
            for proxy in filter(None, before):
                proxy._install_proxy()  # noqa: SLF001 - Alembic offers no way to run within a run
