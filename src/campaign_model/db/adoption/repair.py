"""The repair: change rows in short transactions, while others read and write.

Each transaction locks the rows of a batch, disables the host's triggers, runs the statements of one
:class:`RowRepair` and enables the triggers again. The rows that need a repair are selected anew by
each call, so a repair may be interrupted and repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from uuid import UUID

import attrs

from campaign_model.db.adoption.legacy_database import LegacyDatabase, needs_repair, select_batches
from campaign_model.db.adoption.repair_campaigns import (
    HAS_DRIFTED,
    has_foreign_template,
    insert_message_contacts,
    repair_campaigns,
)
from campaign_model.db.adoption.repair_contacts import (
    is_misplaced,
    list_references,
    move_contacts,
    repair_contacts,
)
from campaign_model.db.adoption.repair_documents import select_documents
from campaign_model.db.adoption.repair_templates import has_same_name, repair_templates
from campaign_model.db.adoption.session import Session
from campaign_model.db.adoption.unreadable import explain_unreadable
from campaign_model.db.checks import DOCUMENT_COLUMNS
from campaign_model.db.schema import quote
from campaign_model.db.setup import SetupError


class UndecidedError(SetupError):
    """A repair met a value that needs a decision, so its transaction was rolled back."""


@attrs.frozen
class RowRepair:
    """The repair of the rows of a table.

    ``batches`` selects the rows (:func:`select_batches`). ``repair`` returns the number of rows
    that need a decision. The ``preparations`` run before it, in the same transaction; they change
    rows of the ``other_tables``, too.
    """

    table: str
    batches: str
    repair: str
    preparations: tuple[str, ...] = ()
    other_tables: tuple[str, ...] = ()


def list_repairs(database: LegacyDatabase) -> Iterator[RowRepair]:
    """Yield the repairs in their order: templates, contacts, and campaigns after their contacts.

    They need all columns, so the phase ``complete`` of the plan must have run. A campaign also
    needs a repair if its totals are not the sums over its contacts.
    """
    table = "campaign_templates"
    condition = f"{needs_repair(database, table)} OR {has_same_name(table)}"
    batches = select_batches(database, table, condition)
    yield RowRepair(table, batches, repair_templates(database))

    table = "campaign_contacts"
    if database.options.quarantine:
        batches = select_batches(database, table, is_misplaced(database))
        referring_tables = {reference.table_name for reference in list_references(database)}
        yield RowRepair(
            table, batches, "SELECT 0", move_contacts(database), tuple(sorted(referring_tables))
        )
    batches = select_batches(database, table, needs_repair(database, table))
    yield RowRepair(table, batches, repair_contacts(database))

    table = "campaigns"
    condition = f"{needs_repair(database, table)} OR {has_foreign_template(database, table)}"
    if not database.inspection.has_version:
        condition = f"{condition}\nOR {HAS_DRIFTED}"
    preparations: tuple[str, ...] = ()
    if database.options.contacts_from_messages:
        preparations = (insert_message_contacts(database),)
    batches = select_batches(database, table, condition)
    yield RowRepair(table, batches, repair_campaigns(database), preparations)


def repair_rows(session: Session, database: LegacyDatabase, step: str) -> None:
    """Repair every row that needs it. ``step`` is the name of the step for progress reports.

    Raises :class:`UndecidedError` if a writer has added a value that needs a decision.
    """
    for repair in list_repairs(database):
        for ids, rows in session.fetch_batches(step, repair.batches):
            session.run_in_transaction(partial(_repair_batch, session, database, repair, ids, rows))


def _repair_batch(
    session: Session,
    database: LegacyDatabase,
    repair: RowRepair,
    ids: Sequence[UUID],
    rows: Sequence[UUID],
) -> None:
    """Repair the ``rows`` of one batch, whose owners are ``ids``, in the current transaction.

    Raise :class:`UndecidedError` if a value needs a decision and there is no quarantine.
    """
    triggers: list[str] = []
    for table in (repair.table, *repair.other_tables):
        triggers += session.execute(
            "SELECT pg_temp.disable_triggers(CAST(:of_table AS regclass))", of_table=quote(table)
        ).scalar_one()
    # Rows are locked before they are read, so that the repair sees what others have committed.
    session.execute(
        f"SELECT FROM {repair.table} WHERE id = ANY(CAST(:rows AS uuid[])) ORDER BY id "
        "FOR NO KEY UPDATE",
        rows=rows,
    )
    unreadable = "{}"
    if repair.table in DOCUMENT_COLUMNS:
        documents = session.execute(select_documents(database, repair.table), ids=ids)
        _, unreadable = explain_unreadable(repair.table, documents)
    for statement in repair.preparations:
        session.execute(statement, ids=ids, rows=rows)
    undecided = session.execute(repair.repair, ids=ids, rows=rows, unreadable=unreadable)
    if undecided.scalar_one() and not database.options.quarantine:
        raise UndecidedError(
            "a writer has added values that need a decision while the adoption was running; "
            "adopt again, which continues from here"
        )
    session.execute("SELECT pg_temp.enable_triggers(CAST(:triggers AS text[]))", triggers=triggers)
