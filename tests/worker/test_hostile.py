"""A short hostile run passes, and its audit finds what is lost and unbooked."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

import pytest
import sqlalchemy as sa

import hostile
from campaign_model.claims import Generated
from campaign_model.lifecycle import Action, Status
from campaign_model.testing.sample_campaigns import STEPS
from support import servers
from support.tenants import HOST, new_tenant
from support.workers import slot_values


# Workers wait and retry most of the time; other tests run the same lines.
@pytest.mark.no_cover
def test_every_paid_call_is_booked_while_the_database_misbehaves(
    schema: Callable[[str], str], capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    code = hostile.run(schema(servers.available()[-1]), contacts=60, workers=3, seed=seed)
    output = capsys.readouterr().out
    assert code == 0, output
    last_line = output.splitlines()[-1]
    counts = re.fullmatch(r"hostile: (\d+) faults, \d+ contacts, 0 lost, 0 unbooked", last_line)
    assert counts is not None, output
    assert int(counts[1]) >= len(hostile.NEEDED)


class Damage(NamedTuple):
    """A statement that damages the contact ``:id``, and what the audit must find then."""

    statement: str
    lost: int = 0
    unbooked: int = 0
    problem: str = ""


DAMAGES = [
    Damage("SELECT 1"),
    Damage(
        "UPDATE campaign_contacts SET generation_cost = 1 WHERE id = :id",
        unbooked=1,
        problem="has cost 1 and 0 unknown costs, its ledger has 1.000000001 and 0",
    ),
    Damage(
        "UPDATE campaign_contacts SET unknown_costs = 1 WHERE id = :id",
        unbooked=1,
        problem="has cost 1.000000001 and 1 unknown costs",
    ),
    Damage(
        "UPDATE campaign_contacts SET status = 'pending' WHERE id = :id",
        lost=1,
        problem="is pending",
    ),
    Damage(
        "UPDATE campaign_contacts SET status = 'failed', error_code = 'save_failed' WHERE id = :id",
        lost=1,
        problem="is failed: save_failed",
    ),
    Damage(
        "DELETE FROM messages WHERE campaign_contact_id = :id AND step_key = 's1'",
        lost=1,
        problem="is generated",
    ),
    Damage(
        "UPDATE messages SET variant = 'a' WHERE campaign_contact_id = :id AND step_key = 's2'",
        lost=1,
        problem="has [1, 2, 0] messages",
    ),
    Damage(
        "UPDATE campaign_totals SET cost = cost + 0.000000001",
        problem="cost is 2.000000003 in campaign_totals",
    ),
    Damage("UPDATE campaigns SET generation_cost = 2", problem="its row has 2"),
]


def test_the_audit_finds_what_is_lost_and_unbooked(schema: Callable[[str], str]) -> None:
    engine = sa.create_engine(schema(servers.available()[-1]))
    cost = Decimal("1.000000001")
    for statement, lost, unbooked, problem in DAMAGES:
        tenant, ledger = new_tenant(engine), hostile.Ledger()
        campaign = tenant.campaign(Status.GENERATING, contacts=2)
        claims = tenant.claim(campaign.id)
        tenant.record(dict.fromkeys(claims, Generated(cost)))
        tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
        with engine.begin() as connection:
            for claim in claims:
                ledger.calls.append((claim.id, cost))
                connection.execute(
                    sa.insert(HOST.messages),
                    [slot_values(tenant.id, claim, slot) for slot in STEPS.slots()],
                )
            connection.execute(sa.text(statement), {"id": claims[0].id})
        findings = hostile.audit([(tenant, campaign.id)], ledger)
        assert (len(findings.lost), len(findings.unbooked)) == (lost, unbooked), statement
        assert problem in "\n".join(findings.problems), statement
        assert bool(findings.problems) == bool(problem), findings.problems
    engine.dispose()
