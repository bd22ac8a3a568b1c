"""What the tests try the engine with: a language model by script, and campaigns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model import Action, Campaign, CampaignContact, Progress, StepSequence
from campaign_model.testing.sample_campaigns import Tenant
from engine import CONTACTS, MESSAGES, MessageEngine, ModelBusy, ModelError, Prompt, Reply

PRICE = Decimal("0.00144")
REACHABLE = {"email_address": "ada@example.com", "linkedin_url": "in/ada", "phone": "1843"}


def write() -> str:
    return "An idea\n" + "for you, " * 1000


def leave_blank() -> str:
    return " \n "


def be_busy() -> str:
    raise ModelBusy(timedelta(0))


def refuse() -> str:
    raise ModelError("I would rather not")


def write_at(moment: Callable[[], None]) -> Callable[[], str]:
    """Writing takes a moment, in which one may die."""

    def write_or_die() -> str:
        moment()
        return write()

    return write_or_die


class Model:
    def __init__(self, script: Iterable[Callable[[], str]] = ()) -> None:
        self.script = iter(script)
        self.prompts: list[Prompt] = []

    def __call__(self, prompt: Prompt) -> Reply:
        self.prompts.append(prompt)
        return Reply(next(self.script, write)(), PRICE)


class Trial:
    """A campaign that is generating, and what becomes of it."""

    def __init__(
        self, tenant: Tenant, steps: StepSequence, contacts: int = 1, lacking: Iterable[str] = ()
    ) -> None:
        self.tenant, self.transact = tenant, tenant.transact
        people = self.people(contacts, lacking)
        self.id = tenant.campaign("generating", contacts=people, steps=steps).id

    def people(self, number: int, lacking: Iterable[str] = ()) -> list[UUID]:
        ids = self.tenant.contacts(number)
        with self.tenant.engine.begin() as connection:
            chosen = sa.update(CONTACTS).where(CONTACTS.c.id.in_(ids))
            connection.execute(chosen.values(REACHABLE | dict.fromkeys(lacking)))
        return ids

    def run(self, model: Model, **options: Any) -> None:
        MessageEngine(self.tenant.engine, self.tenant.id, model).run(self.id, **options)

    def apply(self, action: Action) -> None:
        self.transact(lambda store: store.campaigns.apply(self.id, action))

    @property
    def campaign(self) -> Campaign:
        return self.transact(lambda store: store.campaigns.get(self.id))

    @property
    def contacts(self) -> tuple[CampaignContact, ...]:
        return self.transact(lambda store: store.contacts.list(self.id)).items

    @property
    def progress(self) -> Progress:
        return self.transact(lambda store: store.generation.progress(self.id))

    @property
    def failures(self) -> Counter[str | None]:
        return Counter(one.error_code for one in self.contacts)

    @property
    def messages(self) -> list[Any]:
        with self.tenant.engine.begin() as connection:
            rows = connection.execute(sa.select(MESSAGES).where(MESSAGES.c.campaign_id == self.id))
            return [*rows]
