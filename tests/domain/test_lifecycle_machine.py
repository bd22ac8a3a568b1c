"""The lifecycle as a state machine; and that it notices a service with another table."""

from __future__ import annotations

import attrs
import pytest

from campaign_model import lifecycle
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, Facts, ReviewTally, Status
from campaign_model.testing.lifecycle_machine import LifecycleMachine

TestTheLifecycle = LifecycleMachine.TestCase


class Service(LifecycleMachine):
    """Moves campaigns by code of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.column = "draft"

    def move(self, action: Action, facts: Facts) -> None:
        self.column = lifecycle.apply(Status(self.column), action, facts).target.value

    def current_status(self) -> Status:
        return Status(self.column)


TestAService = Service.TestCase


class AsksNobody(Service):
    def move(self, action: Action, facts: Facts) -> None:  # noqa: ARG002
        super().move(action, FINE)


class KnowsAShortcut(Service):
    def move(self, action: Action, facts: Facts) -> None:
        if (self.column, action) == ("draft", Action.SUBMIT_FOR_REVIEW):
            self.column = "review"
        else:
            super().move(action, facts)


class MovesBeforeItAsks(Service):
    def move(self, action: Action, facts: Facts) -> None:
        before, self.column = Status(self.column), lifecycle.target(action).value
        lifecycle.apply(before, action, facts)


class ForgetsToMove(Service):
    def move(self, action: Action, facts: Facts) -> None:
        lifecycle.apply(Status(self.column), action, facts)


class RefusesTooMuch(Service):
    def move(self, action: Action, facts: Facts) -> None:
        super().move(action, attrs.evolve(facts, contacts=0))


class TellsHalf(Service):
    def move(self, action: Action, facts: Facts) -> None:
        try:
            super().move(action, facts)
        except TransitionNotAllowed as error:
            error.unmet = error.unmet[:1]
            raise


NOTHING = Facts()
FINE = Facts(enabled_steps=1, contacts=2, generated=2, review=ReviewTally(1, 0, 0))


@pytest.mark.parametrize(
    ("machine", "action", "facts", "says"),
    [
        (AsksNobody, Action.MARK_READY, NOTHING, "mark_ready was allowed in status draft"),
        (KnowsAShortcut, Action.SUBMIT_FOR_REVIEW, FINE, "submit_for_review was allowed"),
        (MovesBeforeItAsks, Action.EXPORT, NOTHING, "after export the status is exported"),
        (ForgetsToMove, Action.MARK_READY, FINE, "after mark_ready the status is draft"),
        (RefusesTooMuch, Action.MARK_READY, FINE, "mark_ready was refused in status draft"),
        (TellsHalf, Action.MARK_READY, NOTHING, "has_contacts"),
    ],
)
def test_a_service_with_another_table_is_found_out(
    machine: type[LifecycleMachine], action: Action, facts: Facts, says: str
) -> None:
    with pytest.raises(AssertionError, match=says):
        machine().act(action, facts)
