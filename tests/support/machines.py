"""``StoreMachine`` driven step by step, for tests of many calls in the same situation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import sqlalchemy as sa

from campaign_model.lifecycle import Status
from campaign_model.store.tables import campaigns
from campaign_model.testing.model import Model
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.testing.store_machine import StoreMachine

__all__ = ["SteppedMachine", "stepped_machine"]


class SteppedMachine(StoreMachine):
    """A machine that compares answers after every call, but the database only on request."""

    def check(self, model: Model) -> None:
        pass

    def check_database(self) -> None:
        """Compare everything in the database with the model."""
        super().check(self.model)

    def try_out(self, call: Callable[[], Any]) -> None:
        """Make a call, compare the database if the call was not refused, and roll the call back.

        What a refused call wrote is not rolled back, so that the next comparison finds it.
        """
        model = self.model
        with self.reading() as connection:
            savepoint = connection.begin_nested()
            call()
            if self.model is model:
                savepoint.commit()
                return
            self.check_database()
            savepoint.rollback()
        self.model = model

    def set_status(self, status: Status) -> None:
        """Set the status of the first campaign, in its row and in the model, without a move."""
        id_ = self.campaign_id(0)
        with self.reading() as connection:
            connection.execute(
                sa.update(campaigns).where(campaigns.c.id == id_).values(status=status.value)
            )
        state = self.model.state_of(id_)
        state.campaign = attrs.evolve(state.campaign, status=status)


@contextmanager
def stepped_machine(tenant: Tenant, contacts: int, **options: Any) -> Iterator[SteppedMachine]:
    """Make a machine whose calls share one transaction, which is rolled back at the end."""
    machine_type = SteppedMachine.on(tenant.engine, tenant.id, tenant.contacts(contacts), **options)
    machine = machine_type()
    machine.transaction(commits=False)
    try:
        yield machine
    finally:
        machine.teardown()
