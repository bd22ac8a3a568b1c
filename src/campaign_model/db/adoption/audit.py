"""The audit: read every row and count the findings in a report. Nothing is changed.

The SQL of the repairs makes most findings. ``explain_unreadable`` adds the documents, names and
descriptions that only the library's own types can judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from campaign_model.campaign import Campaign
from campaign_model.db.adoption.inspection import Inspection
from campaign_model.db.adoption.legacy_database import (
    LegacyDatabase,
    Options,
    select_batches,
    select_documents,
)
from campaign_model.db.adoption.repair_campaigns import audit_campaigns
from campaign_model.db.adoption.repair_templates import audit_templates
from campaign_model.db.adoption.report import AdoptReport, Finding, OnFinding
from campaign_model.db.adoption.session import Session
from campaign_model.db.checks import DOCUMENT_COLUMNS
from campaign_model.errors import InvalidDocument
from campaign_model.lifecycle import Action, target
from campaign_model.store.types import read_json
from campaign_model.wire import recover_generation_config, recover_template_config

__all__ = ["audit_rows", "explain_unreadable", "write_audits"]

_MAX_SAMPLES = 5


def audit_rows(
    session: Session, inspection: Inspection, options: Options, on_finding: OnFinding | None = None
) -> AdoptReport:
    """Report what an adoption adds, repairs and refuses. Pass each finding to ``on_finding``."""
    repaired: dict[str, int] = {}
    refused: dict[str, int] = {}
    quarantined: dict[str, int] = {}
    samples: dict[str, tuple[Finding, ...]] = {}
    for finding in _find(session, LegacyDatabase(inspection, options)):
        counts = repaired
        if finding.undecided:
            movable = options.quarantine and finding.kind != "other_tenant_in_use"
            counts = quarantined if movable else refused
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
        if len(samples.get(finding.kind, ())) < _MAX_SAMPLES:
            samples[finding.kind] = (*samples.get(finding.kind, ()), finding)
        if on_finding is not None:
            on_finding(finding)
    return AdoptReport(
        shape=inspection.shape,
        status_rule={"inactive": target(Action.DELETE), **options.status_rule},
        added=tuple(statement.sql for statement in inspection.plan.statements),
        repaired=repaired,
        refused=refused,
        quarantined=quarantined,
        samples=samples,
        warnings=inspection.warnings,
    )


def write_audits(database: LegacyDatabase) -> dict[str, str]:
    """Write the query for the findings of each table that is there; contacts with campaigns."""
    audits = {"campaign_templates": audit_templates, "campaigns": audit_campaigns}
    return {
        table: write_audit(database)
        for table, write_audit in audits.items()
        if database.has_column(table, "id")
    }


def _find(session: Session, database: LegacyDatabase) -> Iterator[Finding]:
    if database.inspection.shape in {"empty", "current", "outdated"}:
        return
    for table, audit in write_audits(database).items():
        documents = select_documents(database, table)
        for ids, _rows in session.select_batches("audit", select_batches(database, table)):
            unreadable = explain_unreadable(table, session.query(documents, ids=ids))
            for found_table, row_id, column, kind, before, after, undecided in session.query(
                audit, ids=ids, unreadable=[*unreadable]
            ):
                yield Finding(
                    found_table,
                    row_id,
                    column,
                    kind,
                    before=None if before is None else read_json(before),
                    after=None if after is None else read_json(after),
                    undecided=undecided,
                    reason=unreadable.get(f"{row_id}/{column}") if undecided else None,
                )


def explain_unreadable(table: str, rows: Iterable[Sequence[Any]]) -> dict[str, str]:
    """Find the values that the library's types cannot read: map ``id/column`` to the reason.

    ``rows`` have an id, a name, a description, and the steps and settings as JSON text (``None`` if
    there are none).
    """
    reasons: dict[str, str] = {}
    steps_column, settings_column = DOCUMENT_COLUMNS[table]
    for row_id, name, description, steps, settings in rows:
        readers: tuple[tuple[str, str | None, Callable[[str], object]], ...] = (
            (steps_column, steps, recover_template_config),
            (settings_column, settings, recover_generation_config),
        )
        for column, text, recover in readers:
            try:
                if text is not None:
                    recover(text)
            except InvalidDocument as error:
                reasons[f"{row_id}/{column}"] = str(error)
        try:
            Campaign(name=name, description=description)
        except InvalidDocument as error:
            for violation in error.violations:
                reasons[f"{row_id}/{violation.path.lstrip('/')}"] = violation.message
    return reasons
