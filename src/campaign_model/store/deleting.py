"""``deleting``: tell the transition guard that the library deletes rows of one tenant.

The guard (:mod:`campaign_model.db.guard`) refuses to delete rows that have a history or a cost. Two
functions of the library delete such rows: ``contacts.erase`` and ``db.remove_tenant``. They leave a
*note* for the triggers while they do it. A note names the tenant, and ends with the transaction:

* on PostgreSQL it is a setting of the transaction,
* on SQLite it is a row of the table :data:`NOTES`, which exists only if the guard is installed. The
  row is deleted before the transaction ends.

Without a note, the triggers refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import sqlalchemy as sa

DELETING = "campaign_model.deleting"
"""The note that rows of a tenant are deleted. Its value is the tenant's id."""

NOTES = "campaign_guard"
"""The table of notes on SQLite: texts that consist of a name, a colon and a value."""

_SET = sa.text("SELECT set_config(:name, :value, true)")
_HAS_NOTES = sa.text("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = :name")
_ADD = sa.text(f"INSERT INTO {NOTES} (note) VALUES (:note)")  # noqa: S608 - a constant
_REMOVE = sa.text(f"DELETE FROM {NOTES} WHERE note = :note")  # noqa: S608 - a constant


@contextmanager
def deleting(connection: sa.Connection, tenant_id: UUID) -> Iterator[None]:
    """Let the block delete any rows of the tenant, if the guard is installed.

    Run the block in a savepoint or a transaction that is rolled back if the block raises: that also
    removes the note.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_SET, {"name": DELETING, "value": str(tenant_id)})
        yield
        connection.execute(_SET, {"name": DELETING, "value": ""})
    elif connection.scalar(_HAS_NOTES, {"name": NOTES}):
        note = {"note": f"{DELETING}:{tenant_id.hex}"}
        connection.execute(_ADD, note)
        yield
        connection.execute(_REMOVE, note)
    else:
        yield
