"""A campaign moves through one door, one step at a time, and nobody's work is lost on the way."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.claims import Generated, StopReason
from campaign_model.errors import Conflict, TransitionNotAllowed
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import TRANSITIONS, Action, ContactStatus, ReviewTally, Status
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaigns
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.contract.parallel import Work, behind
from campaign_model.testing.contract.work import (
    CENT,
    LEASE,
    apply,
    check_totals,
    claim,
    contacts,
    on_postgresql,
    progress,
    record,
)
from campaign_model.testing.sample_campaigns import STEPS, Tenant, make_campaign

REVIEWED = ReviewTally(1, 0, 0)


def move(campaign: Campaign, action: Action) -> Work:
    """Apply one action."""
    return lambda store: store.campaigns.apply(campaign.id, action)


def claiming(campaign: Campaign, limit: int = 100) -> Work:
    """Claim up to ``limit`` contacts."""
    return lambda store: store.generation.claim(campaign.id, limit, LEASE)


def test_of_two_starts_at_once_one_is_refused(tenant: Tenant) -> None:
    """Generation starts once: started twice, every message would be written and paid for twice.

    Look at the isolation level, and at row locks that a proxy does not pass on.
    """
    campaign = tenant.campaign("ready")
    start = move(campaign, Action.START_GENERATION)
    (second,) = behind(tenant, start, start)
    assert isinstance(second, TransitionNotAllowed), second
    history = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert [entry.action for entry in history].count(Action.START_GENERATION) == 1


def test_of_two_saves_at_once_one_is_refused(tenant: Tenant) -> None:
    """Two people edit a campaign: the second is told to load it again, and erases nothing.

    Look at the isolation level, and at triggers that change version or updated_at.
    """
    campaign = tenant.campaign()

    def save(name: str) -> Work:
        return lambda store: store.campaigns.save(attrs.evolve(campaign, name=name))

    (second,) = behind(tenant, save("first"), save("second"))
    assert isinstance(second, Conflict), second
    assert second.reason == "stale_version"
    saved = tenant.transact(lambda store: store.campaigns.get(campaign.id))
    assert (saved.name, saved.version) == ("first", campaign.version + 1)


def test_a_stale_version_is_refused_and_changes_nothing(tenant: Tenant) -> None:
    """Whoever saves or moves what somebody else has changed since is told so, and erases nothing.

    Look at triggers on campaigns.
    """
    campaign = tenant.campaign("ready")
    newer = tenant.transact(
        lambda store: store.campaigns.save(attrs.evolve(campaign, description="newer"))
    )

    def stale(store: CampaignStore) -> None:
        with pytest.raises(Conflict):
            store.campaigns.save(attrs.evolve(campaign, name="stale"))
        with pytest.raises(Conflict):
            store.campaigns.apply(campaign.id, Action.START_GENERATION, version=campaign.version)
        assert store.campaigns.get(campaign.id) == newer

    tenant.transact(stale)


def test_a_cancel_is_passed_by_no_claim(tenant: Tenant) -> None:
    """After a cancel nobody writes another message. Look at the isolation level."""
    campaign = tenant.campaign("generating")
    batch, moved = behind(
        tenant,
        move(campaign, Action.CANCEL_GENERATION),
        claiming(campaign),
        lambda store: store.campaigns.get(campaign.id, lock=True),
    )
    assert (batch.claims, batch.stop) == ((), StopReason.NOT_GENERATING)
    assert moved.status is Status.READY
    assert claim(tenant, campaign.id) == ()
    check_totals(tenant, campaign.id)


@on_postgresql
def test_a_cancel_waits_for_no_claim_that_came_after_it(tenant: Tenant) -> None:
    """A cancel gets in at once, however many workers claim, and not when the money is spent.

    Look at what is between the service and the database: advisory locks have to reach it.
    """
    campaign = tenant.campaign("generating")
    moved, batch = behind(
        tenant,
        claiming(campaign, 1),
        move(campaign, Action.CANCEL_GENERATION),
        claiming(campaign),
    )
    assert moved.status is Status.READY
    assert (batch.claims, batch.stop) == ((), StopReason.NOT_GENERATING)


def test_every_move_is_in_the_history(tenant: Tenant) -> None:
    """Who did what, when and why can be told of every move, in the order of the versions.

    Look at the columns of campaign_history, and at what else writes or deletes there.
    """
    campaign = tenant.campaign(contacts=1)
    moves = (
        *(Action.MARK_READY, Action.START_GENERATION, Action.CANCEL_GENERATION),
        *(Action.SUBMIT_FOR_REVIEW, Action.APPROVE, Action.REOPEN_REVIEW, Action.REQUEST_CHANGES),
        *(Action.SUBMIT_FOR_REVIEW, Action.APPROVE, Action.EXPORT, Action.ARCHIVE),
    )
    way = []
    for action in moves:
        before = tenant.transact(lambda store: store.campaigns.get(campaign.id))
        after = tenant.transact(
            lambda store: store.campaigns.apply(
                campaign.id,
                action,  # noqa: B023
                version=before.version,  # noqa: B023
                review=REVIEWED,
                reason=f"because of {action}",  # noqa: B023
            ),
            actor="ada",
        )
        assert after.version == before.version + 1
        way.append((before.status, action, after.status, after.version, "ada"))
        if action is Action.START_GENERATION:
            record(tenant, *((one, Generated(CENT)) for one in claim(tenant, campaign.id)))
    entries = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert [(one.source, one.action, one.target, one.version, one.actor) for one in entries] == way
    assert [one.reason for one in entries] == [f"because of {action}" for action in moves]
    assert {(one.source, one.action, one.target) for one in entries} <= {
        (line.source, line.action, line.target) for line in TRANSITIONS
    }


@pytest.mark.parametrize("status", list(Status))
def test_a_move_that_the_table_does_not_know_is_refused(tenant: Tenant, status: Status) -> None:
    """No campaign gets around the lifecycle. Look at what else writes campaigns.status."""
    campaign = tenant.campaign(status, contacts=1)
    known = {line.action for line in TRANSITIONS if line.source is status}

    def work(store: CampaignStore) -> None:
        for action in set(Action) - known:
            with pytest.raises(TransitionNotAllowed):
                store.campaigns.apply(campaign.id, action, review=REVIEWED)
        assert store.campaigns.get(campaign.id) == campaign

    tenant.transact(work)


def test_guards_are_judged_by_what_is_in_the_database(tenant: Tenant) -> None:
    """No campaign starts without steps or contacts, and none goes to review with work to do.

    Look at the rows of campaign_totals.
    """
    empty = tenant.transact(lambda store: store.campaigns.add(Campaign("empty")))
    running = tenant.campaign("generating", contacts=2)
    (held,) = claim(tenant, running.id, 1)
    unmet = {
        (empty.id, Action.MARK_READY): {"has_enabled_steps", "has_contacts"},
        (running.id, Action.COMPLETE_GENERATION): {"nothing_left_to_claim", "nothing_in_flight"},
    }
    for (campaign_id, action), guards in unmet.items():
        with pytest.raises(TransitionNotAllowed) as refused:
            apply(tenant, campaign_id, action)
        assert {one.guard for one in refused.value.unmet} == guards
    record(tenant, (held, Generated(CENT)))
    record(tenant, *((one, Generated(CENT)) for one in claim(tenant, running.id)))
    assert apply(tenant, running.id, Action.COMPLETE_GENERATION).status is Status.REVIEW


def test_only_a_draft_is_deleted_and_it_is_not_taken_for_an_archived_one(tenant: Tenant) -> None:
    """A deleted draft is in no list, an archived campaign is. Look at the column is_active."""
    draft, archived = tenant.campaign(), tenant.campaign("archived")
    deleted = apply(tenant, draft.id, Action.DELETE)
    assert (deleted.status, deleted.is_active) == (Status.ARCHIVED, False)
    assert (archived.status, archived.is_active) == (Status.ARCHIVED, True)

    def listed(store: CampaignStore, *, deleted: bool) -> set[UUID]:
        page = store.campaigns.list(status=[Status.ARCHIVED], deleted=deleted, limit=500)
        return {one.id for one in page.items} & {draft.id, archived.id}

    assert tenant.transact(lambda store: listed(store, deleted=False)) == {archived.id}
    assert tenant.transact(lambda store: listed(store, deleted=True)) == {archived.id, draft.id}


def test_what_was_done_and_paid_for_stays_when_a_run_begins_again(tenant: Tenant) -> None:
    """Cancel and start again: counts and cost go on from where they were.

    Look at what else writes campaign_totals or the totals in campaigns.
    """
    campaign = tenant.campaign("generating", contacts=4, generated=2)
    again = (Action.CANCEL_GENERATION, Action.START_GENERATION)
    apply(tenant, campaign.id, *again)
    assert progress(tenant, campaign.id).spent == 2 * CENT
    record(tenant, *((one, Generated(CENT)) for one in claim(tenant, campaign.id)))
    apply(tenant, campaign.id, Action.COMPLETE_GENERATION)
    check_totals(tenant, campaign.id)


def test_readers_of_the_table_find_the_totals_in_it(tenant: Tenant) -> None:
    """A program that knows nothing of the library reads the same numbers as the library tells.

    Look at the columns total_contacts, generated_count and generation_cost, and at what else
    writes them.
    """
    campaign = tenant.campaign("review", contacts=4, failed=1)
    table = campaigns.c
    columns = (table.total_contacts, table.generated_count, table.generation_cost)

    def told(store: CampaignStore) -> tuple[object, ...]:
        read = sa.select(*columns).where(table.tenant_id == tenant.id, table.id == campaign.id)
        page = store.campaigns.list(limit=500)
        (summary,) = [one for one in page.items if one.id == campaign.id]
        row = tuple(store.connection.execute(read).one())
        assert row == tuple(getattr(summary, column.name) for column in columns)
        return row

    assert tenant.transact(told) == (4, 3, 4 * CENT)
    excluded = [*contacts(tenant, campaign.id)][-1:]
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, excluded))
    assert tenant.transact(told) == (3, 2, 4 * CENT)


def test_nobody_is_left_behind_when_a_review_begins(tenant: Tenant, clock: FrozenClock) -> None:
    """A contact whose worker died waits for the next run, and does not stay in flight for ever.

    Look at what else writes campaign_contacts.status.
    """
    campaign = tenant.campaign("generating", contacts=2, generated=1)
    (dead,) = claim(tenant, campaign.id, clock=clock)
    tenant.transact(lambda store: store.generation.checkpoint(dead, CENT))
    clock.forward(LEASE)
    apply(tenant, campaign.id, Action.CANCEL_GENERATION, Action.SUBMIT_FOR_REVIEW, clock=clock)
    left = contacts(tenant, campaign.id)[dead.contact_id]
    assert (left.status, left.cost) == (ContactStatus.PENDING, CENT)
    check_totals(tenant, campaign.id)


def test_a_list_read_by_pages_has_everybody_once(tenant: Tenant, clock: FrozenClock) -> None:
    """No campaign and no contact is missing from a list, or in it twice, however it is read.

    Look for columns of timestamp(n), and at how the database sorts ids.
    """
    clock.forward(timedelta(days=1))

    def work(store: CampaignStore) -> None:
        made = {store.campaigns.add(Campaign("c")).id for _ in range(4)}
        first = store.campaigns.list(limit=2)
        rest = store.campaigns.list(limit=2, after=first.next)
        assert {one.id for page in (first, rest) for one in page.items} == made

        campaign = make_campaign(store, tenant.contacts(4))
        some = store.contacts.list(campaign.id, limit=2)
        others = store.contacts.list(campaign.id, limit=2, after=some.next)
        ids = [one.contact_id for page in (some, others) for one in page.items]
        assert (ids, others.next) == (tenant.contacts(4), None)

    tenant.transact(work, clock=clock)


def test_a_clone_is_a_draft_of_its_own(tenant: Tenant) -> None:
    """Two clones at once get two names, with all of the steps and none of the contacts.

    Look at the isolation level.
    """
    original = tenant.campaign("review")

    def clone(store: CampaignStore) -> Campaign:
        return store.campaigns.clone(original.id)

    (second,) = behind(tenant, clone, clone)
    assert second.name == f"{original.name} (copy 2)"
    assert (second.status, second.steps) == (Status.DRAFT, original.steps)
    assert progress(tenant, second.id).assigned == 0


def test_a_template_changes_by_itself_and_a_shipped_one_never(tenant: Tenant) -> None:
    """A campaign keeps its steps when the template it came from changes; a tenant changes its own.

    Look at the rows of campaign_templates without a tenant (campaign-model templates sync).
    """
    name = f"Own {uuid4()}"

    def work(store: CampaignStore) -> None:
        template = store.templates.add(
            CampaignTemplate(name, STEPS, GenerationConfig(tone="casual"))
        )
        campaign = store.campaigns.add(Campaign.from_template(template, "c"))
        changed = store.templates.replace_steps(template.id, STEPS.move("s1", 2))
        assert changed.version == template.version + 1
        assert store.campaigns.get(campaign.id).steps == STEPS
        with pytest.raises(Conflict):
            store.templates.rename(template.id, "stale", version=template.version)
        with pytest.raises(Conflict):
            store.templates.add(CampaignTemplate(name, STEPS))
        for system in (one for one in store.templates.list() if one.is_system):
            with pytest.raises(Conflict):
                store.templates.rename(system.id, "mine")
        try:
            store.templates.remove(template.id)
        except Conflict as refused:
            # By a key of the host's own, from before this library.
            assert refused.reason == "still_referred_to"  # noqa: PT017 - both will do
        assert store.campaigns.get(campaign.id).template_id == template.id

    tenant.transact(work)
