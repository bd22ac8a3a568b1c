"""``store.contacts.assign``: any number of contacts, from any source, each of them once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from campaign_model.campaign import Assigned, Campaign, Skipped, SkipReason
from campaign_model.errors import InvalidArgument
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore, HostTables
from campaign_model.store.assignment import MAX_PRIORITY
from campaign_model.store.tables import campaign_contacts
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import Tenant, make_campaign
from support.tenants import HOST, contact_rows, execute, legacy_columns, new_owner, new_tenant
from support.transactions import (
    all_rows,
    open_store,
    refused,
    rolled_back,
    run_together,
    run_while_open,
)

pytestmark = pytest.mark.usefixtures("small_chunks")


def assign(tenant: Tenant, campaign_id: UUID, contacts: Any) -> Assigned:
    return tenant.transact(lambda store: store.contacts.assign(campaign_id, contacts))


def assigned_ids(tenant: Tenant, campaign_id: UUID) -> list[UUID]:
    """The contacts of a campaign in the order of generation."""
    return [*tenant.campaign_contacts(campaign_id)]


def claimed_ids(tenant: Tenant, campaign_id: UUID) -> list[UUID]:
    """Start the campaign and claim all contacts."""
    tenant.apply(campaign_id, Action.MARK_READY, Action.START_GENERATION)
    return [claim.contact_id for claim in tenant.claim(campaign_id)]


def by_query(ids: list[UUID], *columns: Any) -> sa.Select[Any]:
    contacts = HOST.contacts.c
    return (
        sa.select(contacts.id, *columns).where(contacts.id.in_(ids)).order_by(contacts.first_name)
    )


FORMS: dict[str, Callable[[list[UUID]], Any]] = {
    "a list": list,
    "an iterator": iter,
    "pairs": lambda ids: [(id_, 0) for id_ in ids],
    "a query": by_query,
    "a query of pairs": lambda ids: by_query(ids, sa.literal(0)),
}


@pytest.mark.parametrize("form", FORMS)
def test_contacts_are_assigned_in_the_given_order(tenant: Tenant, form: str) -> None:
    ids = tenant.contacts(8)
    campaign = tenant.campaign(contacts=0)
    assert assign(tenant, campaign.id, FORMS[form](ids[:3])) == Assigned(3, 0, ())
    assert assign(tenant, campaign.id, FORMS[form](ids)) == Assigned(5, 3, ())
    assert assign(tenant, campaign.id, FORMS[form](ids)) == Assigned(0, 8, ())
    assert assigned_ids(tenant, campaign.id) == ids
    assert legacy_columns(tenant, campaign.id) == (8, 0, Decimal(0))
    tenant.check_totals(campaign.id)
    assert claimed_ids(tenant, campaign.id) == ids


def test_contacts_of_other_campaigns_are_skipped_with_the_reason(tenant: Tenant) -> None:
    free, active, excluded, recent, long_ago, already, unknown = ids = [
        *tenant.contacts(6),
        uuid4(),
    ]
    clock = FrozenClock()
    days = timedelta(days=1)

    def make(status: str, contact_id: UUID) -> Campaign:
        return tenant.transact(
            lambda store: make_campaign(store, [contact_id], status, name=status), clock=clock
        )

    mine = tenant.campaign(contacts=0)
    make("archived", long_ago)
    clock.forward(60 * days)
    archived = make("archived", recent)
    draft = make("draft", active)
    other = make("draft", excluded)
    tenant.transact(lambda store: store.contacts.exclude(other.id, [excluded]))
    make("archived", already)
    assign(tenant, mine.id, [already])
    clock.forward(30 * days)

    def answer(**options: Any) -> Assigned:
        with open_store(tenant, clock=clock) as store, rolled_back(store):
            assigned = store.contacts.assign(mine.id, ids, **options)
            listed = {one.contact_id for one in store.contacts.list(mine.id).items}
            skipped = {one.contact_id for one in assigned.skipped}
            assert listed == {*ids} - skipped - {unknown}
            assert (assigned.already_there, assigned.unknown) == (1, (unknown,))
            assert assigned.added == len(listed) - 1
            # Contacts that were skipped leave gaps in the order, and nothing else.
            assert [*dict.fromkeys(ids)] == ids
        return assigned

    then = clock.now - 30 * days
    in_draft = Skipped(active, SkipReason.ACTIVE_CAMPAIGN, draft.id, "draft", then)
    in_cooldown = Skipped(recent, SkipReason.COOLDOWN, archived.id, "archived", then)
    assert answer().skipped == ()
    assert answer(skip_active=True).skipped == (in_draft,)
    assert answer(cooldown=40 * days).skipped == (in_cooldown,)
    assert {*answer(skip_active=True, cooldown=40 * days).skipped} == {in_draft, in_cooldown}
    # The limit itself is over, and the longest cooldown contains everything.
    assert answer(cooldown=30 * days).skipped == ()
    assert {one.contact_id for one in answer(cooldown=timedelta.max).skipped} == {recent, long_ago}
    assert free not in {one.contact_id for one in answer(skip_active=True).skipped}


def test_parallel_assignments_put_a_contact_into_one_active_campaign_only(tenant: Tenant) -> None:
    ids = tenant.contacts(6)
    campaigns = [tenant.campaign(contacts=0) for _ in range(4)]

    def assigning(campaign: Campaign) -> Callable[[CampaignStore], Assigned]:
        return lambda store: store.contacts.assign(campaign.id, ids, skip_active=True)

    answers = run_together(tenant, *map(assigning, campaigns))
    assert sorted(answer.added for answer in answers) == [0, 0, 0, 6]
    assert sorted(len(answer.skipped) for answer in answers) == [0, 6, 6, 6]
    for campaign in campaigns:
        tenant.check_totals(campaign.id)


def test_contacts_are_ordered_by_priority_then_by_the_given_order(tenant: Tenant) -> None:
    ids = tenant.contacts(12)
    campaign = tenant.campaign(contacts=0)
    priorities = [0, 5, -1, 5, MAX_PRIORITY, -MAX_PRIORITY, 0, 1, -1, MAX_PRIORITY, 0, 5]
    pairs = list(zip(ids, priorities, strict=True))
    for some in (pairs[:5], pairs[5:]):
        assign(tenant, campaign.id, some)
    expected = [id_ for id_, _ in sorted(pairs, key=lambda pair: -pair[1])]
    contacts = tenant.campaign_contacts(campaign.id)
    assert [*contacts] == expected
    assert {id_: contact.priority for id_, contact in contacts.items()} == dict(pairs)
    assert claimed_ids(tenant, campaign.id) == expected


def test_the_first_mention_of_a_contact_counts(tenant: Tenant) -> None:
    ids = tenant.contacts(4)
    unknown = uuid4()
    campaign = tenant.campaign(contacts=0)
    contacts = [
        *(ids[0], (ids[1], 2), ids[0], unknown, (ids[1], -9)),
        *(ids[2], ids[3], unknown, ids[2]),
    ]
    assert assign(tenant, campaign.id, contacts) == Assigned(4, 0, (unknown,))
    assert assigned_ids(tenant, campaign.id) == [ids[1], ids[0], ids[2], ids[3]]
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("positions", [(0,), (3, 4, 5), (0, 2, 4, 6, 8), tuple(range(9))])
def test_unknown_contacts_are_skipped_and_reported(
    tenant: Tenant, positions: tuple[int, ...]
) -> None:
    of_other_tenant = iter(new_tenant(tenant.engine).contacts(len(positions)))
    known = iter(tenant.contacts(9))
    ids = [
        (next(of_other_tenant) if position % 2 else uuid4())
        if position in positions
        else next(known)
        for position in range(9)
    ]
    campaign = tenant.campaign(contacts=0)
    assigned = assign(tenant, campaign.id, ids)
    known_ids = [id_ for position, id_ in enumerate(ids) if position not in positions]
    assert (assigned.added, assigned.already_there) == (len(known_ids), 0)
    assert assigned.unknown == tuple(ids[position] for position in positions)
    assert assigned_ids(tenant, campaign.id) == known_ids
    again = assign(tenant, campaign.id, ids)
    assert (again.added, again.already_there) == (0, len(known_ids))
    assert again.unknown == assigned.unknown
    tenant.check_totals(campaign.id)


def test_unknown_contacts_of_a_query_are_reported_in_its_order(tenant: Tenant) -> None:
    known_ids = tenant.contacts(15)
    unknown_ids = new_tenant(tenant.engine).contacts(30)
    contacts = HOST.contacts.c
    all_ids = [*known_ids, *unknown_ids]
    query = sa.select(contacts.id).where(contacts.id.in_(all_ids)).order_by(contacts.id)
    campaign = tenant.campaign(contacts=0)
    expected = Assigned(15, 0, tuple(sorted(unknown_ids)))
    assert assign(tenant, campaign.id, query) == expected


def test_assigning_no_contact_changes_nothing(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    before = tenant.transact(lambda store: all_rows(store.connection, tenant.id))
    for nothing in ([], iter(()), by_query([]), [uuid4()]):
        assert assign(tenant, campaign.id, nothing).added == 0
    assert tenant.transact(lambda store: all_rows(store.connection, tenant.id)) == before


def test_a_row_that_another_program_has_inserted_is_kept(tenant: Tenant) -> None:
    ids = tenant.contacts(3)
    campaign = tenant.campaign(contacts=0)
    row = {
        "id": uuid4(),
        "tenant_id": tenant.id,
        "campaign_id": campaign.id,
        "contact_id": ids[1],
        "rank": 7,
        "added_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    execute(tenant, sa.insert(campaign_contacts).values(row))
    assert assign(tenant, campaign.id, ids) == Assigned(2, 1, ())
    assert contact_rows(tenant, campaign.id).keys() == {*ids}


# Errors.


@pytest.mark.parametrize(
    "wrong",
    [
        (UUID(int=1), MAX_PRIORITY + 1),
        (UUID(int=1), -MAX_PRIORITY - 1),
        (UUID(int=1), True),
        (UUID(int=1), 1, 2),
        "me",
        5,
    ],
    ids=repr,
)
def test_a_wrong_contact_or_priority_assigns_no_contact(tenant: Tenant, wrong: Any) -> None:
    campaign = tenant.campaign(contacts=0)
    ids = tenant.contacts(7)
    error_type = TypeError if wrong == 5 else InvalidArgument
    with open_store(tenant) as store, refused(store, error_type):
        store.contacts.assign(campaign.id, [*ids, wrong])


def test_a_failing_iterator_assigns_no_contact(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=0)
    ids = tenant.contacts(7)

    def fail_at_the_end() -> Iterator[UUID]:
        yield from ids
        raise LookupError("no more")

    with open_store(tenant) as store, refused(store, LookupError):
        store.contacts.assign(campaign.id, fail_at_the_end())


def test_a_unique_key_of_the_host_raises_the_databases_error(tenant: Tenant) -> None:
    ids = tenant.contacts(2)
    tenant.campaign(contacts=ids)
    campaign = tenant.campaign(contacts=0)
    execute(
        tenant,
        sa.text(
            "CREATE UNIQUE INDEX one_campaign ON campaign_contacts (tenant_id, contact_id) "
            f"WHERE tenant_id = '{tenant.id.hex}'"
        ),
    )
    try:
        with pytest.raises(sa.exc.IntegrityError, match=r"(?i)unique"):
            assign(tenant, campaign.id, ids)
    finally:
        execute(tenant, sa.text("DROP INDEX one_campaign"))
    assert contact_rows(tenant, campaign.id) == {}


def test_failure_23_an_error_of_a_query_is_raised(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=0)
    ids = tenant.contacts(3)
    with open_store(tenant) as store:
        # A contact without an id is an error, not an unknown contact.
        with refused(store, TypeError):
            store.contacts.assign(campaign.id, sa.select(sa.null()))
        with refused(store, sa.exc.DBAPIError), store.connection.begin_nested():
            store.contacts.assign(campaign.id, sa.select(sa.literal_column("no_such_column")))
        assert store.contacts.assign(campaign.id, ids).added == 3
    tenant.check_totals(campaign.id)


def test_failure_23_a_violated_foreign_key_is_an_error(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=0)
    owner_id = new_owner(tenant)
    # The store looks for contacts in a table that the foreign key does not refer to.
    with (
        open_store(tenant, host=HostTables(contacts=HOST.owners.name)) as store,
        refused(store, sa.exc.IntegrityError),
    ):
        store.contacts.assign(campaign.id, [owner_id])


# Memory and parallel calls.


def test_a_large_input_is_read_in_small_chunks(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=0)
    texts = [str(id_) for id_ in tenant.contacts(30)]
    alive: weakref.WeakSet[UUID] = weakref.WeakSet()
    most_alive = 0

    def read_ids() -> Iterator[UUID]:
        nonlocal most_alive
        for text in texts:
            id_ = UUID(text)
            alive.add(id_)
            most_alive = max(most_alive, len(alive))
            yield id_

    assert assign(tenant, campaign.id, read_ids()) == Assigned(30, 0, ())
    # At most three chunks of three: one is inserted, one is sorted, one is read.
    assert most_alive <= 9
    tenant.check_totals(campaign.id)


def test_failure_15_parallel_assignments_of_the_same_contacts_make_one_row_each(
    tenant: Tenant,
) -> None:
    ids = tenant.contacts(20)
    campaign = tenant.campaign(contacts=0)
    answers = run_together(
        tenant,
        *[
            lambda store, some=some: store.contacts.assign(campaign.id, some)
            for some in (ids, ids[::-1], ids[:10], ids[5:])
        ],
    )
    assert sum(answer.added for answer in answers) == 20
    assert sum(answer.already_there for answer in answers) == 45
    assert contact_rows(tenant, campaign.id).keys() == {*ids}
    assert legacy_columns(tenant, campaign.id) == (20, 0, Decimal(0))
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "rolled back"])
def test_failure_15_an_assignment_waits_for_the_one_before(tenant: Tenant, *, commit: bool) -> None:
    ids = tenant.contacts(3)
    campaign = tenant.campaign(contacts=0)
    (answer,) = run_while_open(
        tenant,
        first=lambda store: store.contacts.assign(campaign.id, ids[:2]),
        others=[lambda store: store.contacts.assign(campaign.id, [(ids[1], 5), (ids[2], 0)])],
        commit=commit,
    )
    assert answer == (Assigned(1, 1, ()) if commit else Assigned(2, 0, ()))
    assert assigned_ids(tenant, campaign.id) == ([*ids] if commit else [*ids[1:]])
    tenant.check_totals(campaign.id)


def test_failure_15_a_contact_that_the_host_deletes_in_parallel_is_unknown(
    tenant: Tenant,
) -> None:
    ids = tenant.contacts(2)
    campaign = tenant.campaign(contacts=0)
    (answer,) = run_while_open(
        tenant,
        first=lambda store: store.connection.execute(
            sa.delete(HOST.contacts).where(HOST.contacts.c.id == ids[0])
        ),
        others=[lambda store: store.contacts.assign(campaign.id, ids)],
    )
    assert answer == Assigned(1, 0, (ids[0],))
    tenant.check_totals(campaign.id)
