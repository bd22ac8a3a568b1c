"""``store.contacts``: removing, erasing, listing and exporting contacts.

See test_assign for assigning, and test_every_status for permissions and moves.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Campaign, CampaignContact, Changed, Removed
from campaign_model.claims import Claim, Failed, Generated, Outcome, Unfinished
from campaign_model.errors import Conflict, InvalidArgument, NotFound, TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_contacts, campaigns
from campaign_model.testing.sample_campaigns import CENT, Tenant
from support.tenants import (
    HOST,
    contact_rows,
    execute,
    generate_all,
    legacy_columns,
    message_values,
    new_message,
    update_row,
)
from support.transactions import open_store, refused, run_together, run_while_open

pytestmark = pytest.mark.usefixtures("small_chunks")


def contact_in_every_status(tenant: Tenant) -> tuple[Campaign, dict[ContactStatus, UUID]]:
    """A ready campaign with one contact in every status, most of them at some cost."""
    campaign = tenant.campaign("generating", contacts=7)
    claims = tenant.claim(campaign.id, 4)
    generating, generated, failed, excluded = (claim.contact_id for claim in claims)
    ready, lacking, pending = [*contact_rows(tenant, campaign.id)][4:]
    with open_store(tenant) as store:
        for claim in claims:
            store.generation.checkpoint(claim, CENT)
        store.generation.record(
            {
                claims[1]: Generated(CENT),
                claims[2]: Failed("no_answer", "the language model gave no answer", None),
                claims[3]: Generated(CENT),
            }
        )
        store.contacts.exclude(campaign.id, [excluded])
        gaps = {ready: (), lacking: ("phone", "email_address")}
        store.contacts.set_readiness(campaign.id, gaps)
        store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION)
    contacts = {
        ContactStatus.PENDING: pending,
        ContactStatus.ENRICHMENT_OK: ready,
        ContactStatus.ENRICHMENT_NEEDED: lacking,
        ContactStatus.GENERATING: generating,
        ContactStatus.GENERATED: generated,
        ContactStatus.FAILED: failed,
        ContactStatus.EXCLUDED: excluded,
    }
    rows = contact_rows(tenant, campaign.id)
    assert {status: rows[id_].status for status, id_ in contacts.items()} == {
        status: status for status in ContactStatus
    }
    return campaign, contacts


def test_gaps_must_be_names_of_fields(tenant: Tenant) -> None:
    ids = tenant.contacts(2)
    campaign = tenant.campaign(contacts=ids)
    wrong_gaps: tuple[Any, ...] = ([""], ["a\0b"], ["\ud800"], "phone", [5])
    with open_store(tenant) as store:
        for gaps in wrong_gaps:
            with refused(store, TypeError if gaps == "phone" else InvalidArgument):
                store.contacts.set_readiness(campaign.id, {ids[0]: (), ids[1]: gaps})
        # Any iterable of names will do.
        names = {ids[0]: iter(["phone"]), ids[1]: ["a", "b"]}
        assert store.contacts.set_readiness(campaign.id, names) == Changed(2, ())


# Remove.


@pytest.mark.parametrize("index", range(5))
def test_failure_16_a_contact_with_messages_is_kept_when_others_are_removed(
    tenant: Tenant, index: int
) -> None:
    ids = tenant.contacts(5)
    campaign = tenant.campaign(contacts=ids)
    message_id = new_message(tenant, contact_rows(tenant, campaign.id)[ids[index]])
    removed = tenant.transact(lambda store: store.contacts.remove(campaign.id, [*ids, *ids]))
    assert removed == Removed(4, (ids[index],))
    (row,) = contact_rows(tenant, campaign.id).values()
    assert (row.contact_id, row.status) == (ids[index], ContactStatus.EXCLUDED)
    messages = HOST.messages.c
    referred = sa.select(messages.campaign_contact_id).where(messages.id == message_id)
    with tenant.engine.begin() as connection:
        assert connection.scalar(referred) == row.id
    assert legacy_columns(tenant, campaign.id) == (0, 0, Decimal(0))
    tenant.check_totals(campaign.id)


def test_a_removal_of_no_contacts_counts_the_campaign_too(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=3)
    row = next(iter(contact_rows(tenant, campaign.id).values()))
    with tenant.engine.begin() as connection:
        connection.execute(sa.delete(campaign_contacts).where(campaign_contacts.c.id == row.id))
    assert tenant.transact(lambda store: store.contacts.remove(campaign.id, [])) == Removed(0, ())
    assert tenant.progress(campaign.id).total == 2
    tenant.check_totals(campaign.id)


def test_failure_16_claimed_contacts_are_kept_with_and_without_messages(tenant: Tenant) -> None:
    campaign, contacts = contact_in_every_status(tenant)
    before = contact_rows(tenant, campaign.id)
    new_message(tenant, before[contacts[ContactStatus.GENERATED]])
    never_claimed = {
        contacts[status]
        for status in (
            ContactStatus.PENDING,
            ContactStatus.ENRICHMENT_OK,
            ContactStatus.ENRICHMENT_NEEDED,
        )
    }
    removed = tenant.transact(
        lambda store: store.contacts.remove(campaign.id, [*before, uuid4(), *before])
    )
    assert (removed.removed, {*removed.kept}) == (3, before.keys() - never_claimed)
    after = contact_rows(tenant, campaign.id)
    assert after.keys() == before.keys() - never_claimed
    assert {row.status for row in after.values()} == {ContactStatus.EXCLUDED}
    assert legacy_columns(tenant, campaign.id) == (0, 0, 6 * CENT)
    tenant.check_totals(campaign.id)


# Erase.


def test_no_contact_is_erased_while_a_message_refers_to_one_of_them(tenant: Tenant) -> None:
    ids = tenant.contacts(7)
    first, second = tenant.campaign(contacts=ids), tenant.campaign(contacts=ids)
    message_id = new_message(tenant, contact_rows(tenant, second.id)[ids[-1]])
    with open_store(tenant) as store:
        with refused(store, Conflict) as caught:
            store.contacts.erase(ids)
        assert caught.value.reason == "still_referred_to"
        store.connection.execute(sa.delete(HOST.messages).where(HOST.messages.c.id == message_id))
        assert store.contacts.erase(ids) == 14
    for campaign in (first, second):
        assert legacy_columns(tenant, campaign.id) == (0, 0, Decimal(0))
        tenant.check_totals(campaign.id)


def test_a_unique_key_of_the_host_is_no_success(tenant: Tenant) -> None:
    """A unique key that the library does not expect: no call may report success without it."""
    campaigns_before = [tenant.campaign(contacts=1, name=name) for name in ("Spring", "Once")]
    contact_ids = [*contact_rows(tenant, campaigns_before[0].id)]
    with tenant.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE UNIQUE INDEX one_name ON campaigns (tenant_id, name) WHERE name = 'Once'"
        )
    tenants = HOST.tenants
    same_id = sa.insert(tenants).values(id=tenant.id, name="again")

    def save(store: CampaignStore) -> None:
        store.campaigns.save(attrs.evolve(campaigns_before[0], name="Once"))

    def erase(store: CampaignStore) -> None:
        store.contacts.erase(
            contact_ids, delete_messages=lambda connection: connection.execute(same_id)
        )

    for work in (save, erase):
        with pytest.raises(sa.exc.IntegrityError):
            tenant.transact(work)
    with pytest.raises(sa.exc.IntegrityError), tenant.engine.begin() as connection:
        db.remove_tenant(
            connection, tenant.id, delete_messages=lambda connection: connection.execute(same_id)
        )
    names = {one.name for one in tenant.transact(lambda store: store.campaigns.list()).items}
    assert names == {"Spring", "Once"}
    assert [*contact_rows(tenant, campaigns_before[0].id)] == contact_ids
    with tenant.engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX one_name")


def test_an_erasure_deletes_a_message_that_a_worker_is_writing(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=1)
    (claim,) = tenant.claim(campaign.id)
    messages = HOST.messages
    old_id = new_message(tenant, claim)

    def erase(store: CampaignStore) -> int:
        of_contact = sa.delete(messages).where(messages.c.contact_id == claim.contact_id)
        return store.contacts.erase(
            [claim.contact_id], delete_messages=lambda connection: connection.execute(of_contact)
        )

    def write_messages(store: CampaignStore) -> None:
        store.connection.execute(sa.insert(messages).values(message_values(tenant.id, claim)))
        edited = sa.update(messages).where(messages.c.id == old_id).values(body="New")
        store.connection.execute(edited)

    # The worker writes while the erasure waits. In another order they would deadlock.
    answers = run_while_open(
        tenant,
        first=lambda store: store.generation.record({claim: Generated(CENT)}),
        others=[erase],
        then=write_messages,
    )
    assert answers == [1]
    with tenant.engine.begin() as connection:
        of_tenant = sa.select(messages).where(messages.c.tenant_id == tenant.id)
        assert connection.execute(of_tenant).all() == []
    tenant.check_totals(campaign.id)


def test_an_erasure_locks_the_campaign_before_its_contacts(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=3)
    ids = [*contact_rows(tenant, campaign.id)]
    # In the other order, the two transactions would deadlock.
    answers = run_while_open(
        tenant,
        first=lambda store: store.campaigns.get(campaign.id, lock=True),
        others=[lambda store: store.contacts.erase(ids[:2])],
        then=lambda store: store.contacts.exclude(campaign.id, ids),
    )
    assert answers == [2]
    tenant.check_totals(campaign.id)


def test_parallel_erasures_lock_campaigns_in_the_same_order(tenant: Tenant) -> None:
    ids = tenant.contacts(3)
    made = [tenant.campaign(contacts=ids) for _ in range(4)]
    answers = run_together(
        tenant,
        *[
            lambda store, some=some: store.contacts.erase(some)
            for some in (ids[:2], ids[::-1], ids[1:])
        ],
    )
    assert sum(answers) == 12
    for campaign in made:
        assert contact_rows(tenant, campaign.id) == {}
        tenant.check_totals(campaign.id)


# List and export.


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_contain_every_contact_once_in_rank_order(tenant: Tenant, limit: int) -> None:
    campaign, contacts = contact_in_every_status(tenant)
    ids = [*contacts.values()]
    # A program without the library has written equal ranks.
    some = campaign_contacts.c.contact_id.in_(ids[2:6])
    execute(tenant, sa.update(campaign_contacts).where(some).values(rank=3))
    rows = sorted(contact_rows(tenant, campaign.id).values(), key=lambda row: (row.rank, row.id))

    def walk(status: ContactStatus | None) -> list[CampaignContact]:
        listed: list[CampaignContact] = []
        after = None
        while True:
            with open_store(tenant) as store:
                page = store.contacts.list(campaign.id, status=status, limit=limit, after=after)
            listed += page.items
            assert len(page.items) == limit or page.next is None
            after = page.next
            if after is None:
                return listed

    assert [contact.id for contact in walk(None)] == [row.id for row in rows]
    for status, contact_id in contacts.items():
        (contact,) = walk(status)
        (row,) = [row for row in rows if row.contact_id == contact_id]
        assert (contact.campaign_id, contact.status) == (campaign.id, status)
        assert (contact.cost, contact.unknown_costs) == (row.generation_cost, row.unknown_costs)
        for name in (
            *("id", "contact_id", "attempts", "revision", "error_code", "error"),
            *("lease_expires_at", "retry_at", "added_at", "generated_at"),
        ):
            assert getattr(contact, name) == getattr(row, name)
        assert not contact.stale


def test_contacts_are_listed_by_several_statuses_and_by_the_code_of_their_failure(
    tenant: Tenant,
) -> None:
    campaign = tenant.campaign("generating", contacts=5)
    first, second, third, fourth = tenant.claim(campaign.id, 4)
    outcomes: dict[Claim, Outcome] = {
        first: Failed("no_email", "there is no address", CENT),
        second: Failed("rate_limit", "try later", CENT),
        third: Failed("no_email", "the address bounced", CENT),
        fourth: Generated(CENT),
    }
    tenant.record(outcomes)

    def listed(**filters: Any) -> list[tuple[UUID, str | None]]:
        page = tenant.transact(lambda store: store.contacts.list(campaign.id, **filters))
        return [(contact.contact_id, contact.error) for contact in page.items]

    no_email = [
        (first.contact_id, "there is no address"),
        (third.contact_id, "the address bounced"),
    ]
    assert listed(error_code="no_email") == no_email
    assert listed(error_code="no_email", status=ContactStatus.FAILED) == no_email
    assert listed(error_code="no_email", status={ContactStatus.PENDING}) == []
    assert listed(status=()) == []
    both = listed(status=(ContactStatus.FAILED, ContactStatus.GENERATED))
    assert [id_ for id_, _ in both] == [one.contact_id for one in (first, second, third, fourth)]


def test_a_list_refuses_a_wrong_limit_or_page(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    id_ = uuid4()
    with open_store(tenant) as store:
        for limit in (0, -1):
            with refused(store, InvalidArgument):
                store.contacts.list(campaign.id, limit=limit)
        for after in ("", "x", ":", "1:x", f"x:{id_}", f"1:2:{id_}", f"{2**64}:{id_}"):
            with refused(store, InvalidArgument):
                store.contacts.list(campaign.id, after=after)
        with refused(store, NotFound):
            store.contacts.list(uuid4())


def test_only_generated_contacts_are_exported_in_rank_order(tenant: Tenant) -> None:
    ids = tenant.contacts(7)
    campaign = tenant.campaign("review", contacts=ids)
    with open_store(tenant) as store:
        store.contacts.exclude(campaign.id, ids[2:3])
        store.generation.regenerate(campaign.id, ids[4:5])
    update_row(tenant, campaigns, campaign.id, status=Status.APPROVED)

    def exportable() -> list[UUID]:
        with open_store(tenant) as store:
            return [contact.contact_id for contact in store.contacts.exportable(campaign.id)]

    expected = [*ids[:2], ids[3], *ids[5:]]
    assert exportable() == expected
    tenant.apply(campaign.id, Action.EXPORT)
    assert exportable() == expected
    tenant.apply(campaign.id, Action.ARCHIVE)
    with open_store(tenant) as store:
        # The refusal comes from the call, before the first contact is read.
        with refused(store, TransitionNotAllowed):
            store.contacts.exportable(campaign.id)
        with refused(store, NotFound):
            store.contacts.exportable(uuid4())


def test_failure_17_an_excluded_contact_is_not_exported(tenant: Tenant) -> None:
    campaign = tenant.campaign("approved")
    rows = contact_rows(tenant, campaign.id)
    for row in rows.values():
        new_message(tenant, row)
    excluded, *others = rows
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [excluded]))
    tenant.apply(campaign.id, Action.EXPORT)
    exported = tenant.transact(lambda store: list(store.contacts.exportable(campaign.id)))
    assert {contact.contact_id for contact in exported} == {*others}
    assert legacy_columns(tenant, campaign.id) == (2, 2, 3 * CENT)
    tenant.check_totals(campaign.id)


def test_failure_17_an_exclusion_and_an_export_wait_for_each_other(tenant: Tenant) -> None:
    campaign = tenant.campaign("approved")
    first, second, third = contact_rows(tenant, campaign.id)
    exported: list[UUID] = []

    def export(store: CampaignStore) -> int:
        exported[:] = [one.contact_id for one in store.contacts.exportable(campaign.id)]
        return len(exported)

    def excluding(contact_id: UUID) -> Callable[[CampaignStore], Changed]:
        return lambda store: store.contacts.exclude(campaign.id, [contact_id])

    (answer,) = run_while_open(tenant, first=export, others=[excluding(first)])
    assert ({*exported}, answer) == ({first, second, third}, Changed(1, ()))
    (number,) = run_while_open(tenant, first=excluding(second), others=[export])
    assert (number, exported) == (1, [third])
    tenant.check_totals(campaign.id)


def test_overlaps_are_the_other_active_campaigns_latest_first(tenant: Tenant) -> None:
    shared, other, excluded_here, excluded_there = ids = tenant.contacts(4)
    mine = tenant.campaign(contacts=ids)
    old = tenant.campaign(contacts=[shared, excluded_here])
    recent = tenant.campaign("generating", contacts=[shared, excluded_there])
    archived = tenant.campaign("archived", contacts=[shared, other])
    deleted = tenant.campaign(contacts=[shared])
    tenant.apply(deleted.id, Action.DELETE)
    tenant.transact(lambda store: store.contacts.exclude(mine.id, [excluded_here]))
    tenant.transact(lambda store: store.contacts.exclude(recent.id, [excluded_there]))

    def overlaps(campaign: Campaign) -> list[tuple[UUID, UUID, ContactStatus]]:
        listed = tenant.transact(lambda store: store.contacts.overlaps(campaign.id))
        assert all(overlap.campaign_name == "Campaign" for overlap in listed)
        moments = [overlap.last_activity_at for overlap in listed]
        assert moments == sorted(moments, reverse=True)
        return [(overlap.contact_id, overlap.campaign_id, overlap.status) for overlap in listed]

    pending, generated = ContactStatus.PENDING, ContactStatus.GENERATED
    assert overlaps(mine) == [(shared, recent.id, pending), (shared, old.id, pending)]
    tenant.apply(old.id, Action.MARK_READY, Action.START_GENERATION)
    generate_all(tenant, old.id)
    assert overlaps(mine) == [(shared, old.id, generated), (shared, recent.id, pending)]
    tenant.record(dict.fromkeys(tenant.claim(recent.id), Unfinished()))
    assert [campaign_id for _, campaign_id, _ in overlaps(mine)] == [recent.id, old.id]
    assert {campaign_id for _, campaign_id, _ in overlaps(archived)} == {
        mine.id,
        old.id,
        recent.id,
    }
    with open_store(tenant) as store, refused(store, NotFound):
        store.contacts.overlaps(uuid4())


# Counts.


def test_failure_10_every_count_of_contacts_is_the_same(tenant: Tenant) -> None:
    campaign = tenant.campaign("ready", contacts=8)
    id_, ids = campaign.id, [*contact_rows(tenant, campaign.id)]

    def counts() -> set[int]:
        rows = contact_rows(tenant, id_).values()
        (summary,) = tenant.transact(lambda store: store.campaigns.list().items)
        tenant.check_totals(id_)
        return {
            tenant.progress(id_).total,
            sum(row.status != ContactStatus.EXCLUDED for row in rows),
            legacy_columns(tenant, id_)[0],
            summary.total_contacts,
        }

    changes: tuple[tuple[Callable[[CampaignStore], object], int], ...] = (
        (lambda store: store.contacts.exclude(id_, ids[:2]), 6),
        (lambda store: store.contacts.exclude(id_, ids[:3]), 5),
        (lambda store: store.contacts.include(id_, ids[:1]), 6),
        (lambda store: store.contacts.remove(id_, ids[1:4]), 5),
        (lambda store: store.contacts.erase(ids[4:5]), 4),
        (lambda store: store.contacts.set_readiness(id_, {ids[5]: ["phone"]}), 4),
        (lambda store: store.contacts.assign(id_, ids[1:5]), 8),
        (lambda store: store.campaigns.apply(id_, Action.START_GENERATION), 8),
        (lambda store: store.contacts.exclude(id_, ids[:1]), 7),
        (lambda store: store.contacts.erase(ids[:2]), 6),
        (lambda store: store.campaigns.apply(id_, Action.CANCEL_GENERATION), 6),
        (lambda store: store.contacts.remove(id_, ids), 0),
    )
    assert counts() == {8}
    for change, expected in changes:
        tenant.transact(change)
        assert counts() == {expected}
    # The guards use the same count.
    for action, guard in (
        (Action.START_GENERATION, "has_contacts_to_generate"),
        (Action.MARK_READY, "has_contacts"),
    ):
        with pytest.raises(TransitionNotAllowed) as caught:
            tenant.apply(id_, action)
        assert [unmet.guard for unmet in caught.value.unmet] == [guard]
        if action is Action.START_GENERATION:
            tenant.apply(id_, Action.RETURN_TO_DRAFT)


def test_a_cost_of_an_erased_contact_counts_against_the_budget(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=3, budget=2 * CENT)
    first, second = tenant.claim(campaign.id, 3, reserve=CENT)
    tenant.record({first: Generated(CENT)})
    erased = [first.contact_id, second.contact_id]
    tenant.transact(lambda store: store.contacts.erase(erased))
    # The second contact's worker reports no cost. The cost of the first contact stays.
    assert tenant.claim(campaign.id, 3, reserve=CENT) == ()
    tenant.record({second: Unfinished()}, on_lost="book")
    (third,) = tenant.claim(campaign.id, 3, reserve=CENT)
    tenant.record({third: Generated(CENT)})
    assert tenant.claim(campaign.id, reserve=CENT) == ()
    tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    assert legacy_columns(tenant, campaign.id) == (1, 1, Decimal("0.02"))
    tenant.check_totals(campaign.id)
