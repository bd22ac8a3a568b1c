"""One value of each type that a service answers with. docs/json.md shows them as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from campaign_model import (
    Action,
    Assigned,
    Campaign,
    CampaignContact,
    CampaignSummary,
    CampaignTemplate,
    Changed,
    Conflict,
    ContactStatus,
    Estimate,
    Facts,
    GenerationConfig,
    HistoryEntry,
    InvalidArgument,
    InvalidDocument,
    LeaseLost,
    NotFound,
    Overlap,
    Page,
    Progress,
    Removed,
    Repair,
    ReviewTally,
    Skipped,
    SkipReason,
    Status,
    Step,
    StepSequence,
    TransactionAborted,
    Unmet,
    Violation,
    lifecycle,
)
from campaign_model.campaign import Move
from campaign_model.lifecycle import why_not


def _id(number: int) -> UUID:
    return UUID(f"a0000000-0000-4000-8000-{number:012}")


_AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
_STEPS = StepSequence(
    [
        Step("linkedin_connect", "Invite", key="invite"),
        Step("email", "Say hello", key="hello", day_offset=2, variant_count=2),
    ]
)
_REPAIR = Repair("/0/label", "defaulted", "steps[0].label: was missing and is now 'email'")
_VIOLATION = Violation("/0/channel", "unknown_value", "steps[0].channel: 'fax' is not known")
_SUMMARY = CampaignSummary(
    id=_id(1),
    name="Spring",
    status=Status.REVIEW,
    is_active=True,
    owner_id=_id(2),
    template_id=_id(3),
    total_contacts=3,
    generated_count=3,
    generation_cost=Decimal("0.004320000"),
    unknown_costs=0,
    version=4,
    created_at=_AT,
    updated_at=_AT + timedelta(hours=1, microseconds=250_000),
)
_REFUSAL = why_not(Status.READY, Action.START_GENERATION, Facts(enabled_steps=2))
assert _REFUSAL is not None

SAMPLES = (
    Campaign(
        "Spring",
        _STEPS,
        GenerationConfig(tone="friendly", language="en", budget=Decimal("25.00")),
        owner_id=_id(2),
        template_id=_id(3),
        id=_id(1),
        status=Status.READY,
        version=3,
        created_at=_AT,
        updated_at=_AT,
        repairs=(_REPAIR,),
    ),
    _SUMMARY,
    CampaignTemplate("Two steps", _STEPS, id=_id(3), created_at=_AT, updated_at=_AT),
    CampaignContact(
        id=_id(5),
        campaign_id=_id(1),
        contact_id=_id(4),
        status=ContactStatus.FAILED,
        enrichment_gaps=(),
        priority=0,
        attempts=2,
        revision=0,
        cost=Decimal("0.00144"),
        unknown_costs=0,
        error_code="refused",
        error="the model refused to write the message",
        stale=False,
        lease_expires_at=None,
        retry_at=None,
        added_at=_AT,
        generated_at=None,
        exported_at=None,
    ),
    Page((_SUMMARY,), "2026-01-31T09:30:00"),
    Progress(
        by_status={ContactStatus.GENERATED: 3, ContactStatus.PENDING: 1},
        spent=Decimal("0.00432"),
        reserved=Decimal("0E-9"),
        unknown_costs=0,
        budget=Decimal("25.00"),
        per_second=1.5,
        seconds_left=0.75,
    ),
    Estimate(contacts=1, messages=3, cost=Decimal("0.00144")),
    next(
        state
        for state in lifecycle.actions(Status.REVIEW, Facts(generated=3, contacts=3))
        if state.action is Action.APPROVE
    ),
    HistoryEntry(_AT, Action.MARK_READY, Status.DRAFT, Status.READY, 2, "ada", None),
    Move(
        id=_id(8),
        tenant_id=_id(7),
        campaign_id=_id(1),
        version=2,
        action=Action.MARK_READY,
        source=Status.DRAFT,
        target=Status.READY,
        actor="ada",
        reason=None,
        at=_AT,
    ),
    ReviewTally(approved=5, rejected=1, undecided=0),
    Assigned(added=2, already_there=1, unknown=(_id(9),)),
    Skipped(_id(4), SkipReason.COOLDOWN, _id(6), "Winter", _AT),
    Changed(changed=2, skipped=(_id(9),)),
    Removed(removed=1, kept=(_id(4),)),
    Overlap(_id(4), _id(6), "Winter", ContactStatus.GENERATED, _AT),
    _STEPS.slots()[0],
    _STEPS.diff(_STEPS.remove("invite")),
    _REPAIR,
    _VIOLATION,
    Unmet("has_contacts", "the campaign has no contacts; assign or include contacts"),
    InvalidDocument("template_config", (_VIOLATION,)),
    InvalidArgument("status", "status is one of draft or ready, not 'paused'", ("draft", "ready")),
    _REFUSAL,
    NotFound("campaign", (_id(1),)),
    Conflict("stale_version", "another call changed the campaign; load it again"),
    LeaseLost((_id(5),)),
    TransactionAborted("an error of the database was caught"),
)
