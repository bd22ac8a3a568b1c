"""The chaos runs in their short form, and that what they look for would be found."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID, uuid4

import sqlalchemy as sa

import chaos
from campaign_model.claims import Generated
from campaign_model.lifecycle import Action, Status
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from support.tenants import HOST, new_tenant


def test_workers_and_the_server_are_killed_and_nothing_is_lost_or_doubled() -> None:
    run = subprocess.run(
        [
            *(sys.executable, chaos.__file__, "--workers=3"),
            *("--contacts=250", "--kills=10", "--server-contacts=150", "--server-kills=1"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    last = run.stdout.splitlines()[-1]
    told = re.fullmatch(r"chaos: (\d+) kills, 400 contacts, 0 lost, 0 doubled", last)
    assert told is not None, run.stdout
    assert int(told[1]) >= 12


DAMAGE = {
    # What is done to one contact, and how many are lost and doubled then, and what is wrong.
    "SELECT 1": (0, 0, ""),
    "DELETE FROM messages WHERE campaign_contact_id = :id AND step_key = 's1'": (1, 0, ""),
    "UPDATE messages SET id = :new, variant = 'a' WHERE campaign_contact_id = :id"
    " AND step_key = 's2' AND variant = 'b'": (1, 1, ""),
    "INSERT INTO ledger SELECT :new, campaign_contact_id, :new, kind, answer, 0"
    " FROM ledger WHERE campaign_contact_id = :id": (0, 1, ""),
    "INSERT INTO ledger SELECT :new, campaign_contact_id, token, kind, 'booked', 0"
    " FROM ledger WHERE campaign_contact_id = :id": (0, 1, ""),
    "DELETE FROM ledger WHERE campaign_contact_id = :id": (1, 0, "cost 1.000000001 and 0 times"),
    "UPDATE ledger SET cost = NULL WHERE campaign_contact_id = :id": (0, 0, "and 1 times one"),
    "UPDATE campaign_contacts SET generation_cost = 1 WHERE id = :id": (0, 0, "cost 1 and 0 times"),
    "UPDATE campaign_totals SET cost = cost + 0.000000001": (
        0,
        0,
        "cost is 2.000000003 in campaign_totals",
    ),
    "UPDATE campaigns SET generation_cost = 2": (0, 0, "2 by its own row"),
    "UPDATE campaign_contacts SET status = 'pending' WHERE id = :id": (1, 0, "generated is 2 in"),
    "UPDATE campaign_contacts SET status = 'failed', error_code = 'generate_failed'"
    " WHERE id = :id": (0, 0, "failed: generate_failed"),
}


def test_whatever_is_lost_doubled_or_paid_for_in_vain_is_found(
    schema: Callable[[str], str],
) -> None:
    engine = sa.create_engine(schema("postgresql-18"))
    chaos.ledger.create(engine)
    for statement, (lost, doubled, wrong) in DAMAGE.items():
        tenant = new_tenant(engine)
        campaign_id, ids = worked_on(tenant)
        with engine.begin() as connection:
            connection.execute(sa.text(statement), {"id": ids[0], "new": uuid4()})
        found = chaos.audit(tenant, campaign_id)
        assert (len(found.lost), len(found.doubled)) == (lost, doubled), statement
        assert wrong in "\n".join(found.wrong), statement
        assert bool(found.wrong) == bool(wrong), found.wrong
    engine.dispose()


def worked_on(tenant: Tenant) -> tuple[UUID, list[UUID]]:
    """A campaign of two contacts, as a chaos run in which nothing went wrong leaves it."""
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    outcome = Generated(Decimal("1.000000001"))
    claims = tenant.claim(campaign.id)
    tenant.transact(lambda store: store.generation.record(dict.fromkeys(claims, outcome)))
    tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    with tenant.engine.begin() as connection:
        for claim in claims:
            connection.execute(
                sa.insert(chaos.ledger).values(
                    id=uuid4(),
                    campaign_contact_id=claim.id,
                    token=claim.token,
                    kind="Generated",
                    answer="applied",
                    cost=outcome.cost,
                )
            )
            connection.execute(
                sa.insert(HOST.messages),
                [
                    {
                        "id": slot.message_id(claim.id, claim.revision),
                        "tenant_id": tenant.id,
                        "campaign_id": campaign.id,
                        "campaign_contact_id": claim.id,
                        "contact_id": claim.contact_id,
                        "step_key": slot.step_key,
                        "variant": slot.variant,
                        "channel": slot.channel,
                        "body": "Hello",
                    }
                    for slot in STEPS.slots()
                ],
            )
    return campaign.id, [claim.id for claim in claims]
