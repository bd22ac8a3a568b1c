"""The lifecycle as a Hypothesis state machine: any actions, under any facts.

Facts are the counts that the guards of actions check, such as the number of contacts in flight.
"""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from campaign_model import lifecycle
from campaign_model.errors import TransitionNotAllowed, Unmet
from campaign_model.lifecycle import (
    CONTACT_TRANSITIONS,
    PERMISSIONS,
    TRANSITIONS,
    Action,
    ContactAction,
    ContactStatus,
    Facts,
    Permission,
    ReviewTally,
    Status,
    Transition,
)
from campaign_model.testing import strategies

__all__ = ["LifecycleMachine"]

_APPROVED = ReviewTally(approved=1, rejected=0, undecided=0)
_HALF_GENERATED = Facts(enabled_steps=1, contacts=2, claimable=1, generated=1, review=_APPROVED)
_ALL_GENERATED = Facts(enabled_steps=1, contacts=2, generated=2, review=_APPROVED)


class LifecycleMachine(RuleBasedStateMachine):
    """Applies any actions under any facts to a campaign and to one of its contacts.

    The tables of the lifecycle say what must happen. If the table has a transition from the
    campaign's status with this action, and all guards of the transition hold, the campaign gets
    the target status. Otherwise the action is refused: nothing changes, and the error names every
    guard that does not hold.

    The machine tests the library's lifecycle. A service with its own code for actions overrides
    :meth:`move` and :meth:`current_status`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.status: Status = Status.DRAFT
        """The status that the campaign must have, according to the table."""
        self.contact_status: ContactStatus = ContactStatus.PENDING
        self._moved_status = Status.DRAFT
        """The status that the default code under test has moved the campaign to."""

    def move(self, action: Action, facts: Facts) -> None:
        """Apply the action or raise :class:`TransitionNotAllowed`. This is the code under test."""
        self._moved_status = lifecycle.apply(self._moved_status, action, facts).target

    def current_status(self) -> Status:
        """Return the status of the campaign. This is the code under test."""
        return self._moved_status

    @rule(action=st.sampled_from(Action), facts=strategies.facts())
    def act(self, action: Action, facts: Facts) -> None:
        """Apply an action. Compare the new status, or the refusal, with the table."""
        transition = _find_transition(self.status, action)
        unmet = _unmet_guards(transition, facts)
        refusal = None
        try:
            self.move(action, facts)
        except TransitionNotAllowed as error:
            refusal = error
        if transition is not None and not unmet:
            assert refusal is None, f"{action} was refused in status {self.status}: {refusal}"
            self.status = transition.target
        else:
            assert refusal is not None, f"{action} was allowed in status {self.status}"
            _check_refusal(refusal, self.status, action, unmet)
        status = self.current_status()
        assert status is self.status, f"after {action} the status is {status}, not {self.status}"

    @rule(facts=strategies.facts())
    def list_actions(self, facts: Facts) -> None:
        """List all actions with the status and the refusal that each would give, and check them."""
        listed = lifecycle.actions(self.status, facts)
        assert [entry.action for entry in listed] == [*Action]
        for entry in listed:
            transition = _find_transition(self.status, entry.action)
            unmet = _unmet_guards(transition, facts)
            assert entry.target is (None if transition is None else transition.target)
            assert entry.allowed is (entry.error is None)
            if transition is not None and not unmet:
                assert entry.error is None, f"{entry.action} is listed as refused: {entry.error}"
            else:
                assert entry.error is not None, f"{entry.action} is listed as allowed"
                _check_refusal(entry.error, self.status, entry.action, unmet)

    @rule(permission=st.sampled_from(Permission))
    def check_permission(self, permission: Permission) -> None:
        """Ask whether the status grants a permission. Compare with the table of permissions."""
        refusal = None
        try:
            lifecycle.check_permission(permission, self.status)
        except TransitionNotAllowed as error:
            refusal = error
        assert (refusal is None) is (self.status in PERMISSIONS[permission])
        assert refusal is None or {*refusal.legal_from} == PERMISSIONS[permission]

    @rule(action=st.sampled_from(ContactAction), gaps=st.sampled_from([None, (), ("phone",)]))
    def act_on_contact(self, action: ContactAction, gaps: tuple[str, ...] | None) -> None:
        """Apply an action to the contact, and compare the answer with the table of transitions.

        The table has one transition for a status and an action, or none if the action is refused.
        A transition without a target leads to the status that the gaps of the contact decide.
        """
        expected = [
            transition.target or lifecycle.resting_status(gaps)
            for transition in CONTACT_TRANSITIONS
            if (transition.source, transition.action) == (self.contact_status, action)
        ]
        new_status = lifecycle.apply_contact(self.contact_status, action, gaps)
        assert expected == ([] if new_status is None else [new_status])
        self.contact_status = new_status or self.contact_status

    @invariant()
    def archived_is_the_only_end(self) -> None:
        """From every status some actions lead to archived. No action leads out of archived."""
        reachable = _reachable_statuses(self.status)
        assert Status.ARCHIVED in reachable, f"no actions lead from {self.status} to archived"
        assert self.status is not Status.ARCHIVED or reachable == {Status.ARCHIVED}

    @invariant()
    def the_contact_can_be_generated(self) -> None:
        """From every status of the contact some actions lead to generated."""
        assert ContactStatus.GENERATED in _reachable_contact_statuses(self.contact_status)


@cache
def _reachable_statuses(start: Status) -> frozenset[Status]:
    """Return the statuses that a campaign with some or all contacts generated can reach."""
    reachable = {start}
    # Each round adds what one more action reaches. No path needs more actions than statuses.
    for _ in Status:
        reachable |= {
            entry.target
            for status in reachable
            for facts in (_HALF_GENERATED, _ALL_GENERATED)
            for entry in lifecycle.actions(status, facts)
            if entry.allowed and entry.target is not None
        }
    return frozenset(reachable)


@cache
def _reachable_contact_statuses(start: ContactStatus) -> frozenset[ContactStatus]:
    """Return the statuses that a contact without gaps can reach."""
    reachable = {start}
    # Each round adds what one more action reaches, as above.
    for _ in ContactStatus:
        reachable |= {
            # A transition without a target leads to the status in which the contact waits.
            transition.target or lifecycle.resting_status(())
            for transition in CONTACT_TRANSITIONS
            if transition.source in reachable
        }
    return frozenset(reachable)


def _find_transition(source: Status, action: Action) -> Transition | None:
    """Return the table's transition from this status with this action, if there is one."""
    return next((one for one in TRANSITIONS if (one.source, one.action) == (source, action)), None)


def _unmet_guards(transition: Transition | None, facts: Facts) -> tuple[Unmet, ...]:
    """Return the result of each guard of the transition that does not hold."""
    guards = () if transition is None else transition.guards
    return tuple(guard.unmet(facts) for guard in guards if not guard.holds(facts))


def _check_refusal(
    refusal: TransitionNotAllowed, source: Status, action: Action, unmet: tuple[Unmet, ...]
) -> None:
    """Check what a refusal names: status, action, the table's alternatives, every unmet guard."""
    actions_from_here = tuple(one.action for one in TRANSITIONS if one.source is source)
    sources_of_action = tuple(one.source for one in TRANSITIONS if one.action is action)
    assert (refusal.source, refusal.action) == (source, action)
    assert refusal.allowed == actions_from_here
    assert refusal.legal_from == sources_of_action
    assert refusal.unmet == unmet, f"{action} named the unmet guards {refusal.unmet}, not {unmet}"
