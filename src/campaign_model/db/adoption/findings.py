"""Findings: the values that an adoption repairs, or that it does not change without a decision.

``KINDS`` names and explains every kind. ``Tally`` counts findings and keeps samples. The SQL of the
repairs makes most findings; ``explain_unreadable`` adds the documents, names and descriptions that
only the library's own types can judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import attrs

from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME, Campaign
from campaign_model.db.adoption.options import Options
from campaign_model.errors import InvalidDocument
from campaign_model.wire import recover_generation_config, recover_template_config

__all__ = [
    "DOCUMENT_COLUMNS",
    "KINDS",
    "RUN_TIME_KEYS",
    "Finding",
    "OnFinding",
    "Tally",
    "explain_unreadable",
]

DOCUMENT_COLUMNS = {
    "campaigns": ("template_config", "generation_config"),
    "campaign_templates": ("steps", "default_config"),
}
"""For each table, the column with the steps and the column with the settings."""

RUN_TIME_KEYS = ("cancelled", "strategy_snapshot")
"""Keys that older engines wrote into ``generation_config`` about a run. They move to the history.
"""

KINDS: Mapping[str, str] = {
    # Repaired:
    "status_inactive": "inactive campaigns become archived",
    "status_sent": "campaigns without a status that have sent messages",
    "status_lemlist": "campaigns without a status that have a Lemlist id",
    "status_otherwise": "all other campaigns without a status",
    "status_mapped": "unknown status words that the status map translates",
    "status_absent": "contacts without a status become pending",
    "stuck": "status generating, although no worker of this library runs: ready again",
    "double_encoded": "JSON inside a JSON string is decoded",
    "run_time_keys": f"{' and '.join(RUN_TIME_KEYS)} move to the history",
    "absent": "missing values get their defaults",
    "recounted": "totals are counted again from the contacts",
    "from_messages": "contacts are created from messages",
    # Needing a decision:
    "unknown_status": "words that are not a status: translate them with a status map",
    "not_steps": "documents that cannot be read as steps",
    "not_settings": "documents that cannot be read as settings",
    "not_gaps": "enrichment gaps that are not a list of field names",
    "bad_name": f"names that are blank or longer than {MAX_NAME} characters",
    "bad_description": f"descriptions longer than {MAX_DESCRIPTION} characters",
    "bad_amount": "amounts that are negative, not a number, or have more than nine decimals",
    "other_tenant": "rows that refer to a row of another tenant",
    "other_tenant_in_use": "the same, and other rows need them: the quarantine cannot take them",
    "duplicate_name": "several templates of a tenant with the same name",
    "system": "templates that belong to a tenant and to the system, or to neither",
}
"""Every kind of finding, with its meaning."""

_NOT_QUARANTINED = frozenset({"other_tenant_in_use"})
"""Kinds that need a decision even with the quarantine."""

_MAX_SAMPLES = 5


@attrs.frozen
class Finding:
    """A value that adoption repairs, or (if ``undecided``) that needs a decision first.

    ``column`` is ``None`` for a whole row. ``before`` and ``after`` are JSON values; SQL's NULL is
    ``None``. ``kind`` is a key of ``db.KINDS``. ``reason`` says why the library cannot read a
    document, if it cannot.
    """

    table: str
    row_id: UUID
    column: str | None
    kind: str
    before: Any
    after: Any
    undecided: bool
    reason: str | None = None


OnFinding = Callable[[Finding], None]


@attrs.define
class Tally:
    """Counts findings by what happens to them and by kind, and keeps a few samples of each kind."""

    options: Options
    on_finding: OnFinding | None
    repaired: dict[str, int] = attrs.field(factory=dict)
    refused: dict[str, int] = attrs.field(factory=dict)
    quarantined: dict[str, int] = attrs.field(factory=dict)
    samples: dict[str, list[Finding]] = attrs.field(factory=dict)

    def add(self, finding: Finding) -> None:
        """Count a finding and pass it to ``on_finding``."""
        counts = self.repaired
        if finding.undecided:
            movable = self.options.quarantine and finding.kind not in _NOT_QUARANTINED
            counts = self.quarantined if movable else self.refused
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
        samples = self.samples.setdefault(finding.kind, [])
        if len(samples) < _MAX_SAMPLES:
            samples.append(finding)
        if self.on_finding is not None:
            self.on_finding(finding)


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
