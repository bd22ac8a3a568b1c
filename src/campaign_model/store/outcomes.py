"""What an outcome changes in the contact that its claim holds."""

from __future__ import annotations

from decimal import Decimal
from typing import cast

from campaign_model import lifecycle
from campaign_model.claims import Claim, Failed, Generated, NotReady, Outcome, Unfinished
from campaign_model.lifecycle import ContactAction, ContactStatus
from campaign_model.store.statements import OutcomeRow

_ZERO = Decimal(0)

# The next status of a contact that does not go back to wait.
_SUCCEEDED, _FAILED = (
    cast("ContactStatus", lifecycle.apply_contact(ContactStatus.GENERATING, action, None))
    for action in (ContactAction.SUCCEED, ContactAction.FAIL)
)


def outcome_row(claim: Claim, outcome: Outcome, *, requeue: bool = False) -> OutcomeRow:
    """Return what an outcome changes in the contact that its claim holds.

    With ``requeue``, the contact of a success waits again, as after a release.
    """
    row: OutcomeRow = {
        "id": claim.id,
        "token": claim.token,
        "cost": outcome.cost or _ZERO,
        "unknown_costs": int(outcome.cost is None),
        "attempts": 0,
    }
    if isinstance(outcome, Generated) and not requeue:
        row["status"] = _SUCCEEDED
    elif isinstance(outcome, Failed):
        row |= {"status": _FAILED, "error_code": outcome.code, "error": outcome.message}
    elif isinstance(outcome, Unfinished):
        if outcome.retry_after:
            row["retry_after"] = outcome.retry_after
        # A contact that was given back for nothing does not use up an attempt. One that was paid
        # for does, so that it is not paid for again and again.
        if outcome.cost == 0:
            row["attempts"] = -1
    else:
        row["attempts"] = -1
        if isinstance(outcome, NotReady):
            row["gaps"] = outcome.gaps
    return row
