"""Failure 25: no deadlocks, because every method takes its locks in the same order.

The order is: the campaign, its contacts by id, claims of erased contacts by id, totals. A new
method of the store must be added to one of the tables below.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.claims import Claim, Failed, Generated, Outcome, Recorded, Unfinished
from campaign_model.errors import LeaseLost
from campaign_model.lifecycle import Action, Status
from campaign_model.store import CampaignStore, claiming
from campaign_model.store.campaigns import Campaigns
from campaign_model.store.contacts import Contacts
from campaign_model.store.export import Export
from campaign_model.store.generation import Generation
from campaign_model.store.tables import campaign_contacts, campaign_erased_claims
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.parallel import Work, background_transactions
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant
from support.tenants import HOST
from support.transactions import (
    on_newest_postgresql,
    on_postgresql,
    open_store,
    run_while_open,
    statements_of,
)

Call = Callable[[CampaignStore, UUID], Any]

LOCK_ORDER = {
    "campaign": r"pg_advisory_xact_lock|UPDATE campaigns\b",
    "contacts": r"(FROM|JOIN|UPDATE) campaign_contacts\b",
    "erased claims": r"FROM campaign_erased_claims\b",
    "totals": r"(FROM|UPDATE|INTO) campaign_totals\b",
}
"""What can be locked, in order, and the SQL that locks it."""

SHARED_CALLS = {"claim", "renew", "checkpoint", "record", "release", "get"}
"""Methods that lock the campaign row shared."""


def contact_ids(store: CampaignStore, campaign_id: UUID) -> list[UUID]:
    return [contact.contact_id for contact in store.contacts.list(campaign_id).items]


EXCLUSIVE_CALLS: dict[str, Call] = {
    "assign": lambda store, id_: store.contacts.assign(
        id_, contact_ids(store, id_), skip_active=True
    ),
    "remove": lambda store, id_: store.contacts.remove(id_, contact_ids(store, id_)),
    "exclude": lambda store, id_: store.contacts.exclude(id_, contact_ids(store, id_)),
    "include": lambda store, id_: store.contacts.include(id_, contact_ids(store, id_)),
    "set_readiness": lambda store, id_: store.contacts.set_readiness(
        id_, {contact_id: ["email"] for contact_id in contact_ids(store, id_)}
    ),
    "erase": lambda store, id_: store.contacts.erase(contact_ids(store, id_)),
    "retry_failed": lambda store, id_: store.generation.retry_failed(id_),
    "regenerate": lambda store, id_: store.generation.regenerate(id_),
    "apply": lambda store, id_: store.campaigns.apply(id_, Action.RETURN_TO_DRAFT),
    "save": lambda store, id_: store.campaigns.save(
        attrs.evolve(store.campaigns.get(id_), name="Other")
    ),
    "clone": lambda store, id_: store.campaigns.clone(id_),
    "get": lambda store, id_: store.campaigns.get(id_, lock=True),
    "exportable": lambda store, id_: store.contacts.exportable(id_),
}
"""Methods that lock the campaign row exclusively."""

READS: dict[str, Call] = {
    "get": lambda store, id_: store.campaigns.get(id_),
    "actions": lambda store, id_: store.campaigns.actions(id_),
    "history": lambda store, id_: store.campaigns.history(id_),
    "present_messages": lambda store, id_: store.campaigns.present_messages(id_, HOST.messages),
    "review_tally": lambda store, id_: store.campaigns.review_tally(
        id_,
        HOST.messages,
        is_approved=HOST.messages.c.status == "approved",
        is_rejected=HOST.messages.c.status == "rejected",
    ),
    "list": lambda store, id_: (store.campaigns.list(), store.contacts.list(id_)),
    "count_by_status": lambda store, _: store.campaigns.count_by_status(search="x"),
    "overlaps": lambda store, id_: store.contacts.overlaps(id_),
    "progress": lambda store, id_: store.generation.progress(id_),
    "estimate": lambda store, id_: store.generation.estimate(id_),
}
"""Methods that lock nothing."""


def locking_statements(tenant: Tenant, work: Callable[[CampaignStore], object]) -> list[str]:
    """Return the statements with which ``work`` takes locks."""
    statements = [" ".join(statement.split()) for statement, _ in statements_of(tenant, work)]
    takes_locks = r"^(INSERT|UPDATE|DELETE|WITH)|\bFOR (SHARE|(NO KEY )?UPDATE)|pg_advisory"
    return [statement for statement in statements if re.search(takes_locks, statement)]


def locked_objects(statements: list[str]) -> list[str]:
    """Return what the statements lock, in the order of the first lock on each.

    The parts of one statement run in the order of its text, because each part reads from the part
    before it.
    """
    locked = []
    for statement in statements:
        matches = {name: re.search(pattern, statement) for name, pattern in LOCK_ORDER.items()}
        positions = {match.start(): name for name, match in matches.items() if match}
        assert positions, statement
        locked += [positions[position] for position in sorted(positions)]
    return [*dict.fromkeys(locked)]


def test_every_method_is_in_one_of_the_tables() -> None:
    methods = {
        name
        for group in (Campaigns, Contacts, Generation, Export)
        for name in vars(group)
        if not name.startswith("_")
    }
    # No other transaction can know a campaign that is being added.
    assert methods == SHARED_CALLS | EXCLUSIVE_CALLS.keys() | READS.keys() | {"add"}


# The statements are the same on every PostgreSQL. SQLite has one lock for the whole file.


@on_newest_postgresql
@pytest.mark.parametrize("budget", [None, Decimal(100)], ids=["no budget", "budget"])
def test_failure_25_shared_calls_take_locks_in_one_order(
    tenant: Tenant, budget: Decimal | None
) -> None:
    campaign = tenant.campaign("generating", contacts=5, budget=budget)
    *claims, erased = tenant.claim(campaign.id, 4, reserve=CENT)
    tenant.transact(lambda store: store.contacts.erase([erased.contact_id]))
    outcomes: dict[Claim, Outcome] = {
        claims[2]: Unfinished(),
        erased: Generated(CENT),
        claims[0]: Generated(CENT),
        claims[1]: Failed("no", "no", CENT),
    }
    calls: dict[str, Callable[[CampaignStore], object]] = {
        "claim": lambda store: store.generation.claim(campaign.id, 5, LEASE, reserve=CENT),
        "renew": lambda store: store.generation.renew(claims, LEASE),
        "checkpoint": lambda store: store.generation.checkpoint(claims[0], CENT),
        "record": lambda store: store.generation.record(outcomes, on_lost="book"),
        "release": lambda store: store.generation.release(claims),
        "get": lambda store: store.campaigns.get(campaign.id, lock="share"),
    }
    assert calls.keys() == SHARED_CALLS
    statements_by_call = {}
    for name, call in calls.items():
        claiming.documents_last_read.clear()  # A record then sorts its claims before it writes.
        statements_by_call[name] = locking_statements(tenant, call)
    for name, statements in statements_by_call.items():
        if name == "get":
            statements = ["; ".join(statements)]  # noqa: PLW2901 - two statements do it
        gate_then_row = r"pg_advisory_xact_lock_shared\(.* FOR SHARE"
        assert re.search(gate_then_row, statements[0], re.DOTALL), name
        if name == "claim":
            # A claim never waits for a contact, so it may lock contacts after totals.
            claims_of_contacts = [one for one in statements if "UPDATE campaign_contacts" in one]
            assert claims_of_contacts
            assert all("SKIP LOCKED" in one for one in claims_of_contacts)
            assert {*locked_objects(statements)} == {"campaign", "contacts", "totals"}
        else:
            locked = locked_objects(statements)
            assert locked == sorted(locked, key=[*LOCK_ORDER].index), name
    assert locked_objects(statements_by_call["record"]) == [*LOCK_ORDER]


@on_newest_postgresql
def test_failure_25_calls_of_exporters_take_locks_in_one_order(tenant: Tenant) -> None:
    campaign = tenant.campaign("exported", contacts=3)
    clock = FrozenClock()
    claims = tenant.transact(
        lambda store: store.export.claim(campaign.id, 2, LEASE), clock=clock
    ).claims
    calls: dict[str, Callable[[CampaignStore], object]] = {
        # The two leases have expired long ago.
        "claim": lambda store: store.export.claim(campaign.id, 5, LEASE),
        "renew": lambda store: store.export.renew(claims, LEASE),
        "record": lambda store: store.export.record(claims[:1], release=claims[1:]),
        "release": lambda store: store.export.release(claims),
    }
    for name, call in calls.items():
        statements = locking_statements(tenant, call)
        gate_then_row = r"pg_advisory_xact_lock_shared\(.* FOR NO KEY UPDATE OF campaigns"
        assert re.search(gate_then_row, statements[0], re.DOTALL), name
        locked = locked_objects(statements)
        assert locked == ["campaign", "contacts", *(["totals"] if name == "record" else [])], name
        finding = [one for one in statements[1:] if "FOR NO KEY UPDATE" in one]
        assert all("SKIP LOCKED" in one for one in finding), name
        assert bool(finding) == (name == "claim"), name


@on_newest_postgresql
@pytest.mark.parametrize("method", EXCLUSIVE_CALLS)
def test_failure_25_exclusive_calls_lock_the_campaign_first(tenant: Tenant, method: str) -> None:
    status = Status.APPROVED if method == "exportable" else Status.READY
    campaign = tenant.campaign(status, contacts=2)
    gate, row, *_ = locking_statements(
        tenant, lambda store: EXCLUSIVE_CALLS[method](store, campaign.id)
    )
    assert re.search(r"pg_advisory_xact_lock\(.* FROM campaigns", gate)
    assert re.search(r"FROM campaigns .* FOR NO KEY UPDATE", row, re.DOTALL)


@on_newest_postgresql
@pytest.mark.parametrize("method", READS)
def test_a_read_locks_nothing(tenant: Tenant, method: str) -> None:
    campaign = tenant.campaign("generating", contacts=2)
    assert locking_statements(tenant, lambda store: READS[method](store, campaign.id)) == []


# Locks on rows.


@on_postgresql
@pytest.mark.parametrize("call", ["record", "renew"])
def test_failure_25_contacts_are_locked_in_the_order_of_their_ids(
    tenant: Tenant, call: str
) -> None:
    campaign = tenant.campaign("generating", contacts=40)
    claims = sorted(tenant.claim(campaign.id), key=lambda claim: claim.id)

    def work(store: CampaignStore) -> None:
        # Without indexes, rows come in the order on disk, unless the statement sorts them.
        for plan in ("indexscan", "bitmapscan"):
            store.connection.execute(sa.text(f"SET LOCAL enable_{plan} = off"))
        if call == "record":
            store.generation.record(dict.fromkeys(reversed(claims), Generated(CENT)))
        else:
            store.generation.renew(reversed(claims), LEASE)

    table = campaign_contacts
    with background_transactions(tenant) as background, tenant.engine.begin() as connection:
        middle = sa.select(table.c.id).where(table.c.id == claims[20].id).with_for_update()
        connection.execute(middle)
        future = background.start(work, attempts=1)
        assert background.wait_until_blocked(connection)
        free_ids = connection.scalars(
            sa.select(table.c.id)
            .where(table.c.campaign_id == campaign.id)
            .with_for_update(skip_locked=True)
        ).all()
        # The call holds the contacts before the middle one, and none after it.
        assert {*free_ids} == {claim.id for claim in claims[20:]}
        connection.rollback()
        assert future.exception() is None
    tenant.check_totals(campaign.id)


@on_postgresql
def test_failure_25_erased_claims_are_booked_in_the_order_of_their_ids(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=6)
    claims = sorted(tenant.claim(campaign.id), key=lambda claim: claim.id)
    tenant.transact(lambda store: store.contacts.erase([claim.contact_id for claim in claims]))
    outcomes = dict.fromkeys(reversed(claims), Generated(CENT))
    table = campaign_erased_claims
    with background_transactions(tenant) as background, tenant.engine.begin() as connection:
        first = table.c.campaign_contact_id == claims[0].id
        connection.execute(sa.select(table).where(first).with_for_update())
        future = background.start(
            lambda store: store.generation.record(outcomes, on_lost="book"), attempts=1
        )
        assert background.wait_until_blocked(connection)
        of_campaign = sa.select(table).where(table.c.campaign_id == campaign.id)
        free = connection.execute(of_campaign.with_for_update(skip_locked=True)).all()
        assert len(free) == 6
        connection.rollback()
        assert {*future.result().values()} == {Recorded.BOOKED}
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("budget", [None, Decimal(100)], ids=["no budget", "budget"])
def test_failure_25_batches_recorded_in_opposite_orders_do_not_deadlock(
    tenant: Tenant, budget: Decimal | None
) -> None:
    campaign = tenant.campaign("generating", contacts=20, budget=budget)
    clock = FrozenClock()
    stale = tenant.claim(campaign.id, reserve=CENT, clock=clock)
    clock.forward(LEASE)
    fresh = tenant.claim(campaign.id, reserve=CENT, clock=clock)
    half_ids = {claim.id for claim in stale[:10]}
    batches = (
        [claim for claim in fresh if claim.id in half_ids],
        [claim for claim in fresh if claim.id not in half_ids],
        [*stale],
        [*reversed(stale)],
    )

    def recording(batch: list[Claim]) -> Work:
        outcomes = dict.fromkeys(batch, Generated(CENT))
        return lambda store: store.generation.record(outcomes, on_lost="book")

    answers = run_while_open(
        tenant,
        first=lambda store: store.campaigns.get(campaign.id, lock=True),
        others=[recording(batch) for batch in batches],
    )
    assert [len(answer) for answer in answers] == [10, 10, 20, 20]
    assert tenant.progress(campaign.id).spent == 40 * CENT
    tenant.check_totals(campaign.id)


def test_failure_25_a_claim_that_has_locked_totals_does_not_wait_for_contacts(
    tenant: Tenant,
) -> None:
    campaign = tenant.campaign("generating", contacts=2, budget=Decimal(1))
    clock = FrozenClock()
    (claim,) = tenant.claim(campaign.id, 1, reserve=CENT, clock=clock)
    with background_transactions(tenant) as background:
        with open_store(tenant, clock=clock) as store:
            store.generation.claim(campaign.id, 1, LEASE, reserve=CENT)
            # The record locks its contact, and then waits for the totals.
            future = background.start(
                lambda store: store.generation.record({claim: Generated(CENT)}), attempts=1
            )
            background.wait_until_blocked(store.connection)
            clock.forward(LEASE)
            taken_over = store.generation.claim(campaign.id, 2, LEASE, reserve=CENT).claims
        answer = future.exception() or future.result()
    if claim.id in {one.id for one in taken_over}:
        # On SQLite the record begins after the takeover.
        assert isinstance(answer, LeaseLost)
    else:
        assert answer == {claim: Recorded.APPLIED}
    tenant.check_totals(campaign.id)
