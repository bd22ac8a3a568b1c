"""The guards of the lifecycle: the conditions of actions, as pure functions of counted facts.

The store counts :class:`Facts` under the campaign's lock. A :data:`Guard` returns ``None`` if its
condition holds, or an :class:`Unmet` with a sentence that says what to do. The table in
:mod:`campaign_model.lifecycle` names the guards of each action.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import attrs

from campaign_model._answer import Answer
from campaign_model.errors import Unmet


@attrs.frozen
class ReviewTally(Answer):
    """How many messages the reviewers approved, rejected, and left undecided."""

    approved: int
    rejected: int
    undecided: int


@attrs.frozen
class Facts:
    """The counts that guards look at. The store reads them while it holds the campaign's lock.

    ``enabled_steps`` counts steps; the other numbers count contacts. ``contacts`` leaves out
    excluded ones. ``claimable`` contacts can be claimed now or after a pause: they are pending,
    enrichment_ok, or generating under an expired lease. ``in_flight`` contacts are under a lease
    that has not expired. ``stale`` contacts are generated, but not from the present steps; the
    store counts them only for actions whose guards look at them. ``generated`` contacts have their
    messages.

    ``budget_exhausted`` means that the budget has no room for another contact. ``review`` counts
    the messages under review; it is ``None`` if the caller passed no tally. ``allow_empty`` means
    that the caller accepts a campaign without an approved message, ``allow_partial`` one of which
    some contacts have no messages of the present steps.
    """

    enabled_steps: int = 0
    contacts: int = 0
    claimable: int = 0
    in_flight: int = 0
    generated: int = 0
    stale: int = 0
    budget_exhausted: bool = False
    review: ReviewTally | None = None
    allow_empty: bool = False
    allow_partial: bool = False


Guard = Callable[[Facts], Unmet | None]


def _guard(advice: str) -> Callable[[Callable[[Facts], bool]], Guard]:
    """Make a guard of a function that returns True if the condition holds.

    ``advice`` is the message of the :class:`Unmet` and says what to do. Front ends show it to their
    users, so it names no argument of a call: the guard's docstring says what a caller can allow.
    It may contain facts in braces, such as ``{facts.in_flight}``.
    """

    def decorate(holds: Callable[[Facts], bool]) -> Guard:
        @wraps(holds)
        def guard(facts: Facts) -> Unmet | None:
            if holds(facts):
                return None
            return Unmet(holds.__name__, advice.format(facts=facts))

        return guard

    return decorate


@_guard("the campaign has no enabled step; enable at least one step")
def has_enabled_steps(facts: Facts) -> bool:
    """At least one step is enabled."""
    return facts.enabled_steps > 0


@_guard("the campaign has no contacts; assign or include contacts")
def has_contacts(facts: Facts) -> bool:
    """At least one contact is assigned and not excluded."""
    return facts.contacts > 0


@_guard("no contact waits for messages; assign, enrich or retry contacts, or submit for review")
def has_contacts_to_generate(facts: Facts) -> bool:
    """At least one contact waits for messages, or was in flight when a run was cancelled."""
    return facts.claimable + facts.in_flight > 0


@_guard("no contact has messages yet; start generation first")
def something_generated(facts: Facts) -> bool:
    """At least one contact has its messages."""
    return facts.generated > 0


@_guard("{facts.in_flight} contact(s) are in flight; wait until workers finish or leases expire")
def nothing_in_flight(facts: Facts) -> bool:
    """No contact is in flight."""
    return facts.in_flight == 0


@_guard("{facts.claimable} contact(s) wait for messages; let workers finish, or cancel generation")
def nothing_left_to_claim(facts: Facts) -> bool:
    """No contact waits for messages, or the budget allows no further claim."""
    return facts.claimable == 0 or facts.budget_exhausted


@_guard("the messages under review are not counted here; approve where they are counted")
def review_counted(facts: Facts) -> bool:
    """Every message under review is counted."""
    return facts.review is not None


@_guard("{facts.review.undecided} message(s) are undecided; approve or reject them")
def nothing_undecided(facts: Facts) -> bool:
    """Every message under review is approved or rejected."""
    return facts.review is None or facts.review.undecided == 0


@_guard("no message is approved, so nothing would be sent; approve at least one message")
def something_approved(facts: Facts) -> bool:
    """At least one message is approved, or the caller allows an empty campaign."""
    return facts.allow_empty or facts.review is None or facts.review.approved > 0


@_guard(
    "{facts.claimable} contact(s) wait for messages and would not be exported; "
    "request changes and generate them, or exclude them"
)
def nothing_waiting(facts: Facts) -> bool:
    """No contact waits for messages, or the caller allows a partial campaign."""
    return facts.allow_partial or facts.claimable == 0


@_guard(
    "{facts.stale} contact(s) are stale: their messages do not come from the present steps; "
    "regenerate or exclude them"
)
def nothing_stale(facts: Facts) -> bool:
    """No generated contact is stale, or the caller allows a partial campaign."""
    return facts.allow_partial or facts.stale == 0
