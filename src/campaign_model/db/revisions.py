"""Which version of the schema a database has: noted by Alembic, in a table of our own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

__all__ = [
    "LOCK",
    "UNLOCK",
    "VERSION_TABLE",
    "SetupError",
    "known",
    "one_at_a_time",
    "stamp",
    "standing",
    "upgrade",
]

VERSION_TABLE = "campaign_model_alembic_version"
"""Where our revisions are noted, apart from the host's own."""

LOCK = 0x63616D706169676E
"""Key of the advisory lock that lets one ``init`` or ``adopt`` at a time go on."""

UNLOCK = f"SELECT pg_advisory_unlock({LOCK})"
"""Ends what :func:`one_at_a_time` began for a session."""

_LOOK_AGAIN_SECONDS = 0.05

_one_command = threading.Lock()


class SetupError(Exception):
    """The database is not one that this command can work on; the message says what to do."""


def one_at_a_time(connection: sa.Connection, *, session: bool = False) -> None:
    """Wait, on PostgreSQL, until no other ``init`` or ``adopt`` is at work.

    It holds until the transaction ends, or with ``session`` the connection. Asked for again and
    again: a statement that waited would have to be waited for by the other's CREATE INDEX
    CONCURRENTLY, for ever.
    """
    if connection.dialect.name != "postgresql":
        return
    function = "pg_try_advisory_lock" if session else "pg_try_advisory_xact_lock"
    while not connection.exec_driver_sql(f"SELECT {function}({LOCK})").scalar_one():
        time.sleep(_LOOK_AGAIN_SECONDS)


def standing(connection: sa.Connection) -> str | None:
    """``current``, ``outdated`` or ``newer``: how the database stands to this library.

    ``None`` for one whose schema this library has not made, or not finished. Needs the
    ``migrations`` extra.
    """
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    table = sa.table(VERSION_TABLE, sa.column("version_num"))
    present = connection.execute(sa.select(table.c.version_num)).scalar_one_or_none()
    if present is None:
        return None
    newest, *older = known()
    return "current" if present == newest else "outdated" if present in older else "newer"


def known() -> tuple[str, ...]:
    """Every revision, the newest first. Needs the ``migrations`` extra."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - an extra

    script = ScriptDirectory.from_config(_config())
    return tuple(one.revision for one in script.walk_revisions())


def upgrade(connection: sa.Connection, host: Mapping[str, str]) -> None:
    """Run the revisions that are missing, in the transaction of ``connection``.

    Raises :class:`SetupError` for a database that a newer version of this library has set up.
    """
    from alembic import command  # noqa: PLC0415

    _run(command.upgrade, connection, host)


def stamp(connection: sa.Connection) -> None:
    """Note that the schema is that of the newest revision."""
    from alembic import command  # noqa: PLC0415

    _run(command.stamp, connection, {})


def _run(
    command: Callable[[Any, str], object], connection: sa.Connection, host: Mapping[str, str]
) -> None:
    from alembic.util import CommandError  # noqa: PLC0415

    config = _config()
    config.attributes.update(connection=connection, host=host, version_table=VERSION_TABLE)
    try:
        with _alembics_globals():
            command(config, "head")
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
    from alembic import context, op  # noqa: PLC0415

    with _one_command:
        before = [getattr(module, "_proxy", None) for module in (context, op)]
        try:
            yield
        finally:
            for proxy in filter(None, before):
                proxy._install_proxy()  # noqa: SLF001 - Alembic offers no way to run within a run


def _config() -> Any:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config
