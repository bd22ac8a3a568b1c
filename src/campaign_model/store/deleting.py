"""``deleting``: tell the transition guard that the library deletes rows of one tenant.

The guard (:mod:`campaign_model.db.guard`) refuses to delete rows that have a history or a cost. Two
functions of the library delete such rows: ``contacts.erase`` and ``db.remove_tenant``. While they
delete, a *note* tells the triggers the tenant. A note never outlives its transaction:

* on PostgreSQL it is a setting of the transaction,
* on SQLite it is a row of the table :data:`NOTES`, which exists only if the guard is installed.
  :func:`deleting` deletes the row again.

Without a note, the triggers refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import sqlalchemy as sa

DELETING = "campaign_model.deleting"
"""The name of the note that rows of a tenant are deleted. Its value is the tenant's id."""

NOTES = "campaign_guard"
"""The table of notes on SQLite. A note is a text: its name, a colon and its value."""

_SET_NOTE = sa.text("SELECT set_config(:name, :value, true)")
_notes = sa.table(NOTES, sa.column("note"))


@contextmanager
def deleting(connection: sa.Connection, tenant_id: UUID) -> Iterator[None]:
    """Let the block delete any rows of the tenant, although the guard is installed.

    If the block raises, the note stays. So the caller must run the block in a savepoint or a
    transaction that is rolled back then.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_SET_NOTE, {"name": DELETING, "value": str(tenant_id)})
        yield
        connection.execute(_SET_NOTE, {"name": DELETING, "value": ""})
    elif sa.inspect(connection).has_table(NOTES):
        note = f"{DELETING}:{tenant_id.hex}"
        connection.execute(sa.insert(_notes).values(note=note))
        yield
        connection.execute(sa.delete(_notes).where(_notes.c.note == note))
    else:
        yield
