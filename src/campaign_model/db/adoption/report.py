"""The answers of an adoption: ``Verdict``, ``AdoptReport`` and ``AdoptionRefused``."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from campaign_model.db.adoption.findings import Finding, Tally
from campaign_model.db.setup import SetupError
from campaign_model.db.system_templates import SyncReport

__all__ = ["AdoptReport", "AdoptionRefused", "Verdict"]


@attrs.frozen
class Verdict:
    """The answer of :func:`verify`.

    ``shape`` is ``empty`` (no table of the library), ``bare`` (only the legacy campaigns),
    ``extended`` (more of the library's columns, in a looser form), ``unfinished`` (an adoption was
    interrupted), ``current``, ``changed`` (it was current, but something is missing now),
    ``outdated`` or ``newer``.
    ``pending`` lists what is to be done, as SQL statements or sentences. ``warnings`` are sentences
    about things that adoption leaves as they are.
    """

    shape: str
    pending: tuple[str, ...]
    warnings: tuple[str, ...]


@attrs.frozen
class AdoptReport:
    """What an adoption did, would do (dry run) or refuses to do.

    ``added`` are schema statements. ``repaired``, ``refused`` and ``quarantined`` count findings by
    kind, and ``samples`` are a few findings of each kind. ``status_rule`` says what campaigns
    without a status become.
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

    @classmethod
    def from_tally(
        cls, tally: Tally, shape: str, added: tuple[str, ...], warnings: tuple[str, ...]
    ) -> AdoptReport:
        """Combine the counted findings with the state of the schema."""
        return cls(
            shape=shape,
            status_rule=tally.options.status_rule,
            added=added,
            repaired=tally.repaired,
            refused=tally.refused,
            quarantined=tally.quarantined,
            samples={kind: tuple(findings) for kind, findings in tally.samples.items()},
            warnings=warnings,
        )


class AdoptionRefused(SetupError):
    """Some values need a decision. ``report`` lists them.

    Nothing was changed, unless a writer added such a value after the adoption had begun to write.
    """

    def __init__(self, report: AdoptReport) -> None:
        kinds = ", ".join(f"{number} x {kind}" for kind, number in report.refused.items())
        super().__init__(
            f"some values cannot be kept or repaired without a decision ({kinds}): correct them, "
            "translate unknown words (status_map) or move such values to the quarantine "
            "(quarantine), then adopt again"
        )
        self.report = report

    def __reduce__(self) -> tuple[type[AdoptionRefused], tuple[AdoptReport]]:
        return type(self), (self.report,)
