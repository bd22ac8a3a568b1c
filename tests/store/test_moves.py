"""Moves of campaigns: reviews, locks, parallel moves. See test_every_status for the table."""

from __future__ import annotations

import ast
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model import store as store_package
from campaign_model.campaign import Campaign
from campaign_model.errors import Conflict, InvalidArgument, TransitionNotAllowed
from campaign_model.lifecycle import Action, ActionState, ContactStatus, ReviewTally, Status
from campaign_model.steps import StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_contacts, campaigns
from campaign_model.testing.parallel import PATIENCE, background_transactions
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from support.tenants import (
    HOST,
    campaign_row,
    contact_rows,
    message_values,
    update_row,
)
from support.transactions import (
    on_postgresql,
    open_store,
    recorded_statements,
    refused,
    rolled_back,
    run_together,
    run_while_open,
)


def test_an_action_is_a_known_word(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    with open_store(tenant) as store:
        for word in ("generating", "Delete", ""):
            with refused(store, InvalidArgument):
                store.campaigns.apply(campaign.id, word)  # type: ignore[arg-type]
        with refused(store, InvalidArgument):
            store.campaigns.apply(campaign.id, Action.DELETE, reason="a\0b")
        deleted = store.campaigns.apply(campaign.id, "delete")  # type: ignore[arg-type]
        assert deleted.status is Status.ARCHIVED


# Reviews.


def test_a_review_is_counted_on_the_stores_connection_under_the_lock(tenant: Tenant) -> None:
    campaign = tenant.campaign("review", contacts=1)
    connections: list[sa.Connection] = []

    def count_review(connection: sa.Connection) -> ReviewTally:
        connections.append(connection)
        if connection.dialect.name == "postgresql":
            with tenant.engine.connect() as other, pytest.raises(sa.exc.OperationalError):
                other.execute(
                    sa.select(campaigns.c.id)
                    .where(campaigns.c.id == campaign.id, campaigns.c.tenant_id == tenant.id)
                    .with_for_update(read=True, nowait=True)
                )
        return ReviewTally(1, 0, 0)

    with open_store(tenant) as store:
        approved = store.campaigns.apply(campaign.id, Action.APPROVE, review=count_review)
        assert approved.status is Status.APPROVED
        assert connections == [store.connection]


def test_a_failing_count_of_the_review_changes_nothing(tenant: Tenant) -> None:
    campaign = tenant.campaign("review", contacts=1)

    def fail(_connection: sa.Connection) -> ReviewTally:
        raise LookupError

    with open_store(tenant) as store, refused(store, LookupError):
        store.campaigns.apply(campaign.id, Action.APPROVE, review=fail)


def test_a_review_counts_a_message_that_was_committed_before_the_lock(tenant: Tenant) -> None:
    campaign = tenant.campaign("review", contacts=1)
    (row,) = contact_rows(tenant, campaign.id).values()

    def approve(store: CampaignStore) -> Campaign:
        def count_review(connection: sa.Connection) -> ReviewTally:
            drafts = sa.select(sa.func.count()).where(
                HOST.messages.c.campaign_id == campaign.id, HOST.messages.c.status == "draft"
            )
            return ReviewTally(1, 0, connection.execute(drafts).scalar_one())

        return store.campaigns.apply(campaign.id, Action.APPROVE, review=count_review)

    def write_message(store: CampaignStore) -> None:
        store.campaigns.get(campaign.id, lock=True)
        store.connection.execute(sa.insert(HOST.messages).values(message_values(tenant.id, row)))

    (answer,) = run_while_open(tenant, first=write_message, others=[approve])
    assert isinstance(answer, TransitionNotAllowed)
    assert [unmet.guard for unmet in answer.unmet] == ["nothing_undecided"]


def test_failure_18_an_approval_needs_an_approved_message_or_allow_empty(tenant: Tenant) -> None:
    campaign = tenant.campaign("review", contacts=2)

    def approve(store: CampaignStore, review: Any, **options: Any) -> Campaign:
        return store.campaigns.apply(campaign.id, Action.APPROVE, review=review, **options)

    with open_store(tenant) as store:
        for tally, guard in (
            (None, "review_counted"),
            (ReviewTally(0, 0, 0), "something_approved"),
            (ReviewTally(0, 4, 0), "something_approved"),
            (ReviewTally(4, 0, 1), "nothing_undecided"),
        ):
            for review in (tally, lambda _, tally=tally: tally):
                with refused(store, TransitionNotAllowed) as caught:
                    approve(store, review)
                assert [unmet.guard for unmet in caught.value.unmet] == [guard]
        with refused(store, TransitionNotAllowed):
            approve(store, None, allow_empty=True)
        with rolled_back(store):
            emptied = approve(store, ReviewTally(0, 4, 0), allow_empty=True)
            assert emptied.status is Status.APPROVED
        assert approve(store, ReviewTally(1, 3, 0)).status is Status.APPROVED


def test_failure_18_an_approval_drops_no_contact_that_another_user_regenerates(
    tenant: Tenant,
) -> None:
    campaign = tenant.campaign("review", contacts=3)
    regenerated, *others = contact_rows(tenant, campaign.id)
    honest_tally = ReviewTally(approved=2, rejected=0, undecided=0)

    def regenerate(store: CampaignStore) -> None:
        store.generation.regenerate(campaign.id, [regenerated])

    def approve(store: CampaignStore, **options: Any) -> Campaign:
        return store.campaigns.apply(campaign.id, Action.APPROVE, review=honest_tally, **options)

    # B approves while A's transaction is open, so B waits for the lock and then counts.
    (answer,) = run_while_open(tenant, first=regenerate, others=[approve])
    assert isinstance(answer, TransitionNotAllowed)
    assert [unmet.guard for unmet in answer.unmet] == ["nothing_waiting"]
    assert str(answer) == (
        "approve is not possible yet: 1 contact(s) wait for messages and would not be exported; "
        "request changes and generate them, or exclude them"
    )
    with open_store(tenant) as store:
        with rolled_back(store):
            store.contacts.exclude(campaign.id, [regenerated])
            assert approve(store).status is Status.APPROVED
        assert approve(store, allow_partial=True).status is Status.APPROVED
        exportable = [contact.contact_id for contact in store.contacts.exportable(campaign.id)]
        assert {*exportable} == {*others}


def test_failure_18_an_approval_needs_messages_of_the_present_steps(tenant: Tenant) -> None:
    campaign = tenant.campaign("ready", contacts=3, generated=3)
    edited = attrs.evolve(campaign, steps=campaign.steps.update("s1", label="Other"))
    tenant.transact(lambda store: store.campaigns.save(edited))
    tenant.apply(campaign.id, Action.SUBMIT_FOR_REVIEW)
    excluded = next(iter(contact_rows(tenant, campaign.id)))
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [excluded]))

    def approve_action(store: CampaignStore, **options: Any) -> ActionState:
        states = store.campaigns.actions(campaign.id, review=ReviewTally(3, 0, 0), **options)
        return next(state for state in states if state.action is Action.APPROVE)

    def approve(store: CampaignStore, **options: Any) -> Campaign:
        review = ReviewTally(3, 0, 0)
        return store.campaigns.apply(campaign.id, Action.APPROVE, review=review, **options)

    with open_store(tenant) as store:
        with refused(store, TransitionNotAllowed) as caught:
            approve(store)
        (unmet,) = caught.value.unmet
        assert unmet.guard == "nothing_stale"
        assert unmet.message.startswith("2 contact(s) are stale")
        error = approve_action(store).error
        assert error is not None
        assert error.unmet == (unmet,)
        assert approve_action(store, allow_partial=True).allowed
        with rolled_back(store):
            assert approve(store, allow_partial=True).status is Status.APPROVED
        # The same steps as before, in other words: the contacts are no longer stale.
        store.campaigns.apply(campaign.id, Action.REQUEST_CHANGES)
        present = store.campaigns.get(campaign.id)
        steps = present.steps.update("s1", label=campaign.steps.by_key("s1").label)
        store.campaigns.save(attrs.evolve(present, steps=steps))
        store.campaigns.apply(campaign.id, Action.SUBMIT_FOR_REVIEW)
        assert approve(store).status is Status.APPROVED


def test_only_an_approval_counts_stale_contacts(tenant: Tenant) -> None:
    campaign = tenant.campaign("ready", contacts=1, generated=1)
    review = ReviewTally(1, 0, 0)
    with open_store(tenant) as store, recorded_statements(tenant.engine) as statements:

        def counts_stale(call: Callable[[], object]) -> bool:
            statements.clear()
            call()
            return any("steps_fingerprint" in statement for statement, _ in statements)

        def apply(action: Action, **options: Any) -> bool:
            return counts_stale(lambda: store.campaigns.apply(campaign.id, action, **options))

        assert not counts_stale(lambda: store.campaigns.actions(campaign.id))
        assert not apply(Action.SUBMIT_FOR_REVIEW)
        assert counts_stale(lambda: store.campaigns.actions(campaign.id))
        assert not apply(Action.REQUEST_CHANGES)
        assert not apply(Action.SUBMIT_FOR_REVIEW)
        assert apply(Action.APPROVE, review=review)
        assert not apply(Action.REOPEN_REVIEW)
        assert not apply(Action.APPROVE, review=review, allow_partial=True)


# Locks.


def test_a_locked_campaign_delays_every_change(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    changes: tuple[Callable[[CampaignStore], object], ...] = (
        lambda store: store.campaigns.save(attrs.evolve(campaign, name="Renamed")),
        lambda store: store.campaigns.apply(campaign.id, Action.MARK_READY).status,
        lambda store: store.campaigns.get(campaign.id, lock=True).name,
        lambda store: store.campaigns.clone(campaign.id).name,
    )
    for change in changes:
        (answer,) = run_while_open(
            tenant, first=lambda store: store.campaigns.get(campaign.id, lock=True), others=[change]
        )
        assert not isinstance(answer, Exception)


@on_postgresql
def test_a_read_does_not_wait_for_a_lock(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    reads: tuple[Callable[[CampaignStore], object], ...] = (
        lambda store: store.campaigns.get(campaign.id).status,
        lambda store: store.campaigns.list().items[0].status,
        lambda store: store.campaigns.actions(campaign.id)[0].allowed,
        lambda store: len(store.campaigns.history(campaign.id)),
        lambda store: store.generation.progress(campaign.id).total,
        lambda store: len(store.contacts.list(campaign.id).items),
    )
    with background_transactions(tenant) as background, open_store(tenant) as store:
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        for read in reads:
            assert background.start(read).result(PATIENCE) is not None


# Parallel moves.


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "rolled back"])
def test_failure_01_a_second_start_waits_for_the_first(tenant: Tenant, *, commit: bool) -> None:
    def start(store: CampaignStore) -> Campaign:
        return store.campaigns.apply(campaign.id, Action.START_GENERATION)

    campaign = tenant.campaign("ready")
    answers = run_while_open(tenant, first=start, others=[start, start], commit=commit)
    started = [answer for answer in answers if isinstance(answer, Campaign)]
    refusals = [answer for answer in answers if isinstance(answer, TransitionNotAllowed)]
    assert len(started) == (0 if commit else 1)
    assert {(one.source, one.unmet) for one in refusals} == {(Status.GENERATING, ())}
    assert campaign_row(tenant, campaign.id).version == campaign.version + 1
    tenant.check_totals(campaign.id)


def test_failure_01_one_of_many_parallel_starts_succeeds(tenant: Tenant) -> None:
    def start(store: CampaignStore) -> Campaign:
        return store.campaigns.apply(campaign.id, Action.START_GENERATION)

    campaign = tenant.campaign("ready")
    answers = run_together(tenant, *[start] * 6)
    assert [isinstance(answer, Campaign) for answer in answers].count(True) == 1
    history = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert [entry.action for entry in history] == [Action.MARK_READY, Action.START_GENERATION]
    assert len(tenant.claim(campaign.id)) == 3


@pytest.mark.parametrize("saved_first", [True, False])
def test_failure_03_a_parallel_save_does_not_undo_a_cancel(
    tenant: Tenant, *, saved_first: bool
) -> None:
    loaded = tenant.campaign("generating", contacts=1, budget=Decimal(1))
    config = attrs.evolve(loaded.generation_config, budget=Decimal(2))

    def save(store: CampaignStore) -> Campaign:
        return store.campaigns.save(attrs.evolve(loaded, generation_config=config))

    def cancel(store: CampaignStore) -> Campaign:
        return store.campaigns.apply(loaded.id, Action.CANCEL_GENERATION)

    first, second = (save, cancel) if saved_first else (cancel, save)
    (answer,) = run_while_open(tenant, first=first, others=[second])
    stored = tenant.transact(lambda store: store.campaigns.get(loaded.id))
    assert stored.status is Status.READY
    if saved_first:
        assert answer == stored
        assert stored.generation_config.budget == 2
    else:
        assert isinstance(answer, Conflict)
        assert answer.reason == "stale_version"
        assert stored.generation_config.budget == 1


# Statuses.


def test_failure_08_the_database_refuses_an_unknown_status(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=2)
    row = next(iter(contact_rows(tenant, campaign.id).values()))
    for word in (None, "", "Draft", "draft ", "running", "deleted"):
        for table, id_ in ((campaigns, campaign.id), (campaign_contacts, row.id)):
            with pytest.raises(sa.exc.IntegrityError):
                update_row(tenant, table, id_, status=word)
    for status in Status:
        update_row(tenant, campaigns, campaign.id, status=status)
        if status is not Status.ARCHIVED:
            with pytest.raises(sa.exc.IntegrityError):
                update_row(tenant, campaigns, campaign.id, is_active=False)
    claim = {"claim_token": uuid4(), "lease_expires_at": datetime(2030, 1, 1, tzinfo=UTC)}
    for contact_status in ContactStatus:
        update_row(tenant, campaign_contacts, row.id, status=contact_status, **claim)


def test_failure_08_no_module_of_the_store_spells_a_status() -> None:
    words = {str(word) for word in (*Status, *ContactStatus)}
    names = words - {"exported"}  # A column of the totals has this name.
    found = []
    for file in sorted(Path(str(store_package.__file__)).parent.rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        docstrings = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        found += [
            f"{file.name}:{node.lineno}: {node.value!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and (node.value in names or any(f"'{word}'" in node.value for word in words))
        ]
    assert found == []


def test_failure_09_a_campaign_without_steps_or_contacts_does_not_start(tenant: Tenant) -> None:
    def unmet_guards(campaign_id: UUID, action: Action) -> set[str]:
        with pytest.raises(TransitionNotAllowed) as caught:
            tenant.apply(campaign_id, action)
        return {unmet.guard for unmet in caught.value.unmet}

    disabled = StepSequence(attrs.evolve(step, enabled=False) for step in STEPS)
    empty = tenant.transact(lambda store: store.campaigns.add(Campaign("Empty")))
    assert unmet_guards(empty.id, Action.MARK_READY) == {"has_enabled_steps", "has_contacts"}
    without_steps = tenant.campaign(contacts=2, steps=disabled)
    assert unmet_guards(without_steps.id, Action.MARK_READY) == {"has_enabled_steps"}

    # A ready campaign can lose its steps and contacts before it starts.
    ready = tenant.campaign("ready", contacts=2)
    first, second = contact_rows(tenant, ready.id)
    with open_store(tenant) as store:
        present = store.campaigns.get(ready.id)
        store.campaigns.save(attrs.evolve(present, steps=disabled))
        store.contacts.exclude(ready.id, [first])
        store.contacts.set_readiness(ready.id, {second: ["phone"]})
    assert unmet_guards(ready.id, Action.START_GENERATION) == {
        "has_enabled_steps",
        "has_contacts_to_generate",
    }
    assert unmet_guards(ready.id, Action.SUBMIT_FOR_REVIEW) == {"something_generated"}


def test_failure_24_a_deleted_draft_differs_from_an_archived_campaign(tenant: Tenant) -> None:
    archived = tenant.campaign("archived", contacts=1)
    draft = tenant.campaign(contacts=1)
    deleted = tenant.apply(draft.id, Action.DELETE, reason="a mistake")
    assert (archived.status, archived.is_active) == (Status.ARCHIVED, True)
    assert (deleted.status, deleted.is_active) == (Status.ARCHIVED, False)

    def listed(**filters: Any) -> set[UUID]:
        page = tenant.transact(lambda store: store.campaigns.list(**filters))
        assert all(one.is_active == (one.id == archived.id) for one in page.items)
        return {one.id for one in page.items}

    assert listed() == {archived.id}
    assert listed(status={Status.ARCHIVED}) == {archived.id}
    assert listed(deleted=True) == {archived.id, deleted.id}
    with open_store(tenant) as store:
        for campaign, action in ((archived, Action.ARCHIVE), (deleted, Action.DELETE)):
            assert store.campaigns.history(campaign.id)[-1].action is action
            for any_action in Action:
                with refused(store, TransitionNotAllowed):
                    store.campaigns.apply(campaign.id, any_action)
