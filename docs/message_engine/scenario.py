"""Helpers of the tests: a scripted language model, and a campaign that is being generated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model import (
    Action,
    Campaign,
    CampaignContact,
    Progress,
    StepSequence,
)
from campaign_model.testing.sample_campaigns import Tenant
from engine import CONTACTS, MESSAGES, MessageEngine, ModelBusy, ModelError, Prompt, Reply, Send

PRICE = Decimal("0.00144")
"""Cost of every call of the language model."""

ADDRESSES = {"email_address": "ada@example.com", "linkedin_url": "in/ada", "phone": "1843"}
"""The fields of a contact that the channels require."""


# What the language model can do in one call.


def write() -> str:
    return "An idea\n" + "for you, " * 1000


def write_nothing() -> str:
    return " \n "


def be_busy() -> str:
    raise ModelBusy(timedelta(0))


def refuse() -> str:
    raise ModelError("this contact is a competitor")


def write_or_die(may_die: Callable[[], None]) -> Callable[[], str]:
    """Make a call during which the worker may die. ``dying`` gives ``may_die``."""

    def write_if_alive() -> str:
        may_die()
        return write()

    return write_if_alive


class ScriptedModel:
    """A language model that behaves as the script says, and writes after the script's end."""

    def __init__(self, script: Iterable[Callable[[], str]] = ()) -> None:
        self.script = iter(script)
        self.prompts: list[Prompt] = []

    def __call__(self, prompt: Prompt) -> Reply:
        self.prompts.append(prompt)
        return Reply(next(self.script, write)(), PRICE)


class Scenario:
    """A campaign in status generating, its contacts and its messages.

    The contacts have every address except the ``missing`` fields.
    """

    def __init__(
        self, tenant: Tenant, steps: StepSequence, contacts: int = 1, missing: Iterable[str] = ()
    ) -> None:
        self.tenant, self.transact = tenant, tenant.transact
        contact_ids = self.add_contacts(contacts, missing)
        self.campaign_id = tenant.campaign("generating", contacts=contact_ids, steps=steps).id

    def add_contacts(self, number: int, missing: Iterable[str] = ()) -> list[UUID]:
        """Add contacts to the tenant's address book, not to the campaign."""
        ids = self.tenant.contacts(number)
        with self.tenant.engine.begin() as connection:
            update = sa.update(CONTACTS).where(CONTACTS.c.id.in_(ids))
            connection.execute(update.values(ADDRESSES | dict.fromkeys(missing)))
        return ids

    def run(self, model: ScriptedModel, **options: Any) -> None:
        """Run the engine until it stops; ``options`` are those of ``run_worker``."""
        engine = MessageEngine(self.tenant.engine, self.tenant.id, model)
        engine.run(self.campaign_id, **options)

    def approve(self, rejected: int = 0) -> None:
        """Reject some messages, approve all others, and approve the campaign."""
        ids = [row.id for row in self.messages]
        with self.tenant.engine.begin() as connection:
            for status, decided in (("rejected", ids[:rejected]), ("approved", ids[rejected:])):
                update = sa.update(MESSAGES).where(MESSAGES.c.id.in_(decided))
                connection.execute(update.values(status=status))
        engine = MessageEngine(self.tenant.engine, self.tenant.id, ScriptedModel())
        engine.approve(self.campaign_id, allow_empty=True)

    def export(self, send: Send, **options: Any) -> None:
        """Export until nothing is left; ``options`` are those of ``run_export``."""
        engine = MessageEngine(self.tenant.engine, self.tenant.id, ScriptedModel())
        engine.export(self.campaign_id, send, **options)

    def apply(self, action: Action) -> None:
        self.transact(lambda store: store.campaigns.apply(self.campaign_id, action))

    @property
    def campaign(self) -> Campaign:
        return self.transact(lambda store: store.campaigns.get(self.campaign_id))

    @property
    def campaign_contacts(self) -> tuple[CampaignContact, ...]:
        return self.transact(lambda store: store.contacts.list(self.campaign_id)).items

    @property
    def progress(self) -> Progress:
        return self.transact(lambda store: store.generation.progress(self.campaign_id))

    @property
    def error_codes(self) -> Counter[str | None]:
        """How many contacts have each error code; ``None`` counts contacts without an error."""
        return Counter(contact.error_code for contact in self.campaign_contacts)

    @property
    def messages(self) -> list[Any]:
        """Every row of the campaign's messages, withdrawn ones too."""
        query = sa.select(MESSAGES).where(MESSAGES.c.campaign_id == self.campaign_id)
        with self.tenant.engine.begin() as connection:
            return [*connection.execute(query)]
