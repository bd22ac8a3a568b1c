"""A short chaos run passes, and its audit finds every kind of damage."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, cast
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

import chaos
import chaos_export
from campaign_model.claims import Generated
from campaign_model.lifecycle import Action, Status
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant
from support import servers
from support.tenants import HOST, new_tenant
from support.workers import slot_values


@pytest.mark.long
def test_nothing_is_lost_or_doubled_when_workers_exporters_and_the_server_are_killed(
    seed: int,
) -> None:
    run = subprocess.run(
        [
            *(sys.executable, chaos.__file__, "--workers=3", f"--seed={seed}"),
            *("--contacts=200", "--kills=8", "--server-contacts=100", "--server-kills=1"),
            *("--export-contacts=100", "--export-kills=6"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    last_line = run.stdout.splitlines()[-1]
    counts = re.fullmatch(r"chaos: (\d+) kills, 400 contacts, 0 lost, 0 doubled", last_line)
    assert counts is not None, run.stdout
    assert int(counts[1]) >= 17


class Damage(NamedTuple):
    """A statement that damages the contact ``:id``, and what the audit must find then."""

    statement: str
    lost: int = 0
    doubled: int = 0
    problem: str = ""


DAMAGES = [
    Damage("SELECT 1"),
    Damage("DELETE FROM messages WHERE campaign_contact_id = :id AND step_key = 's1'", lost=1),
    Damage(
        "UPDATE messages SET id = :new, variant = 'a' WHERE campaign_contact_id = :id"
        " AND step_key = 's2' AND variant = 'b'",
        lost=1,
        doubled=1,
    ),
    Damage(
        "INSERT INTO ledger SELECT :new, campaign_contact_id, :new, kind, answer, 0"
        " FROM ledger WHERE campaign_contact_id = :id",
        doubled=1,
    ),
    Damage(
        "INSERT INTO ledger SELECT :new, campaign_contact_id, token, kind, 'booked', 0"
        " FROM ledger WHERE campaign_contact_id = :id",
        doubled=1,
    ),
    Damage(
        "DELETE FROM ledger WHERE campaign_contact_id = :id",
        lost=1,
        problem="has cost 1.000000001 and 0 unknown costs, its ledger has 0 and 0",
    ),
    Damage(
        "UPDATE ledger SET cost = NULL WHERE campaign_contact_id = :id",
        problem="its ledger has 0 and 1",
    ),
    Damage(
        "UPDATE campaign_contacts SET generation_cost = 1 WHERE id = :id",
        problem="has cost 1 and 0 unknown costs",
    ),
    Damage(
        "UPDATE campaign_totals SET cost = cost + 0.000000001",
        problem="cost is 2.000000003 in campaign_totals",
    ),
    Damage("UPDATE campaigns SET generation_cost = 2", problem="its row has 2"),
    Damage(
        "UPDATE campaign_contacts SET status = 'pending' WHERE id = :id",
        lost=1,
        problem="generated is 2 in",
    ),
    Damage(
        "UPDATE campaign_contacts SET status = 'failed', error_code = 'generate_failed'"
        " WHERE id = :id",
        problem="failed: generate_failed",
    ),
]


def test_the_audit_finds_every_kind_of_damage(schema: Callable[[str], str]) -> None:
    engine = sa.create_engine(schema("postgresql-18"))
    chaos.ledger.create(engine)
    for statement, lost, doubled, problem in DAMAGES:
        tenant = new_tenant(engine)
        campaign_id, ids = finish_campaign(tenant)
        with engine.begin() as connection:
            connection.execute(sa.text(statement), {"id": ids[0], "new": uuid4()})
        findings = chaos.audit(tenant, campaign_id)
        assert (len(findings.lost), len(findings.doubled)) == (lost, doubled), statement
        assert problem in "\n".join(findings.problems), statement
        assert bool(findings.problems) == bool(problem), findings.problems
    engine.dispose()


def finish_campaign(tenant: Tenant) -> tuple[UUID, list[UUID]]:
    """Make a campaign of two contacts as a chaos run without faults leaves it."""
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    outcome = Generated(Decimal("1.000000001"))
    claims = tenant.claim(campaign.id)
    tenant.record(dict.fromkeys(claims, outcome))
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
                [slot_values(tenant.id, claim, slot) for slot in STEPS.slots()],
            )
    return campaign.id, [claim.id for claim in claims]


# --- Export --------------------------------------------------------------------------------------

DIED, ENDED = 1, 2
"""Processes that exported."""

PUSHES: dict[str, tuple[list[tuple[int, int, float]], int, int]] = {
    "once": ([(DIED, 0, 1.0), (ENDED, 1, 1.0)], 0, 0),
    "again after a death": ([(DIED, 0, 1.0), (ENDED, 1, 2.0), (ENDED, 0, 3.0)], 0, 0),
    "again after an outage": ([(ENDED, 0, 9.0), (ENDED, 1, 9.0), (ENDED, 0, 11.0)], 0, 0),
    "again without a reason": ([(ENDED, 0, 1.0), (ENDED, 1, 1.0), (ENDED, 0, 2.0)], 0, 1),
    "again after a mark": (
        [(DIED, 0, 1.0), *[(DIED, 1, 1.0)] * chaos_export.CONCURRENCY, (ENDED, 0, 2.0)],
        0,
        1,
    ),
    "never": ([(ENDED, 0, 1.0)], 1, 0),
}
"""Pushes (process, contact, time), and how many contacts are lost and doubled then."""


def test_the_audit_of_an_export_finds_what_is_lost_and_doubled(
    schema: Callable[[str], str], tmp_path: Path
) -> None:
    engine = sa.create_engine(schema("postgresql-18"))
    for name, (pushes, lost, doubled) in PUSHES.items():
        tenant = new_tenant(engine)
        campaign = tenant.campaign(Status.EXPORTED, contacts=2)
        claims = tenant.transact(lambda store: store.export.claim(campaign.id, 2, LEASE)).claims  # noqa: B023
        tenant.transact(lambda store: store.export.record(claims))  # noqa: B023
        receiver = chaos_export.Receiver(tmp_path / name)
        receiver.create()
        for pid, number, at in pushes:
            claim = claims[number]
            ids = [slot.message_id(claim.id, claim.revision) for slot in STEPS.slots()]
            receiver.receive(chaos_export.Push(pid, claim.id, at), ids)
        phase = chaos_export.ExportPhase(
            *(tenant, cast("servers.Server", None), 2, 1, 0, 0), receiver=receiver
        )
        phase.outages.append((10.0, 10.5))
        findings = phase.audit(campaign.id, {DIED: -9, ENDED: 0})
        assert (len(findings.lost), len(findings.doubled)) == (lost, doubled), name
        assert findings.problems == []
    engine.dispose()
