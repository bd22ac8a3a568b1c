"""The lifecycle as a state machine: any action in any order, whatever the facts."""

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

_approved = ReviewTally(approved=1, rejected=0, undecided=0)
_underway = Facts(enabled_steps=1, contacts=2, claimable=1, generated=1, review=_approved)
_done = Facts(enabled_steps=1, contacts=2, generated=2, review=_approved)


class LifecycleMachine(RuleBasedStateMachine):
    """A campaign and one contact in it, moved by any actions under any facts.

    The tables say, as data, what has to happen: a move leads where its line says; where there is
    no such line, or one of its guards does not hold, a refusal names all that is in the way and
    changes nothing. What is tested is the library's lifecycle. A service that moves campaigns by
    code of its own puts that in the place of :meth:`move` and :meth:`standing`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.status = Status.DRAFT
        self.contact_status = ContactStatus.PENDING
        self._moved = Status.DRAFT

    def move(self, action: Action, facts: Facts) -> None:
        """Under test: move the campaign, or raise :class:`TransitionNotAllowed`."""
        self._moved = lifecycle.apply(self._moved, action, facts).target

    def standing(self) -> Status:
        """Under test: where the campaign stands."""
        return self._moved

    @rule(action=st.sampled_from(Action), facts=strategies.facts())
    def act(self, action: Action, facts: Facts) -> None:
        """Somebody tries to move the campaign."""
        line, unmet = _line(self.status, action, facts)
        refusal = None
        try:
            self.move(action, facts)
        except TransitionNotAllowed as error:
            refusal = error
        if line is not None and not unmet:
            assert refusal is None, f"{action} was refused from {self.status}: {refusal}"
            self.status = line.target
        else:
            assert refusal is not None, f"{action} went through from {self.status}"
            _check_refusal(refusal, self.status, action, unmet)
        assert self.standing() is self.status, f"after {action}: {self.standing()}"

    @rule(facts=strategies.facts())
    def look(self, facts: Facts) -> None:
        """Somebody looks at the buttons: each says what would happen."""
        states = lifecycle.actions(self.status, facts)
        assert [state.action for state in states] == [*Action]
        for state in states:
            line, unmet = _line(self.status, state.action, facts)
            assert state.target is (line.target if line else None)
            assert state.allowed is (line is not None and not unmet)
            if state.error is not None:
                _check_refusal(state.error, self.status, state.action, unmet)

    @rule(permission=st.sampled_from(Permission))
    def change(self, permission: Permission) -> None:
        """Somebody wants to change the campaign's content."""
        refusal = None
        try:
            lifecycle.check_permission(permission, self.status)
        except TransitionNotAllowed as error:
            refusal = error
        assert (refusal is None) is (self.status in PERMISSIONS[permission])
        assert refusal is None or {*refusal.legal_from} == PERMISSIONS[permission]

    @rule(action=st.sampled_from(ContactAction), gaps=st.sampled_from([None, (), ("phone",)]))
    def act_on_contact(self, action: ContactAction, gaps: tuple[str, ...] | None) -> None:
        """Something happens to the contact."""
        lines = [
            line
            for line in CONTACT_TRANSITIONS
            if (line.source, line.action) == (self.contact_status, action)
        ]
        moved = lifecycle.apply_contact(self.contact_status, action, gaps)
        expected = [line.target or lifecycle.resting_status(gaps) for line in lines]
        assert expected == ([] if moved is None else [moved])
        self.contact_status = moved or self.contact_status

    @invariant()
    def there_is_a_way_out(self) -> None:
        """Wherever the campaign stands, actions lead on to archived, and from there none does."""
        ends = _reachable(self.status)
        assert Status.ARCHIVED in ends, f"{self.status} is a dead end"
        assert self.status is not Status.ARCHIVED or ends == {Status.ARCHIVED}

    @invariant()
    def the_contact_is_not_lost(self) -> None:
        """Whatever became of the contact, actions lead on to its messages."""
        assert ContactStatus.GENERATED in _contact_reachable(self.contact_status)


@cache
def _reachable(start: Status) -> frozenset[Status]:
    """Where actions lead a campaign that is underway or done."""
    found = {start}
    for _ in Status:
        found |= {
            state.target
            for status in found
            for facts in (_underway, _done)
            for state in lifecycle.actions(status, facts)
            if state.allowed and state.target is not None
        }
    return frozenset(found)


@cache
def _contact_reachable(start: ContactStatus) -> frozenset[ContactStatus]:
    found = {start}
    for _ in ContactStatus:
        found |= {
            line.target or lifecycle.resting_status(())
            for line in CONTACT_TRANSITIONS
            if line.source in found
        }
    return frozenset(found)


def _line(
    source: Status, action: Action, facts: Facts
) -> tuple[Transition | None, tuple[Unmet, ...]]:
    """The table's line, if it has one, and which of its guards do not hold."""
    for line in TRANSITIONS:
        if (line.source, line.action) == (source, action):
            found = [guard(facts) for guard in line.guards]
            return line, tuple(unmet for unmet in found if unmet is not None)
    return None, ()


def _check_refusal(
    refusal: TransitionNotAllowed, source: Status, action: Action, unmet: tuple[Unmet, ...]
) -> None:
    """It says where the campaign stands, what it may do instead, and all that is in the way."""
    assert (refusal.source, refusal.action) == (source, action)
    assert refusal.allowed == tuple(line.action for line in TRANSITIONS if line.source is source)
    assert refusal.legal_from == tuple(line.source for line in TRANSITIONS if line.action is action)
    assert refusal.unmet == unmet, f"{action} told {refusal.unmet} of {unmet}"
