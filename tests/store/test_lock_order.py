"""Failure 25 by construction: every method takes its locks in the order that store.scope tells.

A new method of the store has to say here where it stands.
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

from campaign_model.claims import Claim, Failed, Generated, Outcome, Unfinished
from campaign_model.lifecycle import Action, Status
from campaign_model.store import CampaignStore, campaign_documents
from campaign_model.store.campaigns import Campaigns
from campaign_model.store.contacts import Contacts
from campaign_model.store.generation import Generation
from support import servers
from support.world import LEASE, World

CENT = Decimal("0.01")

Work = Callable[[CampaignStore, UUID], Any]

ORDER = {
    "campaign": r"pg_advisory_xact_lock|UPDATE campaigns\b",
    "contacts": r"(FROM|JOIN|UPDATE) campaign_contacts\b",
    "erased claims": r"FROM campaign_erased_claims\b",
    "totals": r"(FROM|UPDATE|INTO) campaign_totals\b",
}
"""What there is to lock, and the statements that do."""

SHARING = {"claim", "renew", "checkpoint", "record", "release"}

ALONE: dict[str, Work] = {
    "assign": lambda store, id_: store.contacts.assign(id_, ids(store, id_)),
    "remove": lambda store, id_: store.contacts.remove(id_, ids(store, id_)),
    "exclude": lambda store, id_: store.contacts.exclude(id_, ids(store, id_)),
    "include": lambda store, id_: store.contacts.include(id_, ids(store, id_)),
    "set_readiness": lambda store, id_: store.contacts.set_readiness(
        id_, {one: ["email"] for one in ids(store, id_)}
    ),
    "erase": lambda store, id_: store.contacts.erase(ids(store, id_)),
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

LOOKING: dict[str, Work] = {
    "get": lambda store, id_: store.campaigns.get(id_),
    "actions": lambda store, id_: store.campaigns.actions(id_),
    "history": lambda store, id_: store.campaigns.history(id_),
    "list": lambda store, id_: (store.campaigns.list(), store.contacts.list(id_)),
    "overlaps": lambda store, id_: store.contacts.overlaps(id_),
    "progress": lambda store, id_: store.generation.progress(id_),
    "estimate": lambda store, id_: store.generation.estimate(id_),
}


def ids(store: CampaignStore, campaign_id: UUID) -> list[UUID]:
    return [one.contact_id for one in store.contacts.list(campaign_id).items]


def locking(world: World, work: Callable[[CampaignStore], object]) -> list[str]:
    """The statements with which ``work`` locks something; it is rolled back."""
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        plain = " ".join(statement.split())
        if re.search(
            r"^(INSERT|UPDATE|DELETE|WITH)|\bFOR (SHARE|(NO KEY )?UPDATE)|pg_advisory", plain
        ):
            statements.append(plain)

    with world.engine.connect() as connection, connection.begin():
        sa.event.listen(connection, "before_cursor_execute", note)
        work(CampaignStore(connection, world.tenant_id))
        sa.event.remove(connection, "before_cursor_execute", note)
        connection.rollback()
    return statements


def places(statements: list[str]) -> list[str]:
    """What the statements lock that was not locked before, one after the other.

    Parts of one statement are taken in the order of the text, which is that in which they are done
    because each reads from the one before it.
    """
    found = []
    for one in statements:
        there = {place: re.search(pattern, one) for place, pattern in ORDER.items()}
        starts = {match.start(): place for place, match in there.items() if match}
        assert starts, one
        found += [starts[start] for start in sorted(starts)]
    return [*dict.fromkeys(found)]


# The statements are the same on every PostgreSQL; SQLite has one lock for all.
on_postgresql = pytest.mark.parametrize("engine_name", servers.available()[-1:], indirect=True)


def test_every_method_says_where_it_stands() -> None:
    methods = {
        name
        for part in (Campaigns, Contacts, Generation)
        for name in vars(part)
        if not name.startswith("_")
    }
    # A campaign that nobody knows yet is added without a lock.
    assert methods == SHARING | ALONE.keys() | LOOKING.keys() | {"add"}


@on_postgresql
@pytest.mark.parametrize("budget", [None, Decimal(100)], ids=["shards", "budget"])
def test_failure_25_who_shares_a_campaign_locks_in_one_order(
    world: World, budget: Decimal | None
) -> None:
    campaign = world.campaign(5, Status.GENERATING, budget=budget)
    *claims, gone = world.claim(campaign.id, 4, reserve=CENT)
    world.transact(lambda store: store.contacts.erase([gone.contact_id]))
    outcomes: dict[Claim, Outcome] = {
        claims[2]: Unfinished(),
        gone: Generated(CENT),
        claims[0]: Generated(CENT),
        claims[1]: Failed("no", "no", CENT),
    }
    sharing: dict[str, Callable[[CampaignStore], object]] = {
        "claim": lambda store: store.generation.claim(campaign.id, 5, LEASE, reserve=CENT),
        "renew": lambda store: store.generation.renew(claims, LEASE),
        "checkpoint": lambda store: store.generation.checkpoint(claims[0], CENT),
        "record": lambda store: store.generation.record(outcomes, on_lost="book"),
        "release": lambda store: store.generation.release(claims),
    }
    assert sharing.keys() == SHARING
    taken = {}
    for name, work in sharing.items():
        campaign_documents._last_read.clear()  # A record then sorts its claims before it writes.
        taken[name] = locking(world, work)
    for name, statements in taken.items():
        assert re.search(
            r"pg_advisory_xact_lock_shared\(.* FOR SHARE OF campaigns", statements[0], re.DOTALL
        ), name
        if name == "claim":
            claiming = [one for one in statements if "UPDATE campaign_contacts" in one]
            assert claiming
            assert all("SKIP LOCKED" in one for one in claiming)
            assert {*places(statements)} == {"campaign", "contacts", "totals"}
        else:
            assert places(statements) == sorted(places(statements), key=[*ORDER].index), name
    assert places(taken["record"]) == [*ORDER]


@on_postgresql
@pytest.mark.parametrize("method", ALONE)
def test_failure_25_who_changes_a_campaign_has_it_alone_first(world: World, method: str) -> None:
    campaign = world.campaign(2, Status.APPROVED if method == "exportable" else Status.READY)
    gate, row, *_ = locking(world, lambda store: ALONE[method](store, campaign.id))
    assert re.search(r"pg_advisory_xact_lock\(.* FROM campaigns", gate)
    assert re.search(r"FROM campaigns .* FOR NO KEY UPDATE", row, re.DOTALL)


@on_postgresql
@pytest.mark.parametrize("method", LOOKING)
def test_who_only_looks_locks_nothing(world: World, method: str) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    assert locking(world, lambda store: LOOKING[method](store, campaign.id)) == []
