"""The guards of the lifecycle: the conditions of actions, as pure functions of counted facts.

The store counts :class:`Facts` under the campaign's lock. A :class:`Guard` says whether its
condition holds, and has a sentence that says what to do if it does not hold. The table in
:mod:`campaign_model.lifecycle` names the guards of each action.
"""

from __future__ import annotations

from collections.abc import Callable

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


@attrs.frozen
class Guard:
    """A condition of an action: ``holds(facts)``.

    ``advice`` is the message of the :class:`Unmet` and says what to do. It may contain facts in
    braces, such as ``{facts.in_flight}``. Front ends show it to their users, so it names no
    argument of a call: ``meaning`` says what a caller can allow.
    """

    name: str
    meaning: str
    advice: str
    holds: Callable[[Facts], bool]

    def unmet(self, facts: Facts) -> Unmet:
        """Return the reason for a refusal. The guard does not hold for these facts."""
        return Unmet(self.name, self.advice.format(facts=facts))

    def __reduce__(self) -> str:
        # Copies and pickles of a guard are the guard of this module with its name.
        return self.name


has_enabled_steps: Guard = Guard(
    "has_enabled_steps",
    meaning="At least one step is enabled.",
    advice="the campaign has no enabled step; enable at least one step",
    holds=lambda facts: facts.enabled_steps > 0,
)

has_contacts: Guard = Guard(
    "has_contacts",
    meaning="At least one contact is assigned and not excluded.",
    advice="the campaign has no contacts; assign or include contacts",
    holds=lambda facts: facts.contacts > 0,
)

has_contacts_to_generate: Guard = Guard(
    "has_contacts_to_generate",
    meaning="At least one contact waits for messages, or was in flight when a run was cancelled.",
    advice=(
        "no contact waits for messages; assign, enrich, retry or regenerate contacts, "
        "or submit for review"
    ),
    holds=lambda facts: facts.claimable + facts.in_flight > 0,
)

something_generated: Guard = Guard(
    "something_generated",
    meaning="At least one contact has its messages.",
    advice="no contact has messages yet; start generation first",
    holds=lambda facts: facts.generated > 0,
)

nothing_in_flight: Guard = Guard(
    "nothing_in_flight",
    meaning="No contact is in flight.",
    advice="{facts.in_flight} contact(s) are in flight; wait until workers finish or leases expire",
    holds=lambda facts: facts.in_flight == 0,
)

nothing_left_to_claim: Guard = Guard(
    "nothing_left_to_claim",
    meaning="No contact waits for messages, or the budget allows no further claim.",
    advice=(
        "{facts.claimable} contact(s) wait for messages; let workers finish, or cancel generation"
    ),
    holds=lambda facts: facts.claimable == 0 or facts.budget_exhausted,
)

review_counted: Guard = Guard(
    "review_counted",
    meaning="Every message under review is counted.",
    advice="the messages under review are not counted here; approve where they are counted",
    holds=lambda facts: facts.review is not None,
)

nothing_undecided: Guard = Guard(
    "nothing_undecided",
    meaning="Every message under review is approved or rejected.",
    advice="{facts.review.undecided} message(s) are undecided; approve or reject them",
    holds=lambda facts: facts.review is None or facts.review.undecided == 0,
)

something_approved: Guard = Guard(
    "something_approved",
    meaning="At least one message is approved, or the caller allows an empty campaign.",
    advice="no message is approved, so nothing would be sent; approve at least one message",
    holds=lambda facts: facts.allow_empty or facts.review is None or facts.review.approved > 0,
)

nothing_waiting: Guard = Guard(
    "nothing_waiting",
    meaning="No contact waits for messages, or the caller allows a partial campaign.",
    advice=(
        "{facts.claimable} contact(s) wait for messages and would not be exported; "
        "request changes and generate them, or exclude them"
    ),
    holds=lambda facts: facts.allow_partial or facts.claimable == 0,
)

nothing_stale: Guard = Guard(
    "nothing_stale",
    meaning="No generated contact is stale, or the caller allows a partial campaign.",
    advice=(
        "{facts.stale} contact(s) are stale: their messages do not come from the present steps; "
        "regenerate or exclude them"
    ),
    holds=lambda facts: facts.allow_partial or facts.stale == 0,
)
