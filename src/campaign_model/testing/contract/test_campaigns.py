"""Statuses change only by the lifecycle's table, and parallel edits overwrite nothing."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign, CampaignTemplate, HistoryEntry
from campaign_model.claims import Claim, Generated, Recorded, StopReason
from campaign_model.errors import Conflict, TransitionNotAllowed
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import TRANSITIONS, Action, ContactStatus, ReviewTally, Status
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaigns
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.parallel import Work, run_while_open
from campaign_model.testing.sample_campaigns import CENT, LEASE, STEPS, Tenant, make_campaign

REVIEWED = ReviewTally(1, 0, 0)


def applying(campaign: Campaign, action: Action) -> Work:
    """Return work that applies one action."""
    return lambda store: store.campaigns.apply(campaign.id, action)


def claiming(campaign: Campaign, limit: int = 100) -> Work:
    """Return work that claims up to ``limit`` contacts."""
    return lambda store: store.generation.claim(campaign.id, limit, LEASE)


def test_one_of_two_parallel_starts_is_refused(tenant: Tenant) -> None:
    """Generation starts once. If it started twice, every message would be paid for twice.

    If this fails, check the isolation level, and whether a proxy forwards row locks to the
    database.
    """
    campaign = tenant.campaign("ready")
    start = applying(campaign, Action.START_GENERATION)
    (second_answer,) = run_while_open(tenant, first=start, others=[start])
    assert isinstance(second_answer, TransitionNotAllowed), second_answer
    history = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert [entry.action for entry in history].count(Action.START_GENERATION) == 1


def test_one_of_two_parallel_saves_is_refused(tenant: Tenant) -> None:
    """When two users save the same campaign in parallel, the second save is refused.

    The second user must load the campaign again, so no edit is overwritten.

    If this fails, check the isolation level, and triggers that change version or updated_at.
    """
    campaign = tenant.campaign()

    def saving(name: str) -> Work:
        return lambda store: store.campaigns.save(attrs.evolve(campaign, name=name))

    (second_answer,) = run_while_open(tenant, first=saving("first"), others=[saving("second")])
    assert isinstance(second_answer, Conflict), second_answer
    assert second_answer.reason == "stale_version"
    saved = tenant.transact(lambda store: store.campaigns.get(campaign.id))
    assert (saved.name, saved.version) == ("first", campaign.version + 1)


def test_a_stale_version_is_refused_and_changes_nothing(tenant: Tenant) -> None:
    """A save or an action that names an old version is refused, so no edit is overwritten.

    If this fails, check the triggers on campaigns.
    """
    campaign = tenant.campaign("ready")
    newer = tenant.transact(
        lambda store: store.campaigns.save(attrs.evolve(campaign, description="newer"))
    )

    def work(store: CampaignStore) -> None:
        with pytest.raises(Conflict):
            store.campaigns.save(attrs.evolve(campaign, name="stale"))
        with pytest.raises(Conflict):
            store.campaigns.apply(campaign.id, Action.START_GENERATION, version=campaign.version)
        assert store.campaigns.get(campaign.id) == newer

    tenant.transact(work)


def test_a_claim_behind_a_cancel_gets_nothing(tenant: Tenant) -> None:
    """After a cancel no worker claims another contact.

    If this fails, check the isolation level.
    """
    campaign = tenant.campaign("generating")
    batch, locked = run_while_open(
        tenant,
        first=applying(campaign, Action.CANCEL_GENERATION),
        others=[claiming(campaign), lambda store: store.campaigns.get(campaign.id, lock=True)],
    )
    assert (batch.claims, batch.stop) == ((), StopReason.NOT_GENERATING)
    assert locked.status is Status.READY
    assert tenant.claim(campaign.id) == ()
    tenant.check_totals(campaign.id)


@pytest.mark.usefixtures("postgresql")
def test_a_waiting_cancel_goes_before_later_claims(tenant: Tenant) -> None:
    """A cancel waits only for the claims that are open. A claim that starts later waits behind it.

    If later claims went first, workers could go on claiming until the money is spent.

    If this fails, check the proxies between the service and the database. Cancel and claim wait for
    each other in the queue of an advisory lock, which a proxy must pass on to the database.
    """
    campaign = tenant.campaign("generating")
    cancelled, batch = run_while_open(
        tenant,
        first=claiming(campaign, 1),
        others=[applying(campaign, Action.CANCEL_GENERATION), claiming(campaign)],
    )
    assert cancelled.status is Status.READY
    assert (batch.claims, batch.stop) == ((), StopReason.NOT_GENERATING)


def test_an_approval_drops_no_contact_unless_a_partial_campaign_is_meant(tenant: Tenant) -> None:
    """An approval is refused while contacts wait or are stale, unless the caller allows it.

    If this fails, check the column steps_fingerprint, and look for other programs that write
    campaign_contacts.
    """
    campaign = tenant.campaign(Status.READY, contacts=3, generated=3)
    edited = attrs.evolve(campaign, steps=campaign.steps.update("s1", label="Another"))
    tenant.transact(lambda store: store.campaigns.save(edited))
    tenant.apply(campaign.id, Action.SUBMIT_FOR_REVIEW)
    first, *others = tenant.campaign_contacts(campaign.id)
    tenant.transact(lambda store: store.generation.regenerate(campaign.id, [first]))
    with pytest.raises(TransitionNotAllowed) as caught:
        tenant.apply(campaign.id, Action.APPROVE, review=REVIEWED)
    assert {unmet.guard for unmet in caught.value.unmet} == {"nothing_waiting", "nothing_stale"}
    tenant.apply(campaign.id, Action.APPROVE, review=REVIEWED, allow_partial=True)

    def exportable(store: CampaignStore) -> list[UUID]:
        return [contact.contact_id for contact in store.contacts.exportable(campaign.id)]

    assert tenant.transact(exportable) == others


def test_each_contact_is_handed_out_for_export_once(tenant: Tenant) -> None:
    """Two exporters never send the messages of the same contact.

    If this fails, check the column exported_at, and whether a proxy forwards row locks and SKIP
    LOCKED to the database.
    """
    campaign = tenant.campaign(Status.EXPORTED, contacts=6)

    def handing_out(store: CampaignStore) -> tuple[Claim, ...]:
        return store.export.claim(campaign.id, 2, LEASE).claims

    before = tenant.transact(handing_out)
    (meanwhile,) = run_while_open(tenant, first=handing_out, others=[handing_out])
    assert not {claim.id for claim in before} & {claim.id for claim in meanwhile}
    # The transaction that was open has taken two contacts too, and nothing is left of the six. So
    # no contact was handed out twice.
    assert (len(before), len(meanwhile), tenant.transact(handing_out)) == (2, 2, ())
    answers = [tenant.transact(lambda store: store.export.record(before)) for _ in range(2)]
    assert [{*answer.values()} for answer in answers] == [{Recorded.APPLIED}, {Recorded.ALREADY}]
    assert tenant.progress(campaign.id).exported == len(before)
    tenant.check_totals(campaign.id)


def test_every_move_is_in_the_history(tenant: Tenant, clock: FrozenClock) -> None:
    """For every status change, the history says who made it, when and why.

    If this fails, check the columns of campaign_history, and look for other programs that write or
    delete its rows.
    """
    campaign = tenant.campaign(contacts=1)
    expected: list[HistoryEntry] = []

    def apply(action: Action) -> None:
        clock.forward(timedelta(seconds=1))
        reason = f"because of {action}"

        def work(store: CampaignStore) -> HistoryEntry:
            before = store.campaigns.get(campaign.id)
            after = store.campaigns.apply(
                campaign.id, action, version=before.version, review=REVIEWED, reason=reason
            )
            assert after.version == before.version + 1
            return HistoryEntry(
                at=clock.now,
                action=action,
                source=before.status,
                target=after.status,
                version=after.version,
                actor="ada",
                reason=reason,
            )

        expected.append(tenant.transact(work, actor="ada", clock=clock))

    apply(Action.MARK_READY)
    apply(Action.START_GENERATION)
    tenant.record(dict.fromkeys(tenant.claim(campaign.id), Generated(CENT)))
    apply(Action.CANCEL_GENERATION)
    apply(Action.SUBMIT_FOR_REVIEW)
    apply(Action.APPROVE)
    apply(Action.REOPEN_REVIEW)
    apply(Action.REQUEST_CHANGES)
    apply(Action.SUBMIT_FOR_REVIEW)
    apply(Action.APPROVE)
    apply(Action.EXPORT)
    apply(Action.ARCHIVE)
    history = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert [*history] == expected
    assert {(entry.source, entry.action, entry.target) for entry in history} <= {
        (transition.source, transition.action, transition.target) for transition in TRANSITIONS
    }


@pytest.mark.parametrize("status", list(Status))
def test_a_move_that_is_not_in_the_table_is_refused(tenant: Tenant, status: Status) -> None:
    """Every status change of a campaign is in the table of the lifecycle.

    If this fails, look for other programs that write campaigns.status.
    """
    campaign = tenant.campaign(status, contacts=1)
    actions_in_table = {one.action for one in TRANSITIONS if one.source is status}

    def work(store: CampaignStore) -> None:
        for action in set(Action) - actions_in_table:
            with pytest.raises(TransitionNotAllowed):
                store.campaigns.apply(campaign.id, action, review=REVIEWED)
        assert store.campaigns.get(campaign.id) == campaign

    tenant.transact(work)


def test_guards_use_the_contacts_in_the_database(tenant: Tenant) -> None:
    """No campaign starts without steps or contacts, and none is reviewed while contacts still wait.

    If this fails, check the rows of campaign_totals.
    """
    empty = tenant.transact(lambda store: store.campaigns.add(Campaign("empty")))
    running = tenant.campaign("generating", contacts=2)
    (claim,) = tenant.claim(running.id, 1)
    unmet_guards = {
        (empty.id, Action.MARK_READY): {"has_enabled_steps", "has_contacts"},
        (running.id, Action.COMPLETE_GENERATION): {"nothing_left_to_claim", "nothing_in_flight"},
    }
    # 1. In both campaigns the guards refuse the action.
    for (campaign_id, action), guards in unmet_guards.items():
        with pytest.raises(TransitionNotAllowed) as refused:
            tenant.apply(campaign_id, action)
        assert {unmet.guard for unmet in refused.value.unmet} == guards
    # 2. When all contacts are generated, the same action is allowed.
    tenant.record({claim: Generated(CENT)})
    tenant.record(dict.fromkeys(tenant.claim(running.id), Generated(CENT)))
    assert tenant.apply(running.id, Action.COMPLETE_GENERATION).status is Status.REVIEW


def test_a_deleted_draft_differs_from_an_archived_campaign(tenant: Tenant) -> None:
    """Lists show archived campaigns, and deleted drafts only with ``deleted=True``.

    If this fails, check the column is_active.
    """
    draft, archived = tenant.campaign(), tenant.campaign("archived")
    deleted_draft = tenant.apply(draft.id, Action.DELETE)
    assert (deleted_draft.status, deleted_draft.is_active) == (Status.ARCHIVED, False)
    assert (archived.status, archived.is_active) == (Status.ARCHIVED, True)

    def listed_ids(store: CampaignStore, *, deleted: bool) -> set[UUID]:
        page = store.campaigns.list(status=[Status.ARCHIVED], deleted=deleted, limit=500)
        return {summary.id for summary in page.items} & {draft.id, archived.id}

    assert tenant.transact(lambda store: listed_ids(store, deleted=False)) == {archived.id}
    assert tenant.transact(lambda store: listed_ids(store, deleted=True)) == {archived.id, draft.id}


def test_counts_and_costs_survive_a_restart(tenant: Tenant) -> None:
    """After a cancel and a new start, counts and costs continue where they were.

    If this fails, look for other programs that write campaign_totals or the legacy columns of
    campaigns.
    """
    campaign = tenant.campaign("generating", contacts=4, generated=2)
    tenant.apply(campaign.id, Action.CANCEL_GENERATION, Action.START_GENERATION)
    assert tenant.progress(campaign.id).spent == 2 * CENT
    tenant.record(dict.fromkeys(tenant.claim(campaign.id), Generated(CENT)))
    tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    tenant.check_totals(campaign.id)


def test_the_legacy_columns_equal_the_totals(tenant: Tenant) -> None:
    """A program that does not use the library reads the right numbers in the row of a campaign.

    If this fails, check the columns total_contacts, generated_count and generation_cost of
    campaigns, and look for other programs that write them.
    """
    campaign = tenant.campaign("review", contacts=4, failed=1)
    table = campaigns.c
    columns = (table.total_contacts, table.generated_count, table.generation_cost)

    def legacy_columns(store: CampaignStore) -> tuple[object, ...]:
        query = sa.select(*columns).where(table.tenant_id == tenant.id, table.id == campaign.id)
        row = tuple(store.connection.execute(query).one())
        page = store.campaigns.list(limit=500)
        (summary,) = [one for one in page.items if one.id == campaign.id]
        assert row == tuple(getattr(summary, column.name) for column in columns)
        return row

    assert tenant.transact(legacy_columns) == (4, 3, 4 * CENT)
    last = [*tenant.campaign_contacts(campaign.id)][-1:]
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, last))
    assert tenant.transact(legacy_columns) == (3, 2, 4 * CENT)


def test_a_review_releases_the_contacts_of_dead_workers(tenant: Tenant, clock: FrozenClock) -> None:
    """The contact of a dead worker waits for the next start and does not stay in flight for ever.

    If this fails, look for other programs that write campaign_contacts.status.
    """
    campaign = tenant.campaign("generating", contacts=2, generated=1)
    (claim,) = tenant.claim(campaign.id, clock=clock)
    tenant.transact(lambda store: store.generation.checkpoint(claim, CENT))
    clock.forward(LEASE)
    tenant.apply(campaign.id, Action.CANCEL_GENERATION, Action.SUBMIT_FOR_REVIEW, clock=clock)
    contact = tenant.campaign_contacts(campaign.id)[claim.contact_id]
    assert (contact.status, contact.cost) == (ContactStatus.PENDING, CENT)
    tenant.check_totals(campaign.id)


def test_pages_contain_every_row_exactly_once(tenant: Tenant, clock: FrozenClock) -> None:
    """The pages of a list contain every campaign and every contact exactly once.

    If this fails, look for columns of type timestamp(n), and check how the database sorts ids.
    """
    # Lists begin with the latest campaign. Tomorrow's campaigns come before those of other tests.
    clock.forward(timedelta(days=1))

    def work(store: CampaignStore) -> None:
        added = {store.campaigns.add(Campaign("c")).id for _ in range(4)}
        first = store.campaigns.list(limit=2)
        second = store.campaigns.list(limit=2, after=first.next)
        assert {summary.id for page in (first, second) for summary in page.items} == added

        campaign = make_campaign(store, tenant.contacts(4))
        some = store.contacts.list(campaign.id, limit=2)
        rest = store.contacts.list(campaign.id, limit=2, after=some.next)
        ids = [contact.contact_id for page in (some, rest) for contact in page.items]
        assert (ids, rest.next) == (tenant.contacts(4), None)

    tenant.transact(work, clock=clock)


def test_parallel_clones_get_different_names(tenant: Tenant) -> None:
    """Each clone is a draft with a name of its own, all of the steps and no contacts.

    If this fails, check the isolation level.
    """
    original = tenant.campaign("review")

    def clone(store: CampaignStore) -> Campaign:
        return store.campaigns.clone(original.id)

    (second_clone,) = run_while_open(tenant, first=clone, others=[clone])
    assert second_clone.name == f"{original.name} (copy 2)"
    assert (second_clone.status, second_clone.steps) == (Status.DRAFT, original.steps)
    assert tenant.progress(second_clone.id).assigned == 0


def test_an_edited_template_leaves_campaigns_and_system_templates_alone(tenant: Tenant) -> None:
    """A campaign keeps its steps when its template changes. No tenant changes system templates.

    If this fails, check the rows of campaign_templates without a tenant (``campaign-model templates
    sync``).
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
        for system_template in store.templates.list():
            if system_template.is_system:
                with pytest.raises(Conflict):
                    store.templates.rename(system_template.id, "mine")
        try:
            store.templates.remove(template.id)
        except Conflict as refused:
            # A legacy database may have a foreign key from campaigns to templates.
            assert refused.reason == "still_referred_to"  # noqa: PT017 - both outcomes are right
        assert store.campaigns.get(campaign.id).template_id == template.id

    tenant.transact(work)
