"""Failure 27: no call commits into a campaign that another transaction has just moved.

A call that comes after a move waits for it and sees the new status. A move that comes after a call
waits for it and counts its changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import ClaimBatch, StopReason
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import (
    PERMISSIONS,
    Action,
    ContactStatus,
    Permission,
    ReviewTally,
    Status,
)
from campaign_model.lifecycle import target as target_of
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaigns
from campaign_model.testing.parallel import Work
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant
from support.tenants import contact_rows, generate_all, legacy_columns
from support.transactions import run_while_open


@attrs.frozen
class Contacts:
    """The contacts of a campaign, one for each call that changes contacts."""

    new: UUID
    removed: UUID
    excluded: UUID
    included: UUID
    ready: UUID


@attrs.frozen
class LateCall:
    """A call, and the permission that it needs."""

    permission: Permission
    make: Callable[[CampaignStore, UUID, Contacts], Any]


CALLS = {
    "assign": LateCall(
        Permission.ASSIGN_CONTACTS,
        lambda store, id_, contacts: store.contacts.assign(id_, [contacts.new]),
    ),
    "remove": LateCall(
        Permission.REMOVE_CONTACTS,
        lambda store, id_, contacts: store.contacts.remove(id_, [contacts.removed]),
    ),
    "exclude": LateCall(
        Permission.EXCLUDE_CONTACTS,
        lambda store, id_, contacts: store.contacts.exclude(id_, [contacts.excluded]),
    ),
    "include": LateCall(
        Permission.INCLUDE_CONTACTS,
        lambda store, id_, contacts: store.contacts.include(id_, [contacts.included]),
    ),
    "set_readiness": LateCall(
        Permission.SET_READINESS,
        lambda store, id_, contacts: store.contacts.set_readiness(
            id_, {contacts.ready: ("phone",)}
        ),
    ),
    "claim": LateCall(
        Permission.CLAIM,
        lambda store, id_, _: store.generation.claim(id_, 1, LEASE, reserve=CENT),
    ),
    "retry_failed": LateCall(
        Permission.RETRY_FAILED, lambda store, id_, _: store.generation.retry_failed(id_)
    ),
    "regenerate": LateCall(
        Permission.REGENERATE, lambda store, id_, _: store.generation.regenerate(id_)
    ),
}

MOVES: dict[Action, Status] = {
    Action.DELETE: Status.DRAFT,
    Action.MARK_READY: Status.DRAFT,
    Action.START_GENERATION: Status.READY,
    Action.CANCEL_GENERATION: Status.GENERATING,
    Action.COMPLETE_GENERATION: Status.GENERATING,
    Action.APPROVE: Status.REVIEW,
    Action.EXPORT: Status.APPROVED,
}
"""Moves, and the status that each starts from."""


def moving(campaign_id: UUID, action: Action) -> Callable[[CampaignStore], Campaign]:
    review = ReviewTally(1, 0, 0)
    return lambda store: store.campaigns.apply(campaign_id, action, review=review)


def campaign_to_move(tenant: Tenant, action: Action) -> tuple[Campaign, Contacts]:
    """A campaign with one failed, one excluded and some other contacts, ready for the action."""
    ids = tenant.contacts(6)
    campaign = tenant.campaign(MOVES[action], contacts=ids, failed=1)
    if action is Action.COMPLETE_GENERATION:
        generate_all(tenant, campaign.id)
    _, removed, excluded, included, ready, _ = ids
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [included]))
    (new,) = tenant.contacts(1)
    return campaign, Contacts(new, removed, excluded, included, ready)


def check_counts(tenant: Tenant, campaign_id: UUID) -> None:
    """The totals and the legacy columns count what the rows say."""
    tenant.check_totals(campaign_id)
    statuses = [row.status for row in contact_rows(tenant, campaign_id).values()]
    assert legacy_columns(tenant, campaign_id)[:2] == (
        len(statuses) - statuses.count(ContactStatus.EXCLUDED),
        statuses.count(ContactStatus.GENERATED),
    )


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "rolled back"])
@pytest.mark.parametrize("action", MOVES)
def test_failure_27_a_call_after_a_move_sees_the_new_status(
    tenant: Tenant, action: Action, *, commit: bool
) -> None:
    campaign, contacts = campaign_to_move(tenant, action)
    before = contact_rows(tenant, campaign.id)

    def making(call: LateCall) -> Work:
        return lambda store: call.make(store, campaign.id, contacts)

    answers = run_while_open(
        tenant,
        first=moving(campaign.id, action),
        others=[making(call) for call in CALLS.values()],
        commit=commit,
    )
    status = target_of(action) if commit else campaign.status
    for (name, call), answer in zip(CALLS.items(), answers, strict=True):
        permitted = status in PERMISSIONS[call.permission]
        if isinstance(answer, ClaimBatch):
            assert (answer.stop is StopReason.NOT_GENERATING) is not permitted
        else:
            assert isinstance(answer, TransitionNotAllowed) is not permitted, name
            assert permitted or (answer.source, answer.action) == (status, call.permission)
    if not any(status in PERMISSIONS[call.permission] for call in CALLS.values()):
        assert contact_rows(tenant, campaign.id) == before
    assert tenant.transact(lambda store: store.campaigns.get(campaign.id)).status is status
    check_counts(tenant, campaign.id)


@pytest.mark.parametrize("action", MOVES)
def test_failure_27_a_move_after_a_call_counts_its_changes(tenant: Tenant, action: Action) -> None:
    campaign, contacts = campaign_to_move(tenant, action)

    def make_permitted_calls(store: CampaignStore) -> None:
        for call in CALLS.values():
            if campaign.status in PERMISSIONS[call.permission]:
                call.make(store, campaign.id, contacts)

    (answer,) = run_while_open(
        tenant, first=make_permitted_calls, others=[moving(campaign.id, action)]
    )
    # A retried contact waits, so the run cannot be completed, nor the campaign approved.
    refusing_guards = {
        Action.COMPLETE_GENERATION: "nothing_left_to_claim",
        Action.APPROVE: "nothing_waiting",
    }
    if action in refusing_guards:
        assert isinstance(answer, TransitionNotAllowed)
        assert refusing_guards[action] in [unmet.guard for unmet in answer.unmet]
    else:
        assert answer.status is target_of(action)
    check_counts(tenant, campaign.id)


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "rolled back"])
def test_failure_27_a_start_after_a_removal_finds_no_contacts(
    tenant: Tenant, *, commit: bool
) -> None:
    campaign = tenant.campaign("ready", contacts=2)
    ids = [*contact_rows(tenant, campaign.id)]
    (answer,) = run_while_open(
        tenant,
        first=lambda store: store.contacts.remove(campaign.id, ids),
        others=[moving(campaign.id, Action.START_GENERATION)],
        commit=commit,
    )
    if commit:
        assert isinstance(answer, TransitionNotAllowed)
        assert [unmet.guard for unmet in answer.unmet] == ["has_contacts_to_generate"]
    else:
        assert answer.status is Status.GENERATING
    check_counts(tenant, campaign.id)


@pytest.mark.parametrize("call", ["claim", "cancel"])
def test_failure_27_a_call_waits_for_a_program_without_the_library(
    tenant: Tenant, call: str
) -> None:
    # The other program does not take the gate. Both lock the row of the campaign.
    campaign = tenant.campaign("generating", contacts=2)
    before = contact_rows(tenant, campaign.id)

    def archive(store: CampaignStore) -> None:
        store.connection.execute(
            sa.update(campaigns)
            .where(campaigns.c.id == campaign.id)
            .values(status=Status.ARCHIVED, is_active=False)
        )

    def make_call(store: CampaignStore) -> object:
        if call == "claim":
            return store.generation.claim(campaign.id, 1, LEASE)
        return store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION)

    (answer,) = run_while_open(tenant, first=archive, others=[make_call])
    if call == "claim":
        assert answer.stop is StopReason.NOT_GENERATING
    else:
        assert isinstance(answer, TransitionNotAllowed)
    assert contact_rows(tenant, campaign.id) == before
    tenant.check_totals(campaign.id)
