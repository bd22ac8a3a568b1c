"""The version of the schema: the library's revisions, and the table that records the newest one.

``upgrade`` runs the missing revisions, ``stamp`` records the newest one without running any, and
``compare_version`` compares the recorded revision with the library's own.

Alembic orders the revisions and keeps the version table. The library has a version table of its
own, because the host may use Alembic too. The revisions do not use ``alembic.op`` or
``alembic.context``: these are module globals, and a revision of the host's own Alembic history may
be what calls ``db.adopt`` or ``db.init`` (docs/alembic.md). Each revision is a module in
``migrations/versions`` with a function ``upgrade(connection, host)``; ``host`` maps ``tenants``,
``owners`` and ``contacts`` to the names of the host's tables.

Alembic comes with the extra ``migrations``, so this module imports it only where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from campaign_model.db.setup import SetupError

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

VERSION_TABLE = "campaign_model_alembic_version"
"""The table that records the newest revision that has run."""


def compare_version(connection: sa.Connection) -> str | None:
    """Return ``current``, ``outdated`` or ``newer``, by the revision that the database records.

    Return ``None`` if no revision is recorded: the library has not built this schema, or an
    adoption has not finished it.
    """
    recorded = _migration_context(connection).get_current_revision()
    if recorded is None:
        return None
    newest, *older = _list_revisions(_script_directory())
    return "current" if recorded == newest else "outdated" if recorded in older else "newer"


def newest_revision() -> str:
    """Return the identifier of the newest revision."""
    return _list_revisions(_script_directory())[0]


def upgrade(connection: sa.Connection, host: Mapping[str, str]) -> None:
    """Run the missing revisions in the transaction of ``connection``, and record the newest one.

    Raises :class:`SetupError` if a newer version of the library has set up the database.
    """
    scripts = _script_directory()
    revisions = _list_revisions(scripts)
    recorded = _migration_context(connection).get_current_revision()
    if recorded is not None and recorded not in revisions:
        raise SetupError(
            f"a newer version of this library has set up the database (revision {recorded}); "
            "upgrade the library"
        )
    missing = revisions if recorded is None else revisions[: revisions.index(recorded)]
    for revision in reversed(missing):
        scripts.get_revision(revision).module.upgrade(connection, host)
    if missing:
        stamp(connection)


def stamp(connection: sa.Connection) -> None:
    """Record that the schema is that of the newest revision."""
    _migration_context(connection).stamp(_script_directory(), "head")


def _list_revisions(scripts: ScriptDirectory) -> list[str]:
    """List every revision, the newest first."""
    return [script.revision for script in scripts.walk_revisions()]


def _script_directory() -> ScriptDirectory:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - an extra

    return ScriptDirectory(str(Path(__file__).parent / "migrations"))


def _migration_context(connection: sa.Connection) -> MigrationContext:
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - an extra

    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
