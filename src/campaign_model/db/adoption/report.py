"""The answers of an adoption: ``Verdict``, ``AdoptReport`` and ``AdoptionRefused``.

A report counts findings: values that an adoption repairs, or that it does not change without a
decision. ``KINDS`` names and explains every kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any
from uuid import UUID

import attrs

from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME
from campaign_model.claims import MAX_ERROR
from campaign_model.db.setup import SetupError
from campaign_model.db.system_templates import SyncReport

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
    "bad_time": "times that Python does not have become the nearest ones that it has",
    "shortened": f"codes and texts of errors keep their first {MAX_ERROR} characters",
    "exported_before": "contacts of exported and archived campaigns are marked as exported",
    "from_messages": "contacts are created from messages",
    "reference_removed": "references to rows that the quarantine takes become NULL",
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
    "no_tenant": "campaigns and templates whose tenant does not exist",
    "no_contact": "campaign contacts and messages whose contact does not exist",
    "no_contact_in_use": "the same, and other rows need them: the quarantine cannot take them",
    "no_campaign": "campaign contacts whose campaign is NULL or does not exist",
    "no_campaign_in_use": "the same, and other rows need them: the quarantine cannot take them",
    "duplicate_contact": "contacts that are more than once in a campaign",
    "duplicate_id": "ids that are NULL or that several rows have",
    "duplicate_name": "several templates of a tenant with the same name",
    "system": "templates that belong to a tenant and to the system, or to neither",
}
"""Every kind of finding, with its meaning."""

WHAT_TO_DO: Mapping[str, str] = {
    "no_tenant": "set tenant_id to a tenant that exists, insert the tenant, or delete the row",
    "no_contact": "set contact_id to a contact that exists, or delete the row",
    "no_campaign": "set campaign_id to a campaign that exists, or delete the row",
    "duplicate_id": "give the row an id of its own, or delete it",
}
"""The ``reason`` of findings about keys that only a change of the row can decide."""

_NEVER_QUARANTINED = {"no_tenant", "duplicate_contact", "duplicate_id"}


@attrs.frozen
class Finding:
    """A value that adoption repairs, or (if ``undecided``) that needs a decision first.

    ``row_id`` is text for a row of the host's tables: the value of its primary key. ``column`` is
    ``None`` for a whole row. ``before`` and ``after`` are JSON values; SQL's NULL is ``None``.
    ``kind`` is a key of ``db.KINDS``. ``reason`` says why the library cannot read a document, or
    what to do about a row that breaks a key.
    """

    table: str
    row_id: UUID | str
    column: str | None
    kind: str
    before: Any
    after: Any
    undecided: bool
    reason: str | None = None


def can_quarantine(kind: str) -> bool:
    """Return True if the quarantine takes undecided values of this kind.

    It does not take a row that other rows need, such as a campaign without a tenant. And it does
    not choose between two rows.
    """
    return kind not in _NEVER_QUARANTINED and not kind.endswith("_in_use")


OnFinding = Callable[[Finding], None]


@attrs.frozen
class ToleratedWrites:
    """Writes of one day that the step ``enforce`` would have refused.

    ``broken`` is the column that was NULL, or the name of the constraint that the written rows
    broke. ``day`` is a date of the database's time zone.
    """

    table: str
    broken: str
    day: date
    writes: int


@attrs.frozen
class Verdict:
    """The answer of :func:`verify`.

    ``shape`` says how much of the library's schema the database has: ``empty`` (no table of the
    library), ``bare`` (only a legacy table of campaigns), ``extended`` (more of the library's
    tables or columns, with fewer constraints), ``unfinished`` (an adoption was interrupted),
    ``expanded`` (adopted, but not enforced yet), ``current`` (everything), ``changed`` (it was
    expanded or current, but something is missing now), ``outdated`` (an older version of the
    library has set it up), ``newer`` (a newer version) or ``unknown`` (a version is recorded, but
    this session cannot compare it with the schema).

    ``pending`` lists what is to be done, as SQL statements or sentences. ``warnings`` are sentences
    about things that adoption leaves as they are. ``tolerated`` counts the writes since the step
    expand that the step enforce would have refused. ``distributed`` is true if Citus spreads the
    tables over its nodes; then ``pending`` also lists the tables that it does not know yet.
    """

    shape: str
    pending: tuple[str, ...]
    warnings: tuple[str, ...]
    tolerated: tuple[ToleratedWrites, ...] = ()
    distributed: bool = False


@attrs.frozen
class AdoptReport:
    """What an adoption did, would do (dry run) or refuses to do.

    ``shape`` is that of the :class:`Verdict` before the adoption. ``added`` are schema statements,
    ``changes`` sentences about what other programs may notice. ``tolerated`` and ``warnings`` are
    those of the Verdict. ``repaired``, ``refused`` and ``quarantined`` count findings by kind, and
    ``samples`` are a few findings of each kind. ``status_rule`` says what campaigns without a
    status become. ``presets`` says what was done with the system templates; it is None after a dry
    run.
    """

    shape: str
    status_rule: Mapping[str, str]
    added: tuple[str, ...]
    repaired: Mapping[str, int]
    refused: Mapping[str, int]
    quarantined: Mapping[str, int]
    samples: Mapping[str, tuple[Finding, ...]]
    warnings: tuple[str, ...]
    changes: tuple[str, ...] = ()
    tolerated: tuple[ToleratedWrites, ...] = ()
    presets: SyncReport | None = None


class AdoptionRefused(SetupError):
    """Some values need a decision. ``report`` lists them.

    Nothing was changed, unless a writer added such a value after the adoption had begun to write.
    """

    def __init__(self, report: AdoptReport) -> None:
        kinds = ", ".join(f"{number} x {kind}" for kind, number in report.refused.items())
        advice = "correct them"
        if any(map(can_quarantine, report.refused)):
            advice += (
                ", translate unknown words (--status-map) or move such values to the quarantine "
                "(--quarantine)"
            )
        super().__init__(
            f"some values cannot be kept or repaired without a decision ({kinds}): {advice}, then "
            "adopt again"
        )
        self.report = report

    def __reduce__(self) -> tuple[type[AdoptionRefused], tuple[AdoptReport]]:
        return type(self), (self.report,)
