"""The lifecycle as a state machine: Hypothesis tries any actions under any facts."""

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
    """Moves a campaign and one of its contacts by any actions under any facts.

    The tables of the lifecycle say what must happen. A move ends in the target of its line. If
    there is no such line, or if one of its guards does not hold, a refusal names every unmet guard
    and nothing changes. The machine tests the library's lifecycle. A service with its own code for
    moves overrides :meth:`move` and :meth:`current_status`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.status = Status.DRAFT
        self.contact_status = ContactStatus.PENDING
        self._moved = Status.DRAFT

    def move(self, action: Action, facts: Facts) -> None:
        """Move the campaign or raise :class:`TransitionNotAllowed`: the code under test."""
        self._moved = lifecycle.apply(self._moved, action, facts).target

    def current_status(self) -> Status:
        """Return the status of the campaign: the code under test."""
        return self._moved

    @rule(action=st.sampled_from(Action), facts=strategies.facts())
    def act(self, action: Action, facts: Facts) -> None:
        """Try to move the campaign."""
        line, unmet = _line_and_unmet(self.status, action, facts)
        refusal = None
        try:
            self.move(action, facts)
        except TransitionNotAllowed as error:
            refusal = error
        if line is not None and not unmet:
            assert refusal is None, f"{action} was refused in status {self.status}: {refusal}"
            self.status = line.target
        else:
            assert refusal is not None, f"{action} was allowed in status {self.status}"
            _check_refusal(refusal, self.status, action, unmet)
        status = self.current_status()
        assert status is self.status, f"after {action} the status is {status}, not {self.status}"

    @rule(facts=strategies.facts())
    def list_actions(self, facts: Facts) -> None:
        """List the actions. Each must say what a move would do."""
        states = lifecycle.actions(self.status, facts)
        assert [state.action for state in states] == [*Action]
        for state in states:
            line, unmet = _line_and_unmet(self.status, state.action, facts)
            assert state.target is (line.target if line else None)
            assert state.allowed is (line is not None and not unmet)
            if state.error is not None:
                _check_refusal(state.error, self.status, state.action, unmet)

    @rule(permission=st.sampled_from(Permission))
    def check_permission(self, permission: Permission) -> None:
        """Ask for permission to change the campaign's content."""
        refusal = None
        try:
            lifecycle.check_permission(permission, self.status)
        except TransitionNotAllowed as error:
            refusal = error
        assert (refusal is None) is (self.status in PERMISSIONS[permission])
        assert refusal is None or {*refusal.legal_from} == PERMISSIONS[permission]

    @rule(action=st.sampled_from(ContactAction), gaps=st.sampled_from([None, (), ("phone",)]))
    def act_on_contact(self, action: ContactAction, gaps: tuple[str, ...] | None) -> None:
        """Try to move the contact."""
        lines = [
            line
            for line in CONTACT_TRANSITIONS
            if (line.source, line.action) == (self.contact_status, action)
        ]
        target = lifecycle.apply_contact(self.contact_status, action, gaps)
        expected = [line.target or lifecycle.resting_status(gaps) for line in lines]
        assert expected == ([] if target is None else [target])
        self.contact_status = target or self.contact_status

    @invariant()
    def archived_is_the_only_end(self) -> None:
        """From every status actions lead to archived, and from archived no action leads on."""
        reachable = _reachable(self.status)
        assert Status.ARCHIVED in reachable, f"no actions lead from {self.status} to archived"
        assert self.status is not Status.ARCHIVED or reachable == {Status.ARCHIVED}

    @invariant()
    def the_contact_can_be_generated(self) -> None:
        """From every status actions lead the contact to generated."""
        assert ContactStatus.GENERATED in _contact_reachable(self.contact_status)


@cache
def _reachable(start: Status) -> frozenset[Status]:
    """Return the statuses that actions lead to, with some or all contacts generated."""
    reachable = {start}
    for _ in Status:
        reachable |= {
            state.target
            for status in reachable
            for facts in (_HALF_GENERATED, _ALL_GENERATED)
            for state in lifecycle.actions(status, facts)
            if state.allowed and state.target is not None
        }
    return frozenset(reachable)


@cache
def _contact_reachable(start: ContactStatus) -> frozenset[ContactStatus]:
    reachable = {start}
    for _ in ContactStatus:
        reachable |= {
            line.target or lifecycle.resting_status(())
            for line in CONTACT_TRANSITIONS
            if line.source in reachable
        }
    return frozenset(reachable)


def _line_and_unmet(
    source: Status, action: Action, facts: Facts
) -> tuple[Transition | None, tuple[Unmet, ...]]:
    """Return the table's line for the action, if there is one, and the line's unmet guards."""
    for line in TRANSITIONS:
        if (line.source, line.action) == (source, action):
            results = [guard(facts) for guard in line.guards]
            return line, tuple(unmet for unmet in results if unmet is not None)
    return None, ()


def _check_refusal(
    refusal: TransitionNotAllowed, source: Status, action: Action, unmet: tuple[Unmet, ...]
) -> None:
    """Check that the refusal names the status, the allowed actions and every unmet guard."""
    assert (refusal.source, refusal.action) == (source, action)
    assert refusal.allowed == tuple(line.action for line in TRANSITIONS if line.source is source)
    assert refusal.legal_from == tuple(line.source for line in TRANSITIONS if line.action is action)
    assert refusal.unmet == unmet, f"{action} named the unmet guards {refusal.unmet}, not {unmet}"
