"""The audit: read every row and list the findings. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from campaign_model.db.adoption.batches import count_rows, select_batches
from campaign_model.db.adoption.findings import Finding, Tally, explain_unreadable
from campaign_model.db.adoption.legacy_database import LegacyDatabase, select_documents
from campaign_model.db.adoption.repair_campaigns import audit_campaigns
from campaign_model.db.adoption.repair_templates import audit_templates
from campaign_model.db.adoption.session import Session
from campaign_model.store.types import read_json

__all__ = ["audit_rows"]


def audit_rows(session: Session, database: LegacyDatabase, tally: Tally) -> None:
    """Pass every finding about templates, campaigns and their contacts to ``tally``."""
    for table, write_audit in (
        ("campaign_templates", audit_templates),
        ("campaigns", audit_campaigns),
    ):
        if table not in database.tables:
            continue
        audit, documents = write_audit(database), select_documents(database, table)
        total, done = count_rows(session, table), 0
        for ids in select_batches(session, database, table):
            unreadable = explain_unreadable(table, session.query(documents, ids=ids))
            for row in session.query(audit, ids=ids, unreadable=[*unreadable]):
                tally.add(_build_finding(row, unreadable))
            done += len(ids)
            session.report_progress("audit", done, total)


def _build_finding(row: sa.Row[*tuple[Any, ...]], unreadable: Mapping[str, str]) -> Finding:
    """Build a finding from a row of an audit. ``unreadable`` has the reasons by ``id/column``."""
    table, row_id, column, kind, before, after, undecided = row
    return Finding(
        table,
        row_id,
        column,
        kind,
        before=None if before is None else read_json(before),
        after=None if after is None else read_json(after),
        undecided=undecided,
        reason=unreadable.get(f"{row_id}/{column}") if undecided else None,
    )
