"""The repair: change rows in short transactions, while others read and write.

Each transaction locks the rows of a batch, disables the host's triggers, runs one repair statement
and enables the triggers again. The rows that need a repair are selected anew before each batch, so
a repair may be interrupted and repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from campaign_model.db.adoption.batches import (
    BATCH_CONTACTS,
    BATCH_ROWS,
    count_rows,
    select_batches,
)
from campaign_model.db.adoption.findings import explain_unreadable
from campaign_model.db.adoption.legacy_database import (
    LegacyDatabase,
    needs_repair,
    select_documents,
)
from campaign_model.db.adoption.quarantine import move_contacts
from campaign_model.db.adoption.recount import SELECT_DRIFTED
from campaign_model.db.adoption.repair_campaigns import insert_message_contacts, repair_campaigns
from campaign_model.db.adoption.repair_contacts import repair_contacts, select_misplaced
from campaign_model.db.adoption.repair_templates import repair_templates
from campaign_model.db.adoption.session import Session
from campaign_model.db.setup import SetupError

__all__ = ["Repair", "UndecidedError"]

_RECOUNT_ROUNDS = 3
"""How often drifted totals are counted again, in case legacy writers go on to change contacts."""


class UndecidedError(SetupError):
    """A repair met a value that needs a decision, so its transaction was rolled back."""


class Repair:
    """Repairs the rows of a database that has all columns: the phase ``expand`` has run."""

    def __init__(self, session: Session, database: LegacyDatabase) -> None:
        self.session = session
        self.database = database

    def repair_rows(self, step: str) -> None:
        """Repair every row that needs it. ``step`` is the name of the step for progress reports.

        Raises :class:`UndecidedError` if a writer has added a value that needs a decision.
        """
        # 1. Templates.
        for ids in self._select_batches("campaign_templates"):
            self._repair_templates(ids)

        # 2. Campaigns, each after its contacts.
        total, done = count_rows(self.session, "campaigns"), 0
        for ids in self._select_batches("campaigns"):
            self._repair_campaigns(ids)
            done += len(ids)
            self.session.report_progress(step, done, total)

        # 3. Contacts that writers have added to campaigns that were repaired before.
        lower_bound: dict[str, UUID] = {}
        while ids := self._query_ids(
            f"""
SELECT DISTINCT campaign_id
FROM campaign_contacts
WHERE {needs_repair(self.database, "campaign_contacts")}
    {"AND campaign_id > CAST(:last_id AS uuid)" if lower_bound else ""}
ORDER BY campaign_id
LIMIT {BATCH_ROWS}""",
            **lower_bound,
        ):
            self._repair_campaigns(ids)
            lower_bound = {"last_id": ids[-1]}

    def recount_drifted(self) -> None:
        """Count the totals again that are no longer those of the contacts."""
        for _ in range(_RECOUNT_ROUNDS):
            ids = self._query_ids(SELECT_DRIFTED)
            if not ids:
                return
            self._repair_campaigns(ids)

    def _repair_templates(self, ids: Sequence[UUID]) -> None:
        def work() -> None:
            with self._lock_rows("campaign_templates", ids):
                self._execute(
                    repair_templates(self.database),
                    ids=ids,
                    unreadable=self._find_unreadable("campaign_templates", ids),
                )

        self.session.run_in_transaction(work)

    def _repair_campaigns(self, ids: Sequence[UUID]) -> None:
        """Repair the contacts of some campaigns, then the campaigns."""
        if self.database.options.quarantine:
            self._quarantine_misplaced(ids)
        while contact_ids := self._query_ids(
            f"""
SELECT id
FROM campaign_contacts
WHERE campaign_id = ANY(CAST(:ids AS uuid[])) AND {needs_repair(self.database, "campaign_contacts")}
ORDER BY campaign_id, id
LIMIT {BATCH_CONTACTS}""",
            ids=ids,
        ):
            self._repair_contacts(ids, contact_ids)

        def work() -> None:
            with self._lock_rows("campaigns", ids):
                unreadable = self._find_unreadable("campaigns", ids)
                if self.database.options.contacts_from_messages:
                    self.session.execute(insert_message_contacts(self.database), ids=ids)
                self._execute(repair_campaigns(self.database), ids=ids, unreadable=unreadable)

        self.session.run_in_transaction(work)

    def _repair_contacts(self, campaign_ids: Sequence[UUID], contact_ids: Sequence[UUID]) -> None:
        def work() -> None:
            with self._lock_rows("campaign_contacts", contact_ids):
                self._execute(repair_contacts(self.database), ids=campaign_ids, rows=contact_ids)

        self.session.run_in_transaction(work)

    def _quarantine_misplaced(self, campaign_ids: Sequence[UUID]) -> None:
        """Move contacts of another tenant, and what refers to them, to the quarantine."""
        contact_ids = self._query_ids(select_misplaced(self.database), ids=campaign_ids)

        def work() -> None:
            with self._lock_rows("campaign_contacts", contact_ids):
                for statement in move_contacts(self.database):
                    self.session.execute(statement, rows=contact_ids)

        if contact_ids:
            self.session.run_in_transaction(work)

    def _select_batches(self, table: str) -> Iterator[Sequence[UUID]]:
        condition = needs_repair(self.database, table)
        return select_batches(self.session, self.database, table, condition)

    def _query_ids(self, query: str, **parameters: Any) -> Sequence[UUID]:
        return [row[0] for row in self.session.query(query, **parameters)]

    def _find_unreadable(self, table: str, ids: Sequence[UUID]) -> list[str]:
        """Return ``id/column`` of the values of locked rows that the library cannot read."""
        documents = self.session.execute(select_documents(self.database, table), ids=ids)
        return [*explain_unreadable(table, documents)]

    @contextmanager
    def _lock_rows(self, table: str, ids: Sequence[UUID]) -> Iterator[None]:
        """Lock rows in the current transaction, and disable the host's triggers for the block.

        Rows are locked before they are read, so that the repair sees what others have committed.
        """
        statements = self.session.execute(
            f"SELECT pg_temp.disable_triggers('{table}')"
        ).scalar_one()
        self.session.execute(
            f"""
SELECT
FROM {table}
WHERE id = ANY(CAST(:ids AS uuid[]))
ORDER BY id
FOR NO KEY UPDATE""",
            ids=ids,
        )
        yield
        self.session.execute(
            "SELECT pg_temp.enable_triggers(CAST(:statements AS text[]))", statements=statements
        )

    def _execute(self, repair: str, **parameters: Any) -> None:
        """Execute a repair, which returns the number of rows that need a decision."""
        undecided: int = self.session.execute(repair, **parameters).scalar_one()
        if undecided and not self.database.options.quarantine:
            raise UndecidedError(
                "a writer has added values that need a decision while the adoption was running; "
                "adopt again, which continues from here"
            )
