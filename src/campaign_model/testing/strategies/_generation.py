"""Strategies of values of the lifecycle, of campaign contacts, of generation, and of errors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model import lifecycle
from campaign_model.campaign import CampaignContact
from campaign_model.claims import (
    MAX_DURATION,
    Claim,
    ClaimBatch,
    Cursor,
    Failed,
    Generated,
    NotReady,
    Outcome,
    Progress,
    StopReason,
    Unfinished,
)
from campaign_model.errors import (
    CampaignModelError,
    Conflict,
    InvalidArgument,
    InvalidDocument,
    LeaseLost,
    NotFound,
    TransactionAborted,
    TransitionNotAllowed,
    Unmet,
    Violation,
)
from campaign_model.lifecycle import Action, ActionState, ContactStatus, Facts, ReviewTally, Status
from campaign_model.steps import MAX_STEPS
from campaign_model.testing import documents
from campaign_model.testing._parts import built
from campaign_model.testing.strategies._content import (
    COUNTS,
    FIELDS,
    SHORT_TEXTS,
    after,
    amounts,
    generation_configs,
    ids,
    moments,
    optional,
    step_sequences,
    tuples_of,
)
from campaign_model.vocabulary import STANDARD, Vocabulary

TALLIES = st.builds(ReviewTally, approved=COUNTS, rejected=COUNTS, undecided=COUNTS)


def facts() -> SearchStrategy[Facts]:
    """Draw facts (the counts that guards check) that are consistent.

    The number of all contacts is at least the sum of those claimable, in flight and generated.
    """
    return built(
        lambda claimable, in_flight, up_to_date, stale, others, **fields: Facts(
            claimable=claimable,
            in_flight=in_flight,
            generated=up_to_date + stale,
            stale=stale,
            contacts=claimable + in_flight + up_to_date + stale + others,
            **fields,
        ),
        COUNTS,
        COUNTS,
        COUNTS,
        COUNTS,
        COUNTS,
        enabled_steps=st.integers(0, MAX_STEPS),
        budget_exhausted=st.booleans(),
        review=optional(TALLIES),
        allow_empty=st.booleans(),
        allow_partial=st.booleans(),
    )


def action_states() -> SearchStrategy[ActionState]:
    """Draw every action in every status: allowed, or refused with the reason."""
    return built(
        lambda status, action, facts: next(
            state for state in lifecycle.actions(status, facts) if state.action is action
        ),
        st.sampled_from(Status),
        st.sampled_from(Action),
        facts(),
    )


COSTS = optional(amounts())


def campaign_contacts() -> SearchStrategy[CampaignContact]:
    """Draw contacts in every status, with consistent gaps, lease, error and times."""
    return built(
        _contact,
        status=st.sampled_from(ContactStatus),
        gaps=tuples_of(FIELDS),
        unknown=st.booleans(),
        stale=st.booleans(),
        exported=st.booleans(),
        error=SHORT_TEXTS,
        since=after(),
        pause=optional(after()),
        id=ids(),
        campaign_id=ids(),
        contact_id=ids(),
        priority=st.integers(-(2**22) + 1, 2**22 - 1),
        attempts=COUNTS,
        revision=COUNTS,
        cost=amounts(),
        unknown_costs=COUNTS,
        added_at=moments(),
    )


def _contact(
    *,
    status: ContactStatus,
    gaps: tuple[str, ...],
    unknown: bool,
    stale: bool,
    exported: bool,
    error: str,
    since: timedelta,
    pause: timedelta | None,
    **fields: Any,
) -> CampaignContact:
    """Make a contact whose fields are consistent with its status.

    ``unknown`` means that the gaps were not checked. ``since`` is the time from the assignment to
    the moment that the status needs, such as the end of the lease. ``pause`` is the time from then
    until a waiting contact may be claimed.
    """
    gaps_of_waiting = {
        ContactStatus.PENDING: None,
        ContactStatus.ENRICHMENT_OK: (),
        ContactStatus.ENRICHMENT_NEEDED: gaps or ("email_address",),
    }
    at = fields["added_at"] + since
    failed, generated = status is ContactStatus.FAILED, status is ContactStatus.GENERATED
    paused = status in lifecycle.CLAIMABLE and pause is not None
    return CampaignContact(
        status=status,
        enrichment_gaps=gaps_of_waiting.get(status, None if unknown else gaps),
        error_code=error if failed else None,
        error=error if failed else None,
        stale=generated and stale,
        lease_expires_at=at if status is ContactStatus.GENERATING else None,
        retry_at=at + pause if paused else None,
        generated_at=at if generated else None,
        exported_at=at if generated and exported else None,
        **fields,
    )


OUTCOMES: dict[type[Outcome], SearchStrategy[Any]] = {
    Generated: st.builds(Generated, cost=COSTS),
    Failed: st.builds(Failed, code=SHORT_TEXTS, message=SHORT_TEXTS, cost=COSTS),
    NotReady: st.builds(NotReady, gaps=tuples_of(FIELDS, min_size=1), cost=COSTS),
    Unfinished: st.builds(
        Unfinished,
        retry_after=st.one_of(
            st.just(timedelta(0)),
            st.integers(0, 3600).map(lambda seconds: timedelta(seconds=seconds)),
            st.just(MAX_DURATION),
        ),
        cost=COSTS,
    ),
}


def outcomes() -> SearchStrategy[Outcome]:
    """Draw outcomes of all four kinds, with a cost, with a cost of zero, and with unknown cost."""
    return st.one_of([*OUTCOMES.values()])


_fingerprints = st.integers(0, 2**256 - 1).map("{:064x}".format)


def claims() -> SearchStrategy[Claim]:
    """Draw claims of any contacts: first claims and takeovers."""
    return st.builds(
        Claim,
        id=ids(),
        campaign_id=ids(),
        contact_id=ids(),
        token=ids(),
        expires_at=moments(),
        attempts=st.integers(1, 1000),
        revision=COUNTS,
        steps_fingerprint=_fingerprints,
        reserved=amounts(),
    )


def cursors() -> SearchStrategy[Cursor]:
    """Draw the cursor at the start of the order of contacts, and cursors at any rank."""
    return st.builds(Cursor, rank=st.just(-(2**63)) | st.integers(-(2**63), 2**63 - 1))


def claim_batches(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[ClaimBatch]:
    """Draw batches of claims of one campaign, complete or short with the stop reason."""
    return built(
        _batch,
        optional(st.sampled_from(StopReason)),
        st.lists(claims(), min_size=1, max_size=3, unique_by=lambda claim: claim.id),
        optional(after()),
        at=moments(),
        cursor=cursors(),
        steps=step_sequences(min_size=1, max_size=3, vocabulary=vocabulary),
        generation_config=generation_configs(vocabulary=vocabulary),
    )


def _batch(
    stop: StopReason | None, claims: list[Claim], pause: timedelta | None, **fields: Any
) -> ClaimBatch:
    """Make a batch whose claims are of the same campaign and were made under its steps."""
    first, steps = claims[0], fields["steps"]
    return ClaimBatch(
        claims=tuple(
            attrs.evolve(
                claim,
                campaign_id=first.campaign_id,
                expires_at=fields["at"] + timedelta(minutes=5),
                steps_fingerprint=steps.fingerprint,
            )
            for claim in claims
            if stop not in (StopReason.NOT_GENERATING, StopReason.NOT_EXPORTED)
        ),
        stop=stop,
        retry_at=None if stop is None or pause is None else fields["at"] + pause,
        **fields,
    )


def progress() -> SearchStrategy[Progress]:
    """Draw the progress of a generation, with and without its speed, and of an export."""
    return built(
        _progress,
        st.tuples(*[COUNTS for _ in ContactStatus]),
        optional(st.floats(0.001, 1000)),
        COUNTS,
        spent=amounts(),
        reserved=amounts(),
        unknown_costs=COUNTS,
        budget=optional(amounts()),
    )


def _progress(
    counts: tuple[int, ...], rate: float | None, exported: int, **fields: Any
) -> Progress:
    """Make a progress in which at most the generated contacts are exported."""
    by_status = dict(zip(ContactStatus, counts, strict=True))
    return Progress(
        by_status=by_status,
        per_second=rate,
        seconds_left=sum(counts) / rate if rate else None,
        exported=min(exported, by_status[ContactStatus.GENERATED]),
        **fields,
    )


def violations() -> SearchStrategy[Violation]:
    """Draw violations of every code in every kind of document."""
    return built(
        lambda invalid, message: Violation(invalid.path, invalid.code, message),
        st.one_of([documents.invalid(kind) for kind in documents.KINDS]),
        SHORT_TEXTS,
    )


UNMET = st.builds(Unmet, guard=SHORT_TEXTS, message=SHORT_TEXTS)
_guarded = st.sampled_from([one for one in lifecycle.TRANSITIONS if one.guards])
_refusals = st.one_of(
    built(
        lambda transition, facts: lifecycle.why_not(transition.source, transition.action, facts),
        _guarded,
        facts(),
    ),
    built(lifecycle.why_not, st.sampled_from(Status), st.sampled_from(Action), facts()),
)

ERRORS: dict[type[CampaignModelError], SearchStrategy[Any]] = {
    Conflict: st.builds(
        Conflict,
        reason=st.sampled_from(
            ["stale_version", "already_exists", "read_only", "still_referred_to"]
        ),
        message=SHORT_TEXTS,
    ),
    InvalidArgument: st.builds(
        InvalidArgument,
        argument=st.sampled_from(["action", "after", "id", "limit", "reason"]),
        message=SHORT_TEXTS,
        allowed=tuples_of(SHORT_TEXTS),
    ),
    InvalidDocument: st.builds(
        InvalidDocument,
        document=st.sampled_from(documents.KINDS),
        violations=st.lists(violations(), min_size=1, max_size=3).map(tuple),
    ),
    LeaseLost: st.builds(LeaseLost, ids=tuples_of(ids(), min_size=1)),
    NotFound: st.builds(
        NotFound,
        kind=st.sampled_from(["campaign", "template", "owner", "contact", "tenant"]),
        ids=tuples_of(ids(), min_size=1),
    ),
    TransactionAborted: st.builds(TransactionAborted, reason=SHORT_TEXTS),
    TransitionNotAllowed: _refusals.filter(lambda error: error is not None),
}


def errors() -> SearchStrategy[CampaignModelError]:
    """Draw every error that the library raises on purpose."""
    return st.one_of([*ERRORS.values()])
