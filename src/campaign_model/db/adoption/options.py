"""What the operator decides about an adoption: :class:`Options`."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from campaign_model.lifecycle import Action, ContactStatus, Status, target

__all__ = ["STATUS_CASES", "Options"]

STATUS_CASES = ("sent", "lemlist", "otherwise")
"""The cases of ``status_rule``, in the order in which they are tried."""


@attrs.frozen
class Options:
    """The operator's decisions.

    ``status_map`` translates unknown status words. ``sent``, ``lemlist`` and ``otherwise`` are the
    statuses of active campaigns without a status: those with sent messages, those with a Lemlist id
    and all others. ``quarantine`` moves values that need a decision into the quarantine.
    ``contacts_from_messages`` creates the contacts of campaigns that have messages but no contacts.
    """

    status_map: Mapping[str, str] = attrs.field(factory=dict)
    sent: Status = Status.EXPORTED
    lemlist: Status = Status.EXPORTED
    otherwise: Status = Status.DRAFT
    quarantine: bool = False
    contacts_from_messages: bool = False

    @classmethod
    def from_arguments(
        cls,
        status_map: Mapping[str, str],
        status_rule: Mapping[str, str],
        *,
        quarantine: bool,
        contacts_from_messages: bool,
    ) -> Options:
        """Check the arguments of ``adopt``. Raise ``ValueError`` for an unknown status or case."""
        for word, status in status_map.items():
            if status not in {*Status, *ContactStatus}:
                raise ValueError(
                    f"status_map: {word!r} cannot become {status!r}, which is not a status"
                )
        for case in status_rule:
            if case not in STATUS_CASES:
                raise ValueError(
                    f"status_rule: {case!r} is not one of the cases {', '.join(STATUS_CASES)}"
                )
        return cls(
            status_map=status_map,
            quarantine=quarantine,
            contacts_from_messages=contacts_from_messages,
            **{case: Status(status) for case, status in status_rule.items()},
        )

    @property
    def status_rule(self) -> dict[str, str]:
        """What campaigns without a status become. The first case that applies decides."""
        cases = {case: str(getattr(self, case)) for case in STATUS_CASES}
        return {"inactive": target(Action.DELETE).value, **cases}
