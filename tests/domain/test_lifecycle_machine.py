"""The test kit's state machine passes for the lifecycle and catches services that break it."""

from __future__ import annotations

import attrs
import pytest

from campaign_model import lifecycle
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, Facts, ReviewTally, Status
from campaign_model.testing.lifecycle_machine import LifecycleMachine

TestTheLifecycle = LifecycleMachine.TestCase


class Service(LifecycleMachine):
    """A service that keeps the status in a variable of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.column = "draft"

    def move(self, action: Action, facts: Facts) -> None:
        self.column = lifecycle.apply(Status(self.column), action, facts).target.value

    def current_status(self) -> Status:
        return Status(self.column)


TestAService = Service.TestCase


class IgnoresTheFacts(Service):
    def move(self, action: Action, facts: Facts) -> None:  # noqa: ARG002
        super().move(action, FINE)


class AllowsAShortcut(Service):
    def move(self, action: Action, facts: Facts) -> None:
        if (self.column, action) == ("draft", Action.SUBMIT_FOR_REVIEW):
            self.column = "review"
        else:
            super().move(action, facts)


class MovesBeforeItChecks(Service):
    def move(self, action: Action, facts: Facts) -> None:
        before, self.column = Status(self.column), lifecycle.target(action).value
        lifecycle.apply(before, action, facts)


class ForgetsToMove(Service):
    def move(self, action: Action, facts: Facts) -> None:
        lifecycle.apply(Status(self.column), action, facts)


class CountsNoContacts(Service):
    def move(self, action: Action, facts: Facts) -> None:
        super().move(action, attrs.evolve(facts, contacts=0))


class ReportsOneUnmetGuard(Service):
    def move(self, action: Action, facts: Facts) -> None:
        try:
            super().move(action, facts)
        except TransitionNotAllowed as error:
            error.unmet = error.unmet[:1]
            raise


NOTHING = Facts()
FINE = Facts(enabled_steps=1, contacts=2, generated=2, review=ReviewTally(1, 0, 0))


@pytest.mark.parametrize(
    ("machine", "action", "facts", "message"),
    [
        (IgnoresTheFacts, Action.MARK_READY, NOTHING, "mark_ready was allowed in status draft"),
        (AllowsAShortcut, Action.SUBMIT_FOR_REVIEW, FINE, "submit_for_review was allowed"),
        (MovesBeforeItChecks, Action.EXPORT, NOTHING, "after export the status is exported"),
        (ForgetsToMove, Action.MARK_READY, FINE, "after mark_ready the status is draft"),
        (CountsNoContacts, Action.MARK_READY, FINE, "mark_ready was refused in status draft"),
        (ReportsOneUnmetGuard, Action.MARK_READY, NOTHING, "has_contacts"),
    ],
)
def test_the_machine_catches_a_service_that_moves_campaigns_differently(
    machine: type[LifecycleMachine], action: Action, facts: Facts, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        machine().act(action, facts)
