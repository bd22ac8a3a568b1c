"""What adoptions say: findings, one by one and counted, and reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import attrs

from campaign_model.campaign import Campaign
from campaign_model.db.revisions import SetupError
from campaign_model.db.rules import DOCUMENTS, UNMOVABLE, Rules
from campaign_model.db.system_templates import SyncReport
from campaign_model.errors import InvalidDocument
from campaign_model.wire import recover_generation_config, recover_template_config

__all__ = ["AdoptReport", "AdoptionRefused", "Finding", "OnFinding", "Tally", "Verdict", "faults"]

_SAMPLES = 5


@attrs.frozen
class Verdict:
    """What :func:`verify` found.

    ``shape`` is ``empty`` (nothing of ours), ``bare`` (only the legacy campaigns), ``extended``
    (more of our columns, in a looser form), ``unfinished`` (an adoption was interrupted),
    ``current``, ``changed`` (current once, but something is missing), ``outdated`` or ``newer``.
    ``pending`` are the statements, or sentences, of what is to be done; ``warnings`` are sentences
    about the host's side, which stays as it is.
    """

    shape: str
    pending: tuple[str, ...]
    warnings: tuple[str, ...]


@attrs.frozen
class Finding:
    """One value that adoption puts right, or (``undecided``) does not without a decision.

    ``column`` is ``None`` for a whole row. ``before`` and ``after`` are JSON values, ``None`` for
    NULL too; ``kind`` is one of ``db.KINDS``; ``reason`` is there where a codec said it.
    """

    table: str
    row_id: UUID
    column: str | None
    kind: str
    before: Any
    after: Any
    undecided: bool
    reason: str | None = None


@attrs.frozen
class AdoptReport:
    """What an adoption does, did, or refuses: statements, and numbers of findings by kind.

    ``samples`` are a few findings of each kind; ``status_rule`` is what becomes of campaigns that
    have no status.
    """

    shape: str
    status_rule: Mapping[str, str]
    added: tuple[str, ...]
    repaired: Mapping[str, int]
    refused: Mapping[str, int]
    quarantined: Mapping[str, int]
    samples: Mapping[str, tuple[Finding, ...]]
    warnings: tuple[str, ...]
    presets: SyncReport | None = None


class AdoptionRefused(SetupError):
    """Something in the database needs a decision. ``report`` says it all.

    Nothing was changed, unless a writer brought it in while the adoption was at work.
    """

    def __init__(self, report: AdoptReport) -> None:
        kinds = ", ".join(f"{number} x {kind}" for kind, number in report.refused.items())
        super().__init__(
            f"some values cannot be kept or repaired without a decision ({kinds}): put them right, "
            "map unknown words (status_map) or have such values moved aside (quarantine), and "
            "adopt again"
        )
        self.report = report

    def __reduce__(self) -> tuple[type[AdoptionRefused], tuple[AdoptReport]]:
        return type(self), (self.report,)


OnFinding = Callable[[Finding], None]


@attrs.define
class Tally:
    """Findings, counted; a few of each kind are kept."""

    rules: Rules
    on_finding: Callable[[Finding], None] | None
    counts: dict[str, dict[str, int]] = attrs.field(
        factory=lambda: {"repaired": {}, "refused": {}, "quarantined": {}}
    )
    samples: dict[str, list[Finding]] = attrs.field(factory=dict)

    def add(self, finding: Finding) -> None:
        """Count it, and pass it on."""
        fate = "repaired"
        if finding.undecided:
            movable = self.rules.quarantine and finding.kind not in UNMOVABLE
            fate = "quarantined" if movable else "refused"
        counts = self.counts[fate]
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
        samples = self.samples.setdefault(finding.kind, [])
        if len(samples) < _SAMPLES:
            samples.append(finding)
        if self.on_finding is not None:
            self.on_finding(finding)

    def report(self, shape: str, added: tuple[str, ...], warnings: tuple[str, ...]) -> AdoptReport:
        """All of it, with what is to be added."""
        return AdoptReport(
            shape=shape,
            status_rule=self.rules.without_status,
            added=added,
            samples={kind: tuple(found) for kind, found in self.samples.items()},
            warnings=warnings,
            repaired=self.counts["repaired"],
            refused=self.counts["refused"],
            quarantined=self.counts["quarantined"],
        )


def faults(
    table: str, name: Any, description: Any, steps: str | None, settings: str | None
) -> dict[str, str]:
    """Which values of a row of campaigns or templates nobody can read, by column, and why.

    ``steps`` and ``settings`` are JSON text, ``None`` where there are none.
    """
    steps_column, settings_column = DOCUMENTS[table]
    found: dict[str, str] = {}
    readers: tuple[tuple[str, str | None, Callable[[str], object]], ...] = (
        (steps_column, steps, recover_template_config),
        (settings_column, settings, recover_generation_config),
    )
    for column, text, recover in readers:
        try:
            if text is not None:
                recover(text)
        except InvalidDocument as error:
            found[column] = str(error)
    try:
        Campaign(name=name, description=description)
    except InvalidDocument as error:
        found |= {one.path.lstrip("/"): one.message for one in error.violations}
    return found
