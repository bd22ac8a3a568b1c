"""The rows of a table, in batches that are small enough for short transactions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from campaign_model.db.adoption.legacy_database import LegacyDatabase
from campaign_model.db.adoption.session import Session

__all__ = ["BATCH_CONTACTS", "BATCH_ROWS", "count_rows", "select_batches"]

BATCH_ROWS = 1_000
"""The most campaigns, or templates, of a batch."""

BATCH_CONTACTS = 20_000
"""The most contacts that one transaction repairs. A batch of campaigns ends when it has so many."""


def count_rows(session: Session, table: str) -> int:
    """Count the rows of a table."""
    count: int = session.query(f"SELECT count(*) FROM {table}")[0][0]
    return count


def select_batches(
    session: Session, database: LegacyDatabase, table: str, condition: str = "true"
) -> Iterator[Sequence[UUID]]:
    """Yield the ids of the rows that meet ``condition``, in order and in batches.

    A batch of campaigns ends early when its campaigns have too many contacts.
    """
    size = "0"
    if table == "campaigns" and "campaign_contacts" in database.tables:
        size = "(SELECT count(*) FROM campaign_contacts WHERE campaign_id = campaigns.id)"
    # The first batch has no lower bound; the nil UUID is an id like any other.
    lower_bound: dict[str, UUID] = {}
    while True:
        rows = session.query(
            f"""
SELECT
    id,
    {size}
FROM {table}
WHERE {condition}
    {"AND id > CAST(:last_id AS uuid)" if lower_bound else ""}
ORDER BY id
LIMIT {BATCH_ROWS}""",
            **lower_bound,
        )
        batch: list[UUID] = []
        contacts = 0
        for row_id, number in rows:
            batch.append(row_id)
            contacts += number
            if contacts > BATCH_CONTACTS:
                break
        if not batch:
            return
        yield batch
        lower_bound = {"last_id": batch[-1]}
