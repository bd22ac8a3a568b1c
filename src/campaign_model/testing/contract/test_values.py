"""Documents, money, moments and long texts come back from the database unchanged."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import attrs
import sqlalchemy as sa

from campaign_model._json import canonical
from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME, Campaign, CampaignTemplate
from campaign_model.claims import Failed, Generated, NotReady, Unfinished
from campaign_model.generation_config import MAX_INSTRUCTIONS, GenerationConfig
from campaign_model.lifecycle import Action
from campaign_model.steps import MAX_LABEL, MAX_STEPS, Step, StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaigns
from campaign_model.store.tenant_setting import choose_tenant
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import LEASE, Tenant

UNKNOWN: dict[str, Any] = {
    "asset_ids": [1, 2**53, -(2**53), 0.1, 1e-7, 1.5e300, True, None],
    "Größe": {"ß": "ẞ", "emoji": "😀", "quote": "'\"\\", "newline": "\n\t", "": ""},
    "nested": [[[]], [{}], [{"a": [{"b": None}]}]],
}
"""Fields that the library does not know, with every kind of JSON value."""

_NANO = Decimal("0.000000001")
_LARGEST = Decimal("999999999.999999999")


def test_documents_round_trip_unchanged(tenant: Tenant) -> None:
    """A browser or a service reads from a campaign what it wrote there.

    If this fails, check the types of template_config and generation_config, and the database's
    encoding.
    """
    steps = StepSequence(
        (Step("email", "E-mail", key="first", config=UNKNOWN, extra={"x_foreign": UNKNOWN}),)
    )
    config = GenerationConfig(
        tone="casual", language="pt-BR", budget=_LARGEST, extra={"x_foreign": UNKNOWN}
    )
    campaign = tenant.transact(lambda store: store.campaigns.add(Campaign("c", steps, config)))
    template = tenant.transact(
        lambda store: store.templates.add(CampaignTemplate(f"t {campaign.id}", steps, config))
    )

    def read(store: CampaignStore) -> None:
        for stored in (store.campaigns.get(campaign.id), store.templates.get(template.id)):
            assert (stored.steps, stored.generation_config) == (steps, config)
            # Compare the texts too: for Python, true equals 1.
            assert stored.steps.fingerprint == steps.fingerprint
            assert canonical(stored.generation_config.extra) == canonical(config.extra)
            assert not stored.repairs

    tenant.transact(read)


def test_unknown_fields_survive_an_edit(tenant: Tenant) -> None:
    """A service that saves a campaign keeps the fields of other services in it.

    If this fails, look for triggers or views that rewrite template_config or generation_config.
    """
    campaign = tenant.transact(lambda store: store.campaigns.add(Campaign("c")))
    steps = [{"channel": "email", "label": "old", **UNKNOWN}, {"channel": "email"}]
    # Another service writes the row. Its steps have no keys, so the library calls them s1 and s2.
    with tenant.engine.begin() as connection:
        choose_tenant(connection, tenant.id)
        connection.execute(
            sa.update(campaigns)
            .where(campaigns.c.tenant_id == tenant.id, campaigns.c.id == campaign.id)
            .values(
                template_config=json.dumps(steps),
                generation_config=json.dumps({"tone": "casual", **UNKNOWN}),
            )
        )

    def edit(store: CampaignStore) -> Campaign:
        stored = store.campaigns.get(campaign.id)
        return store.campaigns.save(
            attrs.evolve(
                stored,
                steps=stored.steps.update("s1", label="new"),
                generation_config=attrs.evolve(stored.generation_config, language="de"),
            )
        )

    saved = tenant.transact(edit)
    assert saved.steps[0].label == "new"
    assert canonical(saved.steps[0].extra) == canonical(UNKNOWN)
    assert saved.generation_config.language == "de"
    assert canonical(saved.generation_config.extra) == canonical(UNKNOWN)


def test_the_longest_text_fits(tenant: Tenant) -> None:
    """The database stores every text that the library accepts.

    If this fails, look for columns of type varchar(n).
    """
    campaign = Campaign(
        "n" * MAX_NAME,
        StepSequence(Step("email", "l" * MAX_LABEL) for _ in range(MAX_STEPS)),
        GenerationConfig(custom_instructions="i" * MAX_INSTRUCTIONS),
        description="d" * MAX_DESCRIPTION,
    )
    tenant.transact(lambda store: store.campaigns.add(campaign))
    stored = tenant.transact(lambda store: store.campaigns.get(campaign.id))
    assert (stored.name, stored.description) == (campaign.name, campaign.description)
    assert (stored.steps, stored.generation_config) == (campaign.steps, campaign.generation_config)


def test_money_is_exact_to_nine_decimals(tenant: Tenant) -> None:
    """The cost of a campaign is the exact sum of its messages' costs.

    If this fails, look for money in columns of type numeric(p, s), float or double.
    """
    campaign = tenant.campaign("generating", contacts=3)
    costs = (_LARGEST, _NANO, Decimal("0.00144"))
    claims = tenant.claim(campaign.id)
    tenant.record({claim: Generated(cost) for claim, cost in zip(claims, costs, strict=True)})
    contacts = tenant.campaign_contacts(campaign.id)
    assert [contacts[claim.contact_id].cost for claim in claims] == [*costs]
    assert tenant.progress(campaign.id).spent == Decimal("1000000000.001440000")
    tenant.check_totals(campaign.id)
    tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    page = tenant.transact(lambda store: store.campaigns.list(limit=500))
    (summary,) = [one for one in page.items if one.id == campaign.id]
    assert summary.generation_cost == Decimal("1000000000.001440000")


def test_an_unknown_cost_is_counted(tenant: Tenant) -> None:
    """A reader of a sum sees when costs are missing from it.

    If this fails, check the columns named unknown_costs.
    """
    campaign = tenant.campaign("generating", contacts=4)
    one, two, three, four = tenant.claim(campaign.id)
    tenant.record(
        {
            one: Generated(None),
            two: Failed("code", "message", None),
            three: NotReady(("phone",), None),
            four: Unfinished(cost=None),
        }
    )
    progress = tenant.progress(campaign.id)
    assert (progress.spent, progress.unknown_costs) == (Decimal(0), 4)
    tenant.check_totals(campaign.id)


def test_moments_are_exact_in_any_time_zone(tenant: Tenant) -> None:
    """A lease expires at the same moment for every worker, wherever worker and server are.

    If this fails, look for columns of type timestamp without time zone, and of timestamp(n).
    """
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    moment = datetime(2036, 3, 30, 2, 30, 0, 123457, kathmandu)
    clock = FrozenClock(moment)
    campaign = tenant.transact(
        lambda store: store.campaigns.add(Campaign("c", StepSequence((Step("email", "E-mail"),)))),
        clock=clock,
    )
    assert campaign.created_at == moment
    tenant.transact(lambda store: store.contacts.assign(campaign.id, tenant.contacts(1)))
    running = tenant.apply(campaign.id, Action.MARK_READY, Action.START_GENERATION, clock=clock)
    assert running.generation_started_at == moment
    tenant.claim(campaign.id, clock=clock)
    (contact,) = tenant.campaign_contacts(campaign.id).values()
    assert contact.lease_expires_at == moment + LEASE
    assert contact.lease_expires_at.utcoffset() == timedelta(0)  # Times are returned in UTC.
    (*_, last_entry) = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert last_entry.at == moment
