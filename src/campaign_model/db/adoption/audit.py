"""The audit: read every row and count the findings in a report. Nothing is changed.

A finding is a value that the repair would change, or that needs a decision. The SQL of the repairs
finds most of them, ``explain_unreadable`` the others.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.db.adoption.audit_keys import write_key_audits
from campaign_model.db.adoption.inspection import Inspection
from campaign_model.db.adoption.legacy_database import LegacyDatabase, Options, select_batches
from campaign_model.db.adoption.plan import MARKERS
from campaign_model.db.adoption.repair_campaigns import audit_campaigns
from campaign_model.db.adoption.repair_contacts import audit_references, list_references
from campaign_model.db.adoption.repair_documents import select_documents
from campaign_model.db.adoption.repair_templates import audit_templates
from campaign_model.db.adoption.report import (
    WHAT_TO_DO,
    AdoptReport,
    Finding,
    OnFinding,
    ToleratedWrites,
    can_quarantine,
)
from campaign_model.db.adoption.session import Session
from campaign_model.db.adoption.tolerance import COUNT_TOLERATED_WRITES, TOLERATED_WRITES_TABLE
from campaign_model.db.adoption.unreadable import explain_unreadable
from campaign_model.db.checks import DOCUMENT_COLUMNS
from campaign_model.lifecycle import Action, target
from campaign_model.store.types import read_json

_MAX_SAMPLES = 5

_DOCUMENTS = {*itertools.chain.from_iterable(DOCUMENT_COLUMNS.values()), "enrichment_gaps"}
"""The columns that contain JSON."""

_CHANGED_VALUES = (
    "campaigns.total_contacts no longer counts excluded contacts",
    "documents that are JSON strings become JSON arrays and objects",
)
"""What the repair of rows changes for programs that read them."""


def audit_rows(
    session: Session,
    inspection: Inspection,
    options: Options,
    on_finding: OnFinding | None = None,
) -> AdoptReport:
    """Report what a step adds, repairs and refuses. Pass each finding to ``on_finding``."""
    database = LegacyDatabase(inspection, options)
    has_no_findings = inspection.is_done or inspection.shape == "empty"
    findings = () if has_no_findings else _find(session, database)
    repaired: dict[str, int] = {}
    refused: dict[str, int] = {}
    quarantined: dict[str, int] = {}
    samples: dict[str, tuple[Finding, ...]] = {}
    for finding in findings:
        counts = repaired
        if finding.undecided:
            movable = options.quarantine and can_quarantine(finding.kind)
            counts = quarantined if movable else refused
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
        if len(samples.get(finding.kind, ())) < _MAX_SAMPLES:
            samples[finding.kind] = (*samples.get(finding.kind, ()), finding)
        if on_finding is not None:
            on_finding(finding)
    warnings = (
        f"the trigger {trigger} on {reference.table_name} does not run for rows whose "
        f"{reference.column} becomes NULL"
        for reference in (list_references(database) if "reference_removed" in repaired else ())
        for trigger in reference.table.triggers
    )
    statements = inspection.plan.statements
    return AdoptReport(
        shape=inspection.shape,
        status_rule={"inactive": target(Action.DELETE), **options.status_rule},
        added=tuple(statement.sql for statement in statements),
        repaired=repaired,
        refused=refused,
        quarantined=quarantined,
        samples=samples,
        warnings=(*inspection.warnings, *warnings),
        changes=(
            *(statement.notice for statement in statements if statement.notice is not None),
            *(_CHANGED_VALUES if repaired and not inspection.has_version else ()),
        ),
        tolerated=read_tolerated_writes(session.use_transactions(), inspection),
    )


def read_tolerated_writes(
    connection: sa.Connection, inspection: Inspection
) -> tuple[ToleratedWrites, ...]:
    """Count the writes that the constraints of the step ``enforce`` would have refused.

    The counts are by table, constraint and day.
    """
    if TOLERATED_WRITES_TABLE not in inspection.tables:
        return ()
    rows = connection.execute(sa.text(COUNT_TOLERATED_WRITES)).all()
    connection.rollback()
    return tuple(ToleratedWrites(*row) for row in rows)


def write_audits(database: LegacyDatabase) -> dict[str, str]:
    """Return a query for the findings of each table that the database has.

    The findings about contacts are part of the query for campaigns.
    """
    audits = {"campaign_templates": audit_templates, "campaigns": audit_campaigns}
    return {
        table: write_audit(database)
        for table, write_audit in audits.items()
        if database.has_column(table, "id")
    }


def _find(session: Session, database: LegacyDatabase) -> Iterator[Finding]:
    """Yield the findings of all tables: first those about keys, then the others in batches."""
    for key_query in write_key_audits(database):
        for *values, reason in session.query(key_query):
            yield _read_finding(values, reason)
    for audited_table, audit_query in write_audits(database).items():
        documents_query = select_documents(database, audited_table)
        batches_query = select_batches(database, audited_table)
        for ids, _ in session.fetch_batches("audit", batches_query):
            documents = session.query(documents_query, ids=ids)
            reasons, unreadable = explain_unreadable(audited_table, documents)
            findings = session.query(audit_query, ids=ids, unreadable=unreadable)
            # The audit of campaigns also finds values of contacts and messages: `table`.
            for row in findings:
                yield _read_finding(row, reasons.get(f"{row[1]}/{row[2]}"))
    if database.options.quarantine:
        for reference in list_references(database):
            query = audit_references(database, reference)
            for row_id, contact_id in session.query(query):
                kind = "reference_removed"
                yield Finding(
                    reference.table_name, row_id, reference.column, kind, contact_id, None, False
                )


def _read_finding(row: Sequence[Any], reason: str | None) -> Finding:
    """Convert a row of :func:`legacy_database.write_audit`. An undecided finding has a reason."""
    table, row_id, column, kind, before, after, undecided = row
    read = _read_document if column in _DOCUMENTS else read_json
    return Finding(
        table,
        row_id if table not in MARKERS or row_id.startswith("{") else UUID(row_id),
        column,
        kind,
        before=None if before is None else read(before),
        after=None if after is None else read(after),
        undecided=undecided,
        reason=(reason or WHAT_TO_DO.get(kind.removesuffix("_in_use"))) if undecided else None,
    )


def _read_document(text: str) -> Any:
    """Read a document. A ``Decimal``, which ``json_ready`` makes text, is only for long numbers."""

    def read_number(digits: str) -> float | Decimal:
        number, exact = float(digits), Decimal(digits)
        return number if Decimal(repr(number)) == exact else exact

    return json.loads(text, parse_float=read_number)
