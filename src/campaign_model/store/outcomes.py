"""What an outcome changes in the contact that its claim holds."""

from __future__ import annotations

from decimal import Decimal

from campaign_model import lifecycle
from campaign_model.claims import Claim, Failed, Generated, NotReady, Outcome, Unfinished
from campaign_model.lifecycle import ContactAction, ContactStatus
from campaign_model.store.statements import OutcomeRow

ACTION_OF: dict[type[Outcome], ContactAction] = {
    Generated: ContactAction.SUCCEED,
    Failed: ContactAction.FAIL,
    NotReady: ContactAction.RELEASE,
    Unfinished: ContactAction.RELEASE,
}
"""The action of the contacts' transition table that each outcome stands for."""

_FINISHED_STATUS = {
    action: lifecycle.apply_contact(ContactStatus.GENERATING, action, None)
    for action in (ContactAction.SUCCEED, ContactAction.FAIL)
}
"""The next status of a contact that does not go back to wait."""


def outcome_row(claim: Claim, outcome: Outcome, *, requeue: bool = False) -> OutcomeRow:
    """Return what an outcome changes in the contact that its claim holds.

    With ``requeue``, the contact of a success waits again, as after a release.
    """
    status = None if requeue else _FINISHED_STATUS.get(ACTION_OF[type(outcome)])
    # A contact that was given back for nothing does not use up an attempt. One that was paid for
    # does, so that it is not paid for again and again.
    was_paid_for = isinstance(outcome, Unfinished) and outcome.cost != 0
    return OutcomeRow(
        id=claim.id,
        token=claim.token,
        status=status,
        attempts=-1 if status is None and not was_paid_for else 0,
        retry_after=(outcome.retry_after or None) if isinstance(outcome, Unfinished) else None,
        gaps=outcome.gaps if isinstance(outcome, NotReady) else None,
        cost=outcome.cost or Decimal(0),
        unknown_costs=int(outcome.cost is None),
        error_code=outcome.code if isinstance(outcome, Failed) else None,
        error=outcome.message if isinstance(outcome, Failed) else None,
    )
