"""``store.contacts`` on every engine: who is in a campaign, and what it has cost."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from campaign_model import lifecycle
from campaign_model.campaign import Campaign
from campaign_model.campaign_contact import Assigned, CampaignContact, Changed, Removed
from campaign_model.claims import Claim, Failed, Generated, Unfinished
from campaign_model.errors import Conflict, LeaseLost, NotFound, TransitionNotAllowed
from campaign_model.lifecycle import (
    PERMISSIONS,
    Action,
    ContactAction,
    ContactStatus,
    Permission,
    Status,
)
from campaign_model.store import (
    CampaignStore,
    HostTables,
    assignment,
    connection,
    contact_moves,
    contacts,
)
from campaign_model.store.assignment import MAX_PRIORITY
from campaign_model.store.tables import campaign_contacts, campaigns
from support.transactions import behind, contents, execute, refused, together, undone
from support.world import HOST, LEASE, World

CENT = Decimal("0.01")
NOTHING = Decimal(0)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every list of ids takes several chunks."""
    monkeypatch.setattr(assignment, "_CHUNK", 3)
    monkeypatch.setattr(contacts, "_EXPORT_PAGE", 2)
    for module in (contact_moves, contacts):
        monkeypatch.setattr(module, "chunks", lambda values: connection.chunks(values, 3))


def assign(world: World, campaign_id: UUID, contacts: Any) -> Assigned:
    return world.transact(lambda store: store.contacts.assign(campaign_id, contacts))


def in_order(world: World, campaign_id: UUID, **filters: Any) -> list[UUID]:
    page = world.transact(lambda store: store.contacts.list(campaign_id, **filters))
    return [one.contact_id for one in page.items]


def statuses(world: World, campaign_id: UUID) -> dict[UUID, str]:
    return {one: row.status for one, row in world.rows(campaign_id).items()}


def tell(world: World, row: sa.Row[Any], body: str = "Hello") -> UUID:
    """A message of the host's that refers to a campaign contact."""
    id_ = uuid4()
    execute(
        world,
        sa.insert(HOST.messages).values(
            id=id_,
            tenant_id=world.tenant_id,
            campaign_id=row.campaign_id,
            campaign_contact_id=row.id,
            contact_id=row.contact_id,
            channel="email",
            body=body,
            status="approved",
        ),
    )
    return id_


def every_status(world: World, status: Status = Status.GENERATING) -> dict[ContactStatus, UUID]:
    """A campaign with one contact in each status, all but one of them at some cost."""
    campaign = world.campaign(7, Status.GENERATING)
    claims = world.claim(campaign.id, 4)
    generating, generated, failed, excluded = (claim.contact_id for claim in claims)

    def settle(store: CampaignStore) -> None:
        for claim in claims:
            store.generation.checkpoint(claim, CENT)
        store.generation.record(
            {
                claims[1]: Generated(CENT),
                claims[2]: Failed("no_answer", "The model said nothing", None),
                claims[3]: Generated(CENT),
            }
        )
        store.contacts.exclude(campaign.id, [excluded])

    world.transact(settle)
    waiting = [one for one, row in world.rows(campaign.id).items() if row.claimed_at is None]
    world.transact(
        lambda store: store.contacts.set_readiness(
            campaign.id, {waiting[0]: (), waiting[1]: ("phone", "email_address")}
        )
    )
    execute(world, sa.update(campaigns).where(campaigns.c.id == campaign.id).values(status=status))
    found = {
        ContactStatus.PENDING: waiting[2],
        ContactStatus.ENRICHMENT_OK: waiting[0],
        ContactStatus.ENRICHMENT_NEEDED: waiting[1],
        ContactStatus.GENERATING: generating,
        ContactStatus.GENERATED: generated,
        ContactStatus.FAILED: failed,
        ContactStatus.EXCLUDED: excluded,
    }
    assert {
        one: found[ContactStatus(word)] for one, word in statuses(world, campaign.id).items()
    } == {one: one for one in found.values()}
    world.check(campaign.id)
    return found


def campaign_of(world: World, contact_id: UUID) -> UUID:
    with world.engine.begin() as connection:
        found: UUID = connection.execute(
            sa.select(campaign_contacts.c.campaign_id).where(
                campaign_contacts.c.contact_id == contact_id
            )
        ).scalar_one()
    return found


# Assignment.

FORMS: dict[str, Callable[[list[UUID]], Any]] = {
    "a list": list,
    "an iterator": iter,
    "pairs": lambda ids: [(one, 0) for one in ids],
    "a select": lambda ids: (
        sa.select(HOST.contacts.c.id)
        .where(HOST.contacts.c.id.in_(ids))
        .order_by(HOST.contacts.c.first_name)
    ),
    "a select of pairs": lambda ids: (
        sa.select(HOST.contacts.c.id, sa.literal(0))
        .where(HOST.contacts.c.id.in_(ids))
        .order_by(HOST.contacts.c.first_name)
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("small_chunks")
def test_contacts_are_assigned_in_the_order_in_which_they_are_given(
    world: World, form: str
) -> None:
    ids = world.contacts(8)
    campaign = world.campaign(0)
    assert assign(world, campaign.id, FORMS[form](ids[:3])) == Assigned(3, 0, ())
    assert assign(world, campaign.id, FORMS[form](ids)) == Assigned(5, 3, ())
    assert assign(world, campaign.id, FORMS[form](ids)) == Assigned(0, 8, ())
    assert in_order(world, campaign.id) == ids
    assert [claim.contact_id for claim in claimed(world, campaign.id)] == ids
    assert world.legacy(campaign.id) == (8, 0, NOTHING)
    world.check(campaign.id)


def claimed(world: World, campaign_id: UUID) -> tuple[Claim, ...]:
    for action in (Action.MARK_READY, Action.START_GENERATION):
        world.apply(campaign_id, action)
    return world.claim(campaign_id, 100)


@pytest.mark.usefixtures("small_chunks")
def test_a_higher_priority_comes_first_and_equal_ones_in_the_order_given(world: World) -> None:
    ids = world.contacts(12)
    campaign = world.campaign(0)
    priorities = [0, 5, -1, 5, MAX_PRIORITY, -MAX_PRIORITY, 0, 1, -1, MAX_PRIORITY, 0, 5]
    pairs = list(zip(ids, priorities, strict=True))
    for part in (pairs[:5], pairs[5:]):
        assign(world, campaign.id, part)
    expected = [one for one, _ in sorted(pairs, key=lambda pair: -pair[1])]
    assert in_order(world, campaign.id) == expected
    page = world.transact(lambda store: store.contacts.list(campaign.id))
    assert {one.contact_id: one.priority for one in page.items} == dict(pairs)
    assert [claim.contact_id for claim in claimed(world, campaign.id)] == expected
    world.check(campaign.id)


def test_what_is_in_the_campaign_already_stays_as_it_is(world: World) -> None:
    (contact,) = world.contacts(1)
    campaign = world.campaign(0)
    assign(world, campaign.id, [(contact, 3)])
    world.transact(lambda store: store.contacts.set_readiness(campaign.id, {contact: ["phone"]}))
    before = world.rows(campaign.id)
    assert assign(world, campaign.id, [(contact, 9), contact]) == Assigned(0, 1, ())
    assert world.rows(campaign.id) == before


def test_whom_somebody_put_there_by_sql_is_there_already(world: World) -> None:
    ids = world.contacts(3)
    campaign = world.campaign(0)
    row = {
        "id": uuid4(),
        "tenant_id": world.tenant_id,
        "campaign_id": campaign.id,
        "contact_id": ids[1],
        "rank": 7,
        "added_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    with world.engine.begin() as connection:
        connection.execute(sa.insert(campaign_contacts), row)
    assert assign(world, campaign.id, ids) == Assigned(2, 1, ())
    assert {*world.rows(campaign.id)} == {*ids}


def test_a_key_of_the_hosts_own_refuses_in_the_databases_words(world: World) -> None:
    ids = world.contacts(2)
    world.campaign(ids)
    campaign = world.campaign(0)
    key = (
        "CREATE UNIQUE INDEX one_campaign ON campaign_contacts (tenant_id, contact_id) "
        f"WHERE tenant_id = '{world.tenant_id}'"
    )
    execute(world, sa.text(key))
    try:
        with pytest.raises(sa.exc.IntegrityError, match=r"(?i)unique"):
            assign(world, campaign.id, ids)
    finally:
        execute(world, sa.text("DROP INDEX one_campaign"))
    assert world.rows(campaign.id) == {}


@pytest.mark.usefixtures("small_chunks")
def test_duplicates_in_the_input_count_once_and_the_first_of_them_holds(world: World) -> None:
    ids = world.contacts(4)
    strange = uuid4()
    campaign = world.campaign(0)
    given = [ids[0], (ids[1], 2), ids[0], strange, (ids[1], -9), ids[2], ids[3], strange, ids[2]]
    assert assign(world, campaign.id, given) == Assigned(4, 0, (strange,))
    assert in_order(world, campaign.id) == [ids[1], ids[0], ids[2], ids[3]]
    world.check(campaign.id)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("strangers", [(0,), (3, 4, 5), (0, 2, 4, 6, 8), tuple(range(9))])
def test_unknown_contacts_and_other_tenants_are_left_out_and_reported(
    world: World, strangers: tuple[int, ...]
) -> None:
    other = World(world.engine)
    theirs = iter(other.contacts(len(strangers)))
    mine = iter(world.contacts(9))
    ids = [
        (next(theirs) if index % 2 else uuid4()) if index in strangers else next(mine)
        for index in range(9)
    ]
    campaign = world.campaign(0)
    answer = assign(world, campaign.id, ids)
    known = [one for index, one in enumerate(ids) if index not in strangers]
    assert (answer.added, answer.already_there) == (len(known), 0)
    assert len(answer.unknown) == len(strangers)
    assert set(answer.unknown) == set(ids) - set(known)
    assert in_order(world, campaign.id) == known
    again = assign(world, campaign.id, ids)
    assert (again.added, again.already_there) == (0, len(known))
    assert set(again.unknown) == set(answer.unknown)
    world.check(campaign.id)


def test_no_contacts_are_no_change(world: World) -> None:
    campaign = world.campaign(1)
    before = world.transact(lambda store: contents(store.connection, world.tenant_id))
    nobody = sa.select(HOST.contacts.c.id).where(sa.false())
    for nothing in ([], iter(()), nobody, [uuid4()]):
        assert assign(world, campaign.id, nothing).added == 0
    assert world.transact(lambda store: contents(store.connection, world.tenant_id)) == before


@pytest.mark.usefixtures("small_chunks")
def test_what_is_no_contact_or_no_priority_assigns_nobody(world: World) -> None:
    campaign = world.campaign(0)
    *ids, last = world.contacts(8)
    wrong: list[Any] = [(last, MAX_PRIORITY + 1), (last, -MAX_PRIORITY - 1), (last, True), "me"]

    def work(store: CampaignStore) -> None:
        for one in wrong:
            with refused(store, TypeError if one == "me" else ValueError):
                store.contacts.assign(campaign.id, [*ids, one])

    world.transact(work)


@pytest.mark.usefixtures("small_chunks")
def test_contacts_whose_source_fails_are_not_assigned(world: World) -> None:
    campaign = world.campaign(0)
    ids = world.contacts(7)

    def some() -> Iterator[UUID]:
        yield from ids
        raise LookupError("no more")

    def work(store: CampaignStore) -> None:
        with refused(store, LookupError):
            store.contacts.assign(campaign.id, some())

    world.transact(work)


@pytest.mark.usefixtures("small_chunks")
def test_however_many_contacts_are_given_few_are_held_at_a_time(world: World) -> None:
    campaign = world.campaign(0)
    texts = [str(one) for one in world.contacts(30)]
    held: weakref.WeakSet[UUID] = weakref.WeakSet()
    most = 0

    def some() -> Iterator[UUID]:
        nonlocal most
        for text in texts:
            one = UUID(text)
            held.add(one)
            most = max(most, len(held))
            yield one

    assert assign(world, campaign.id, some()) == Assigned(30, 0, ())
    assert most <= 9  # A chunk that is inserted, one that is sorted, and one that comes in.
    world.check(campaign.id)


def test_a_campaign_draws_from_many_lists_and_a_contact_is_in_many_campaigns(
    world: World,
) -> None:
    first, second = world.contacts(3), world.contacts(2)
    one, two = world.campaign(first), world.campaign(second)
    assert assign(world, one.id, second) == Assigned(2, 0, ())
    assert assign(world, two.id, first) == Assigned(3, 0, ())
    assert in_order(world, one.id) == first + second
    assert in_order(world, two.id) == second + first


# Permissions, for every method and every status.

PERMITTED: dict[str, tuple[Permission, Callable[[CampaignStore, UUID, list[UUID]], object]]] = {
    "assign": (Permission.ASSIGN_CONTACTS, lambda store, one, ids: store.contacts.assign(one, ids)),
    "remove": (Permission.REMOVE_CONTACTS, lambda store, one, ids: store.contacts.remove(one, ids)),
    "exclude": (
        Permission.EXCLUDE_CONTACTS,
        lambda store, one, ids: store.contacts.exclude(one, ids),
    ),
    "include": (
        Permission.INCLUDE_CONTACTS,
        lambda store, one, ids: store.contacts.include(one, ids),
    ),
    "set_readiness": (
        Permission.SET_READINESS,
        lambda store, one, ids: store.contacts.set_readiness(one, dict.fromkeys(ids, ("phone",))),
    ),
    "exportable": (
        Permission.LIST_EXPORTABLE,
        lambda store, one, _: list(store.contacts.exportable(one)),
    ),
}


def test_failure_23_the_contact_set_changes_only_where_the_status_allows_it(world: World) -> None:
    ids = list(every_status(world).values())
    campaign_id = campaign_of(world, ids[0])
    ids += [*world.contacts(1), uuid4()]

    def work(store: CampaignStore) -> None:
        for status, (permission, method) in itertools.product(Status, PERMITTED.values()):
            store.connection.execute(
                sa.update(campaigns).where(campaigns.c.id == campaign_id).values(status=status)
            )
            for named in (ids, []):
                if status in PERMISSIONS[permission]:
                    with undone(store):
                        method(store, campaign_id, named)
                    continue
                with refused(store, TransitionNotAllowed) as caught:
                    method(store, campaign_id, named)
                assert (caught.value.source, caught.value.action) == (status, permission)
                assert caught.value.legal_from == tuple(
                    one for one in Status if one in PERMISSIONS[permission]
                )
        for permission, method in PERMITTED.values():
            with refused(store, NotFound) as missing:
                method(store, uuid4(), ids)
            assert missing.value.kind == "campaign", permission
        # Reading and erasing are allowed everywhere.
        for status in Status:
            with undone(store):
                store.connection.execute(
                    sa.update(campaigns).where(campaigns.c.id == campaign_id).values(status=status)
                )
                assert len(store.contacts.list(campaign_id).items) == 7
                assert store.contacts.overlaps(campaign_id) == ()
                assert store.contacts.erase(ids) == 7

    world.transact(work)
    world.check(campaign_id)


def test_failure_23_an_error_of_the_database_is_never_swallowed(world: World) -> None:
    campaign = world.campaign(0)
    ids = world.contacts(3)

    def work(store: CampaignStore) -> None:
        # A contact without an id is no unknown contact.
        with refused(store, TypeError):
            store.contacts.assign(campaign.id, sa.select(sa.null()))
        with refused(store, sa.exc.DBAPIError), store.connection.begin_nested():
            store.contacts.assign(campaign.id, sa.select(sa.literal_column("no_such_column")))
        assert store.contacts.assign(campaign.id, ids).added == 3

    world.transact(work)
    world.check(campaign.id)


def test_failure_23_a_key_that_refuses_contacts_who_are_there_is_an_error(world: World) -> None:
    campaign = world.campaign(0)

    def work(store: CampaignStore) -> None:
        # These contacts are found where the store is told to look, and not where the key points.
        with refused(store, sa.exc.IntegrityError):
            store.contacts.assign(campaign.id, [world.owner_id])

    world.transact(work, host=HostTables(contacts=HOST.owners.name))


# The contact's table, through the store.


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    ("action", "call", "gaps"),
    [
        (ContactAction.EXCLUDE, lambda store, one, ids: store.contacts.exclude(one, ids), None),
        (ContactAction.INCLUDE, lambda store, one, ids: store.contacts.include(one, ids), None),
        (
            ContactAction.MARK_OK,
            lambda store, one, ids: store.contacts.set_readiness(one, dict.fromkeys(ids, ())),
            (),
        ),
        (
            ContactAction.MARK_NEEDED,
            lambda store, one, ids: store.contacts.set_readiness(one, dict.fromkeys(ids, ("x",))),
            ("x",),
        ),
    ],
    ids=["exclude", "include", "mark_ok", "mark_needed"],
)
def test_every_move_of_a_contact_goes_by_the_table(
    world: World,
    action: ContactAction,
    call: Callable[[CampaignStore, UUID, list[UUID]], Changed],
    gaps: tuple[str, ...] | None,
) -> None:
    # Ready, with somebody still in flight: a run was cancelled.
    by_status = every_status(world, Status.READY)
    strange = uuid4()
    ids = [*by_status.values(), strange]
    campaign_id = campaign_of(world, ids[0])
    before = world.rows(campaign_id)
    answer = world.transact(lambda store: call(store, campaign_id, [*ids, *ids]))
    after = world.rows(campaign_id)
    moved = 0
    for source, contact_id in by_status.items():
        known = before[contact_id].enrichment_gaps
        expected = lifecycle.apply_contact(
            source, action, gaps if gaps is not None else known and ()
        )
        moved += expected is not None
        assert after[contact_id].status == (expected or source), source
        unchanged = {"contact_id", "id", "rank", "generation_cost", "unknown_costs", "revision"}
        for name in unchanged:
            assert getattr(after[contact_id], name) == getattr(before[contact_id], name)
        if gaps is not None:
            assert after[contact_id].enrichment_gaps is not None
    assert answer.changed == moved
    assert set(answer.skipped) == {
        strange,
        *(
            contact_id
            for source, contact_id in by_status.items()
            if lifecycle.apply_contact(source, action, gaps) is None
        ),
    }
    total = sum(row.status != ContactStatus.EXCLUDED for row in after.values())
    generated = sum(row.status == ContactStatus.GENERATED for row in after.values())
    assert world.legacy(campaign_id) == (total, generated, 6 * CENT)
    world.check(campaign_id)


def test_readiness_is_kept_for_the_day_a_contact_comes_back(world: World) -> None:
    ids = world.contacts(4)
    campaign = world.campaign(ids)
    world.transact(lambda store: store.contacts.exclude(campaign.id, ids))
    gaps: dict[UUID, Iterable[str]] = {ids[1]: (), ids[2]: iter(["phone"]), ids[3]: ["a", "b"]}
    assert world.transact(lambda store: store.contacts.set_readiness(campaign.id, gaps)) == Changed(
        3, ()
    )
    assert set(statuses(world, campaign.id).values()) == {ContactStatus.EXCLUDED}
    assert world.transact(lambda store: store.contacts.include(campaign.id, ids)) == Changed(4, ())
    page = world.transact(lambda store: store.contacts.list(campaign.id))
    assert [(one.status, one.enrichment_gaps) for one in page.items] == [
        (ContactStatus.PENDING, None),
        (ContactStatus.ENRICHMENT_OK, ()),
        (ContactStatus.ENRICHMENT_NEEDED, ("phone",)),
        (ContactStatus.ENRICHMENT_NEEDED, ("a", "b")),
    ]
    world.check(campaign.id)


def test_a_gap_without_a_name_changes_nobody(world: World) -> None:
    ids = world.contacts(2)
    campaign = world.campaign(ids)

    def work(store: CampaignStore) -> None:
        wrong: tuple[Any, ...] = ([""], ["a\0b"], ["\ud800"], "phone", [5])
        for gaps in wrong:
            with refused(store, TypeError if gaps == "phone" else ValueError):
                store.contacts.set_readiness(campaign.id, {ids[0]: (), ids[1]: gaps})

    world.transact(work)


def test_an_exclusion_in_flight_frees_what_was_reserved_and_books_what_was_spent(
    world: World,
) -> None:
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal("0.02"))
    first, second = world.claim(campaign.id, 2, reserve=CENT)
    assert world.claim(campaign.id, 1, reserve=CENT) == ()
    answer = world.transact(lambda store: store.contacts.exclude(campaign.id, [first.contact_id]))
    assert answer == Changed(1, ())
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert progress.reserved == CENT
    assert world.rows(campaign.id)[first.contact_id].reserved == 0
    world.check(campaign.id)
    world.transact(
        lambda store: store.generation.record({first: Generated(CENT), second: Generated(CENT)})
    )
    assert statuses(world, campaign.id)[first.contact_id] == ContactStatus.EXCLUDED
    done = world.apply(campaign.id, Action.COMPLETE_GENERATION)
    assert done.status is Status.REVIEW
    assert world.legacy(campaign.id) == (1, 1, 2 * CENT)
    world.check(campaign.id)


def test_a_contact_brought_back_is_nobodys_and_a_late_result_finds_its_lease_lost(
    world: World,
) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    (claim,) = world.claim(campaign.id)
    world.transact(lambda store: store.contacts.exclude(campaign.id, [claim.contact_id]))
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    world.transact(lambda store: store.contacts.include(campaign.id, [claim.contact_id]))

    def work(store: CampaignStore) -> None:
        with refused(store, LeaseLost):
            store.generation.record({claim: Generated(CENT)})

    world.transact(work)
    (row,) = world.rows(campaign.id).values()
    assert (row.claim_token, row.lease_expires_at, row.attempts, row.error) == (None, None, 0, None)
    world.check(campaign.id)


# Removal.


@pytest.mark.usefixtures("small_chunks")
def test_only_those_never_generated_for_leave_and_the_rest_are_excluded(world: World) -> None:
    by_status = every_status(world, Status.READY)
    campaign_id = campaign_of(world, by_status[ContactStatus.PENDING])
    mentioned, *free = world.contacts(4)
    assign(world, campaign_id, [mentioned, *free])
    tell(world, world.rows(campaign_id)[mentioned])
    before = world.rows(campaign_id)
    leaving = {
        by_status[ContactStatus.PENDING],
        by_status[ContactStatus.ENRICHMENT_OK],
        by_status[ContactStatus.ENRICHMENT_NEEDED],
        *free,
    }
    answer = world.transact(
        lambda store: store.contacts.remove(campaign_id, [*before, uuid4(), *before])
    )
    assert answer.removed == len(leaving)
    assert set(answer.kept) == before.keys() - leaving
    assert len(answer.kept) == len(set(answer.kept))
    after = world.rows(campaign_id)
    assert after.keys() == before.keys() - leaving
    assert {row.status for row in after.values()} == {ContactStatus.EXCLUDED}
    assert {one: row.generation_cost for one, row in after.items()} == {
        one: before[one].generation_cost for one in after
    }
    assert world.legacy(campaign_id) == (0, 0, 6 * CENT)
    again = world.transact(lambda store: store.contacts.remove(campaign_id, before))
    assert (again.removed, set(again.kept)) == (0, set(answer.kept))
    world.check(campaign_id)


def test_who_left_may_come_back_as_new(world: World) -> None:
    ids = world.contacts(2)
    campaign = world.campaign(ids)
    assert world.transact(lambda store: store.contacts.remove(campaign.id, ids[:1])) == Removed(
        1, ()
    )
    assert assign(world, campaign.id, ids) == Assigned(1, 1, ())
    assert in_order(world, campaign.id) == [ids[1], ids[0]]
    world.check(campaign.id)


@pytest.mark.parametrize("mentioned", range(5))
@pytest.mark.usefixtures("small_chunks")
def test_failure_16_a_contact_with_messages_is_kept_whoever_is_removed_with_it(
    world: World, mentioned: int
) -> None:
    ids = world.contacts(5)
    campaign = world.campaign(ids)
    message = tell(world, world.rows(campaign.id)[ids[mentioned]])
    answer = world.transact(lambda store: store.contacts.remove(campaign.id, ids))
    assert answer == Removed(4, (ids[mentioned],))
    assert statuses(world, campaign.id) == {ids[mentioned]: ContactStatus.EXCLUDED}
    with world.engine.begin() as connection:
        found = sa.select(HOST.messages.c.campaign_contact_id).where(HOST.messages.c.id == message)
        assert connection.execute(found).scalar_one() is not None
    assert world.legacy(campaign.id) == (0, 0, NOTHING)
    world.check(campaign.id)


def test_failure_16_generated_contacts_are_kept_with_and_without_messages(world: World) -> None:
    campaign = world.campaign(3, Status.REVIEW)
    world.apply(campaign.id, Action.REQUEST_CHANGES)
    rows = world.rows(campaign.id)
    tell(world, next(iter(rows.values())))
    answer = world.transact(lambda store: store.contacts.remove(campaign.id, rows))
    assert (answer.removed, set(answer.kept)) == (0, set(rows))
    assert world.legacy(campaign.id) == (0, 0, 3 * CENT)
    world.check(campaign.id)


# Erasure.


@pytest.mark.parametrize("status", Status)
@pytest.mark.usefixtures("small_chunks")
def test_erasure_works_in_any_status_and_keeps_the_money(world: World, status: Status) -> None:
    by_status = every_status(world, status)
    gone = [contact for one, contact in by_status.items() if one is not ContactStatus.FAILED]
    campaign_id = campaign_of(world, gone[0])
    spent = 6 * CENT
    elsewhere = world.campaign(gone[:2])

    def erase(ids: list[UUID]) -> int:
        return world.transact(lambda store: store.contacts.erase(ids))

    assert erase([*gone, uuid4(), *gone]) == 8
    assert world.rows(campaign_id).keys() == {by_status[ContactStatus.FAILED]}
    assert world.rows(elsewhere.id) == {}
    assert world.legacy(campaign_id) == (1, 0, spent)
    world.check(campaign_id)
    world.check(elsewhere.id)
    (summary,) = (
        one
        for one in world.transact(lambda store: store.campaigns.list()).items
        if one.id == campaign_id
    )
    assert (summary.generation_cost, summary.total_contacts) == (spent, 1)
    progress = world.transact(lambda store: store.generation.progress(campaign_id))
    assert (progress.spent, progress.reserved, progress.assigned) == (spent, NOTHING, 1)
    assert erase(gone) == 0


def test_an_erased_contact_still_counts_against_the_budget(world: World) -> None:
    campaign = world.campaign(3, Status.GENERATING, budget=Decimal("0.02"))
    first, second = world.claim(campaign.id, 3, reserve=CENT)
    world.transact(lambda store: store.generation.record({first: Generated(CENT)}))
    world.transact(lambda store: store.contacts.erase([first.contact_id, second.contact_id]))
    world.check(campaign.id)
    (third,) = world.claim(campaign.id, 3, reserve=CENT)  # What was in flight is free again.
    world.transact(lambda store: store.generation.record({third: Generated(CENT)}))
    done = world.apply(campaign.id, Action.COMPLETE_GENERATION)
    assert world.legacy(done.id) == (1, 1, 2 * CENT)
    world.check(campaign.id)


@pytest.mark.usefixtures("small_chunks")
def test_nobody_is_erased_while_a_message_refers_to_one_of_them(world: World) -> None:
    ids = world.contacts(7)
    one, two = world.campaign(ids), world.campaign(ids)
    message = tell(world, world.rows(two.id)[ids[-1]])

    def work(store: CampaignStore) -> None:
        with refused(store, Conflict) as caught:
            store.contacts.erase(ids)
        assert caught.value.reason == "still_referred_to"
        store.connection.execute(sa.delete(HOST.messages).where(HOST.messages.c.id == message))
        assert store.contacts.erase(ids) == 14

    world.transact(work)
    for campaign in (one, two):
        assert world.legacy(campaign.id) == (0, 0, NOTHING)
        world.check(campaign.id)


# Lists.


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_a_list_is_walked_by_pages_in_the_order_of_generation(world: World, limit: int) -> None:
    by_status = every_status(world, Status.READY)
    ids = list(by_status.values())
    campaign_id = campaign_of(world, ids[0])
    execute(  # Equal ranks, as another writer leaves them.
        world,
        sa.update(campaign_contacts)
        .where(campaign_contacts.c.contact_id.in_(ids[2:6]))
        .values(rank=3),
    )
    rows = sorted(world.rows(campaign_id).values(), key=lambda row: (row.rank, row.id))

    def walk(status: ContactStatus | None) -> list[CampaignContact]:
        found: list[CampaignContact] = []
        after = None
        while True:
            page = world.transact(
                lambda store, after=after: store.contacts.list(  # type: ignore[misc]
                    campaign_id, status=status, limit=limit, after=after
                )
            )
            found += page.items
            assert len(page.items) == limit or page.next is None
            after = page.next
            if after is None:
                return found

    assert [one.id for one in walk(None)] == [row.id for row in rows]
    for status, contact_id in by_status.items():
        (one,) = walk(status)
        row = next(row for row in rows if row.contact_id == contact_id)
        assert (one.id, one.campaign_id, one.contact_id) == (row.id, campaign_id, contact_id)
        assert (one.status, one.cost, one.unknown_costs) == (
            status,
            row.generation_cost,
            row.unknown_costs,
        )
        assert (one.attempts, one.revision, one.error_code, one.error) == (
            row.attempts,
            row.revision,
            row.error_code,
            row.error,
        )
        for name in ("lease_expires_at", "retry_at", "added_at", "generated_at"):
            assert getattr(one, name) == getattr(row, name)
        assert not one.stale


def test_a_list_refuses_what_is_no_page(world: World) -> None:
    campaign = world.campaign(1)

    def work(store: CampaignStore) -> None:
        for limit in (0, -1):
            with refused(store, ValueError):
                store.contacts.list(campaign.id, limit=limit)
        for after in ("", "x", ":", "1:x", f"x:{uuid4()}", f"1:2:{uuid4()}", f"{2**64}:{uuid4()}"):
            with refused(store, ValueError):
                store.contacts.list(campaign.id, after=after)
        with refused(store, NotFound):
            store.contacts.list(uuid4())

    world.transact(work)


@pytest.mark.usefixtures("small_chunks")
def test_the_exportable_are_the_generated_of_an_approved_campaign_in_their_order(
    world: World,
) -> None:
    ids = world.contacts(7)
    campaign = world.campaign(ids, Status.REVIEW)
    world.transact(lambda store: store.contacts.exclude(campaign.id, ids[2:3]))
    world.transact(lambda store: store.generation.regenerate(campaign.id, ids[4:5]))
    execute(
        world,
        sa.update(campaigns).where(campaigns.c.id == campaign.id).values(status=Status.APPROVED),
    )

    def export(store: CampaignStore) -> list[UUID]:
        found = list(store.contacts.exportable(campaign.id))
        assert {one.status for one in found} <= {ContactStatus.GENERATED}
        return [one.contact_id for one in found]

    expected = [*ids[:2], ids[3], *ids[5:]]
    assert world.transact(export) == expected
    world.apply(campaign.id, Action.EXPORT)
    assert world.transact(export) == expected
    world.apply(campaign.id, Action.ARCHIVE)

    def work(store: CampaignStore) -> None:
        # At once, and not only when the first is asked for.
        with refused(store, TransitionNotAllowed):
            store.contacts.exportable(campaign.id)
        with refused(store, NotFound):
            store.contacts.exportable(uuid4())

    world.transact(work)


def test_failure_17_an_excluded_contact_is_not_exportable(world: World) -> None:
    campaign = world.campaign(3, Status.APPROVED)
    rows = world.rows(campaign.id)
    for row in rows.values():
        tell(world, row)
    gone, *left = rows
    world.transact(lambda store: store.contacts.exclude(campaign.id, [gone]))
    world.apply(campaign.id, Action.EXPORT)
    found = world.transact(lambda store: list(store.contacts.exportable(campaign.id)))
    assert {one.contact_id for one in found} == set(left)
    assert world.legacy(campaign.id) == (2, 2, 3 * CENT)
    world.check(campaign.id)


def test_failure_17_an_exclusion_waits_for_the_export_that_runs_and_the_export_for_it(
    world: World,
) -> None:
    campaign = world.campaign(3, Status.APPROVED)
    first, second, third = world.rows(campaign.id)
    exported: list[UUID] = []

    def export(store: CampaignStore) -> int:
        exported[:] = [one.contact_id for one in store.contacts.exportable(campaign.id)]
        return len(exported)

    def exclude(contact_id: UUID) -> Callable[[CampaignStore], Changed]:
        return lambda store: store.contacts.exclude(campaign.id, [contact_id])

    (answer,) = behind(world, export, exclude(first))
    assert (set(exported), answer) == ({first, second, third}, Changed(1, ()))
    (number,) = behind(world, exclude(second), export)
    assert (number, exported) == (1, [third])
    world.check(campaign.id)


def test_overlaps_name_the_other_live_campaigns_the_latest_first(world: World) -> None:
    shared, other, excluded_here, excluded_there = world.contacts(4)
    mine = world.campaign([shared, other, excluded_here, excluded_there])
    old = world.campaign([shared, excluded_here])
    recent = world.campaign([shared, excluded_there], Status.GENERATING)
    archived = world.campaign([shared, other], Status.ARCHIVED)
    deleted = world.campaign([shared])
    world.apply(deleted.id, Action.DELETE)
    world.transact(lambda store: store.contacts.exclude(mine.id, [excluded_here]))
    world.transact(lambda store: store.contacts.exclude(recent.id, [excluded_there]))

    def overlaps(campaign: Campaign) -> list[tuple[UUID, UUID, ContactStatus]]:
        found = world.transact(lambda store: store.contacts.overlaps(campaign.id))
        assert all(one.campaign_name == "Campaign" for one in found)
        moments = [one.last_activity_at for one in found]
        assert moments == sorted(moments, reverse=True)
        return [(one.contact_id, one.campaign_id, one.status) for one in found]

    pending = ContactStatus.PENDING
    assert overlaps(mine) == [(shared, recent.id, pending), (shared, old.id, pending)]
    for action in (Action.MARK_READY, Action.START_GENERATION):
        world.apply(old.id, action)
    world.generate(old.id)
    assert overlaps(mine) == [
        (shared, old.id, ContactStatus.GENERATED),
        (shared, recent.id, pending),
    ]
    claims = world.claim(recent.id)
    world.transact(lambda store: store.generation.record(dict.fromkeys(claims, Unfinished())))
    assert [campaign_id for _, campaign_id, _ in overlaps(mine)] == [recent.id, old.id]
    assert {campaign_id for _, campaign_id, _ in overlaps(archived)} == {
        mine.id,
        old.id,
        recent.id,
    }

    def work(store: CampaignStore) -> None:
        with refused(store, NotFound):
            store.contacts.overlaps(uuid4())

    world.transact(work)


# Failure modes of numbers and of parallel writers.


def test_failure_10_every_place_that_tells_a_total_tells_the_same(world: World) -> None:
    campaign = world.campaign(8, Status.READY)
    ids = list(world.rows(campaign.id))

    def told() -> set[int]:
        counts = {
            world.transact(lambda store: store.generation.progress(campaign.id)).total,
            sum(word != ContactStatus.EXCLUDED for word in statuses(world, campaign.id).values()),
            world.legacy(campaign.id)[0],
        }
        (summary,) = world.transact(lambda store: store.campaigns.list().items)
        world.check(campaign.id)
        return {*counts, summary.total_contacts}

    changes: tuple[tuple[Callable[[CampaignStore], object], int], ...] = (
        (lambda store: store.contacts.exclude(campaign.id, ids[:2]), 6),
        (lambda store: store.contacts.exclude(campaign.id, ids[:3]), 5),
        (lambda store: store.contacts.include(campaign.id, ids[:1]), 6),
        (lambda store: store.contacts.remove(campaign.id, ids[1:4]), 5),
        (lambda store: store.contacts.erase(ids[4:5]), 4),
        (lambda store: store.contacts.set_readiness(campaign.id, {ids[5]: ["phone"]}), 4),
        (lambda store: store.contacts.assign(campaign.id, ids[1:5]), 8),
        (lambda store: store.campaigns.apply(campaign.id, Action.START_GENERATION), 8),
        (lambda store: store.contacts.exclude(campaign.id, ids[:1]), 7),
        (lambda store: store.contacts.erase(ids[:2]), 6),
        (lambda store: store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION), 6),
    )
    assert told() == {8}
    for change, expected in changes:
        world.transact(change)
        assert told() == {expected}
    # And the guards see what is left.
    world.transact(lambda store: store.contacts.remove(campaign.id, ids))
    assert told() == {0}
    with pytest.raises(TransitionNotAllowed) as caught:
        world.apply(campaign.id, Action.START_GENERATION)
    assert [one.guard for one in caught.value.unmet] == ["has_contacts_to_generate"]
    world.apply(campaign.id, Action.RETURN_TO_DRAFT)
    with pytest.raises(TransitionNotAllowed) as caught:
        world.apply(campaign.id, Action.MARK_READY)
    assert [one.guard for one in caught.value.unmet] == ["has_contacts"]


def test_failure_15_the_same_contacts_assigned_at_once_are_one_row_each(world: World) -> None:
    ids = world.contacts(20)
    campaign = world.campaign(0)
    answers = together(
        world,
        *[
            lambda store, part=part: store.contacts.assign(campaign.id, part)
            for part in (ids, ids[::-1], ids[:10], ids[5:])
        ],
    )
    assert sum(one.added for one in answers) == 20
    assert sum(one.already_there for one in answers) == 45
    assert world.rows(campaign.id).keys() == set(ids)
    assert world.legacy(campaign.id) == (20, 0, NOTHING)
    world.check(campaign.id)


@pytest.mark.parametrize("commit", [True, False])
def test_failure_15_a_second_assignment_waits_for_the_first(world: World, *, commit: bool) -> None:
    ids = world.contacts(3)
    campaign = world.campaign(0)
    (answer,) = behind(
        world,
        lambda store: store.contacts.assign(campaign.id, ids[:2]),
        lambda store: store.contacts.assign(campaign.id, [(ids[1], 5), (ids[2], 0)]),
        commit=commit,
    )
    assert answer == (Assigned(1, 1, ()) if commit else Assigned(2, 0, ()))
    assert in_order(world, campaign.id) == ([*ids] if commit else [*ids[1:]])
    world.check(campaign.id)


def test_failure_15_a_contact_that_the_host_deletes_meanwhile_is_unknown(world: World) -> None:
    ids = world.contacts(2)
    campaign = world.campaign(0)
    (answer,) = behind(
        world,
        lambda store: store.connection.execute(
            sa.delete(HOST.contacts).where(HOST.contacts.c.id == ids[0])
        ),
        lambda store: store.contacts.assign(campaign.id, ids),
    )
    assert answer == Assigned(1, 0, (ids[0],))
    world.check(campaign.id)


def _generated(world: World) -> Campaign:
    campaign = world.campaign(4, Status.GENERATING)
    world.generate(campaign.id)
    return campaign


MOVES: dict[Action, Callable[[World], Campaign]] = {
    Action.DELETE: lambda world: world.campaign(4),
    Action.MARK_READY: lambda world: world.campaign(4),
    Action.START_GENERATION: lambda world: world.campaign(4, Status.READY),
    Action.CANCEL_GENERATION: lambda world: world.campaign(4, Status.GENERATING),
    Action.COMPLETE_GENERATION: _generated,
    Action.EXPORT: lambda world: world.campaign(4, Status.APPROVED),
}


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("action", MOVES)
def test_failure_27_no_change_of_the_contacts_commits_into_a_campaign_that_was_moved(
    world: World, action: Action, *, commit: bool
) -> None:
    campaign = MOVES[action](world)
    ids = list(world.rows(campaign.id))
    new = world.contacts(1)
    calls = {
        "assign": new,
        "remove": ids[:1],
        "exclude": ids[1:2],
        "include": ids[2:3],
        "set_readiness": ids[3:],
    }
    answers = behind(
        world,
        lambda store: store.campaigns.apply(campaign.id, action),
        *[
            lambda store, name=name, named=named: PERMITTED[name][1](store, campaign.id, named)
            for name, named in calls.items()
        ],
        commit=commit,
    )
    status = lifecycle.target(action) if commit else campaign.status
    for name, answer in zip(calls, answers, strict=True):
        permission = PERMITTED[name][0]
        if status in PERMISSIONS[permission]:
            assert isinstance(answer, Assigned | Removed | Changed), name
        else:
            assert isinstance(answer, TransitionNotAllowed), name
            assert (answer.source, answer.action) == (status, permission)
    rows = world.rows(campaign.id)
    assert (new[0] in rows) == (status in PERMISSIONS[Permission.ASSIGN_CONTACTS])
    world.check(campaign.id)
    total = sum(row.status != ContactStatus.EXCLUDED for row in rows.values())
    generated = sum(row.status == ContactStatus.GENERATED for row in rows.values())
    assert world.legacy(campaign.id)[:2] == (total, generated)


@pytest.mark.parametrize("commit", [True, False])
def test_failure_27_a_move_counts_the_contacts_that_changed_a_moment_before(
    world: World, *, commit: bool
) -> None:
    campaign = world.campaign(2, Status.READY)
    ids = list(world.rows(campaign.id))
    (answer,) = behind(
        world,
        lambda store: store.contacts.remove(campaign.id, ids),
        lambda store: store.campaigns.apply(campaign.id, Action.START_GENERATION),
        commit=commit,
    )
    if commit:
        assert isinstance(answer, TransitionNotAllowed)
        assert [one.guard for one in answer.unmet] == ["has_contacts_to_generate"]
    else:
        assert answer.status is Status.GENERATING
    world.check(campaign.id)


def test_failure_27_a_retry_waits_for_the_move_before_it(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    claims = world.claim(campaign.id)
    failed = Failed("no_answer", "The model said nothing", CENT)
    world.transact(lambda store: store.generation.record(dict.fromkeys(claims, failed)))
    world.apply(campaign.id, Action.COMPLETE_GENERATION)

    def approve(store: CampaignStore) -> Campaign:
        return store.campaigns.apply(
            campaign.id,
            Action.APPROVE,
            review=lifecycle.ReviewTally(0, 0, 0),
            allow_empty=True,
        )

    answers = behind(
        world,
        approve,
        lambda store: store.generation.retry_failed(campaign.id),
        lambda store: store.generation.regenerate(campaign.id),
    )
    assert [(one.source, one.action) for one in answers] == [
        (Status.APPROVED, Permission.RETRY_FAILED),
        (Status.APPROVED, Permission.REGENERATE),
    ]
    world.check(campaign.id)


def test_an_erasure_takes_the_campaign_before_its_contacts(world: World) -> None:
    campaign = world.campaign(3)
    ids = list(world.rows(campaign.id))
    # The other order would be a deadlock: each would hold what the other wants.
    answers = behind(
        world,
        lambda store: store.campaigns.get(campaign.id, lock=True),
        lambda store: store.contacts.erase(ids[:2]),
        then=lambda store: store.contacts.exclude(campaign.id, ids),
    )
    assert answers == [2]
    assert world.legacy(campaign.id) == (0, 0, NOTHING)
    world.check(campaign.id)


def test_an_erasure_deletes_the_message_that_was_just_written_and_waits_in_no_circle(
    world: World,
) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    (claim,) = world.claim(campaign.id)
    messages = HOST.messages
    row = {
        "tenant_id": world.tenant_id,
        "campaign_contact_id": claim.id,
        "contact_id": claim.contact_id,
        "channel": "email",
        "body": "Hello",
    }
    kept, late = uuid4(), uuid4()
    with world.engine.begin() as connection:
        connection.execute(sa.insert(messages).values(id=kept, **row))
    theirs = sa.delete(messages).where(messages.c.contact_id == claim.contact_id)

    def erase(store: CampaignStore) -> int:
        return store.contacts.erase(
            [claim.contact_id], delete_messages=lambda connection: connection.execute(theirs)
        )

    def write(store: CampaignStore) -> None:
        """What a worker does: with both messages, the erasure waiting."""
        store.connection.execute(sa.insert(messages).values(id=late, **row))
        store.connection.execute(
            sa.update(messages).where(messages.c.id == kept).values(body="Anew")
        )

    answers = behind(
        world,
        lambda store: store.generation.record({claim: Generated(CENT)}),
        erase,
        then=write,
    )
    assert answers == [1]
    with world.engine.begin() as connection:
        here = messages.c.tenant_id == world.tenant_id
        assert connection.execute(sa.select(messages).where(here)).all() == []
    world.check(campaign.id)


def test_two_erasures_at_once_wait_for_each_other_in_one_order(world: World) -> None:
    ids = world.contacts(3)
    made = [world.campaign(ids) for _ in range(4)]
    answers = together(
        world,
        *[
            lambda store, part=part: store.contacts.erase(part)
            for part in (ids[:2], ids[::-1], ids[1:])
        ],
    )
    assert sum(answers) == 12
    for campaign in made:
        assert world.rows(campaign.id) == {}
        world.check(campaign.id)


def test_totals_are_exact_after_everybody_changed_everything_at_once(world: World) -> None:
    campaign = world.campaign(30, Status.GENERATING)
    ids = list(world.rows(campaign.id))

    def generate(store: CampaignStore) -> int:
        batch = store.generation.claim(campaign.id, 7, LEASE)
        store.generation.record(dict.fromkeys(batch.claims, Generated(CENT)))
        return len(batch.claims)

    numbers = together(
        world,
        *[generate] * 3,
        lambda store: store.contacts.exclude(campaign.id, ids[::3]).changed,
        lambda store: store.contacts.erase(ids[1::3]),
        lambda store: (
            store.contacts.set_readiness(campaign.id, dict.fromkeys(ids[2::3], ("phone",))).changed
        ),
    )
    assert numbers[3:] == [10, 10, 10]
    world.check(campaign.id)
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    rows = world.rows(campaign.id)
    assert len(rows) == 20
    total, generated, cost = world.legacy(campaign.id)
    assert total == sum(row.status != ContactStatus.EXCLUDED for row in rows.values())
    assert generated == sum(row.status == ContactStatus.GENERATED for row in rows.values())
    assert cost == sum(numbers[:3]) * CENT
