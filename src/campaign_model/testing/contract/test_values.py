"""What is stored comes back as it was: documents, money, moments, long text."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import attrs

from campaign_model._json import canonical
from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME, Campaign, CampaignTemplate
from campaign_model.claims import Failed, Generated, NotReady, Unfinished
from campaign_model.generation_config import MAX_INSTRUCTIONS, GenerationConfig
from campaign_model.lifecycle import Action
from campaign_model.steps import MAX_LABEL, MAX_STEPS, Step, StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaigns
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.contract.work import (
    LEASE,
    apply,
    check_totals,
    claim,
    contacts,
    overwrite,
    progress,
    record,
)
from campaign_model.testing.sample_campaigns import Tenant

FOREIGN = {
    "asset_ids": [1, 2**53, -(2**53), 0.1, 1e-7, 1.5e300, True, None],
    "Größe": {"ß": "ẞ", "emoji": "😀", "quote": "'\"\\", "newline": "\n\t", "": ""},
    "nested": [[[]], [{}], [{"a": [{"b": None}]}]],
}
"""Fields of a service's own, in every shape that JSON has."""

_NANO = Decimal("0.000000001")
_LARGEST = Decimal("999999999.999999999")


def test_documents_come_back_as_they_were(tenant: Tenant) -> None:
    """What a browser or another service put into a campaign, it reads there again.

    Look at the types of template_config and generation_config, and at the database's encoding.
    """
    steps = StepSequence(
        (Step("email", "E-mail", key="first", config=FOREIGN, extra={"x_foreign": FOREIGN}),)
    )
    config = GenerationConfig(
        tone="casual", language="pt-BR", budget=_LARGEST, extra={"x_foreign": FOREIGN}
    )
    campaign = tenant.transact(lambda store: store.campaigns.add(Campaign("c", steps, config)))
    template = tenant.transact(
        lambda store: store.templates.add(CampaignTemplate(f"t {campaign.id}", steps, config))
    )

    def read(store: CampaignStore) -> None:
        for found in (store.campaigns.get(campaign.id), store.templates.get(template.id)):
            assert (found.steps, found.generation_config) == (steps, config)
            # By their texts too: to Python, true is 1.
            assert found.steps.fingerprint == steps.fingerprint
            assert canonical(found.generation_config.extra) == canonical(config.extra)
            assert not found.repairs

    tenant.transact(read)


def test_fields_that_others_wrote_survive_an_edit(tenant: Tenant) -> None:
    """A service saves a campaign, and loses nothing of what another one keeps in it.

    Look at triggers or views that rewrite template_config and generation_config.
    """
    campaign = tenant.transact(lambda store: store.campaigns.add(Campaign("c")))
    steps = [{"channel": "email", "label": "old", **FOREIGN}, {"channel": "email"}]
    overwrite(
        tenant,
        campaigns,
        campaign.id,
        template_config=json.dumps(steps),
        generation_config=json.dumps({"tone": "casual", **FOREIGN}),
    )

    def edit(store: CampaignStore) -> Campaign:
        found = store.campaigns.get(campaign.id)
        return store.campaigns.save(
            attrs.evolve(
                found,
                steps=found.steps.update("s1", label="new"),
                generation_config=attrs.evolve(found.generation_config, language="de"),
            )
        )

    saved = tenant.transact(edit)
    assert saved.steps[0].label == "new"
    assert canonical(saved.steps[0].extra) == canonical(FOREIGN)
    assert saved.generation_config.language == "de"
    assert canonical(saved.generation_config.extra) == canonical(FOREIGN)


def test_the_longest_text_fits(tenant: Tenant) -> None:
    """What the library accepts, the database stores. Look for columns of varchar(n)."""
    campaign = Campaign(
        "n" * MAX_NAME,
        StepSequence(Step("email", "l" * MAX_LABEL) for _ in range(MAX_STEPS)),
        GenerationConfig(custom_instructions="i" * MAX_INSTRUCTIONS),
        description="d" * MAX_DESCRIPTION,
    )
    found = tenant.transact(lambda store: store.campaigns.add(campaign))
    assert (found.name, found.description) == (campaign.name, campaign.description)
    assert (found.steps, found.generation_config) == (campaign.steps, campaign.generation_config)


def test_money_is_exact_to_nine_decimals(tenant: Tenant) -> None:
    """A campaign costs what its messages cost, to the last nano-unit.

    Look for numeric(p, s), float or double columns of money.
    """
    campaign = tenant.campaign("generating", contacts=3)
    costs = (_LARGEST, _NANO, Decimal("0.00144"))
    claims = claim(tenant, campaign.id)
    record(tenant, *((one, Generated(cost)) for one, cost in zip(claims, costs, strict=True)))
    found = contacts(tenant, campaign.id)
    assert [found[one.contact_id].cost for one in claims] == [*costs]
    assert progress(tenant, campaign.id).spent == Decimal("1000000000.001440000")
    check_totals(tenant, campaign.id)
    apply(tenant, campaign.id, Action.COMPLETE_GENERATION)
    listed = tenant.transact(lambda store: store.campaigns.list(limit=500)).items
    (summary,) = [one for one in listed if one.id == campaign.id]
    assert summary.generation_cost == Decimal("1000000000.001440000")


def test_an_unknown_cost_is_not_zero(tenant: Tenant) -> None:
    """Whoever reads a sum is told when it is not all. Look at the columns unknown_costs."""
    campaign = tenant.campaign("generating", contacts=4)
    one, two, three, four = claim(tenant, campaign.id)
    record(
        tenant,
        (one, Generated(None)),
        (two, Failed("code", "message", None)),
        (three, NotReady(("phone",), None)),
        (four, Unfinished(cost=None)),
    )
    now = progress(tenant, campaign.id)
    assert (now.spent, now.unknown_costs) == (Decimal(0), 4)
    check_totals(tenant, campaign.id)


def test_moments_are_the_same_everywhere(tenant: Tenant) -> None:
    """A lease that ends at noon in UTC ends then for every worker, wherever it and the server are.

    Look for columns of timestamp without time zone, and of timestamp(n).
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
    for action in (Action.MARK_READY, Action.START_GENERATION):
        moved = tenant.transact(
            lambda store: store.campaigns.apply(campaign.id, action),  # noqa: B023
            clock=clock,
        )
    assert moved.generation_started_at == moment
    claim(tenant, campaign.id, clock=clock)
    (contact,) = contacts(tenant, campaign.id).values()
    assert contact.lease_expires_at == moment + LEASE
    assert contact.lease_expires_at.utcoffset() == timedelta(0)
    (*_, last) = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert last.at == moment
