"""What an outcome changes in the contact that its claim holds."""

from __future__ import annotations

from decimal import Decimal

from campaign_model import lifecycle
from campaign_model.claims import Claim, Failed, Generated, NotReady, Outcome, Unfinished
from campaign_model.lifecycle import ContactAction, ContactStatus
from campaign_model.store.statements import OutcomeRow

_ZERO = Decimal(0)

# The next status of a contact that does not go back to wait.
_SUCCEEDED, _FAILED = (
    lifecycle.apply_contact(ContactStatus.GENERATING, action, None)
    for action in (ContactAction.SUCCEED, ContactAction.FAIL)
)


def outcome_row(claim: Claim, outcome: Outcome, *, requeue: bool = False) -> OutcomeRow:
    """Return what an outcome changes in the contact that its claim holds.

    With ``requeue``, the contact of a success waits again, as after a release.
    """
    cost, unknown_costs = outcome.cost or _ZERO, int(outcome.cost is None)
    row = (claim.id, claim.token, cost, unknown_costs)
    if isinstance(outcome, Generated) and not requeue:
        return OutcomeRow(*row, status=_SUCCEEDED)
    if isinstance(outcome, Failed):
        return OutcomeRow(*row, status=_FAILED, error_code=outcome.code, error=outcome.message)
    if isinstance(outcome, NotReady):
        return OutcomeRow(*row, attempts=-1, gaps=outcome.gaps)
    if isinstance(outcome, Unfinished):
        # A contact that was given back for nothing does not use up an attempt. One that was paid
        # for does, so that it is not paid for again and again.
        attempts = 0 if outcome.cost != 0 else -1
        return OutcomeRow(*row, attempts=attempts, retry_after=outcome.retry_after or None)
    return OutcomeRow(*row, attempts=-1)
