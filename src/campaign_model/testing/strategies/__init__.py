"""Hypothesis strategies for the library's values. Each function returns a strategy.

The fields of every drawn value are consistent: a campaign whose generation has started has the time
of the start, a failed contact has an error. ``st.from_type`` draws every public type of the
library, with these strategies or with those of :func:`of_type`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_origin

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model._answer import Answer
from campaign_model._json import JsonObject
from campaign_model.campaign import (
    Assigned,
    Campaign,
    CampaignContact,
    CampaignSummary,
    CampaignTemplate,
    Changed,
    HistoryEntry,
    Move,
    Overlap,
    Page,
    Removed,
    Repair,
    Skipped,
    SkipReason,
)
from campaign_model.claims import Claim, ClaimBatch, Cursor, Estimate, Progress, Renewal
from campaign_model.errors import CampaignModelError, Unmet, Violation
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import TRANSITIONS, ActionState, ContactStatus, Facts, ReviewTally
from campaign_model.steps import MAX_STEPS, MessageSlot, SequenceDiff, Step, StepSequence
from campaign_model.testing._parts import built, json_values, texts
from campaign_model.testing.strategies._content import (
    CAMPAIGN_NAMES,
    COUNTS,
    SHORT_TEXTS,
    amounts,
    campaign_summaries,
    campaign_templates,
    campaigns,
    channels,
    drafts,
    edits,
    generation_configs,
    history_entries,
    ids,
    json_objects,
    message_slots,
    moments,
    new_templates,
    optional,
    step_sequences,
    steps,
    tuples_of,
    vocabularies,
)
from campaign_model.testing.strategies._generation import (
    COSTS,
    ERRORS,
    OUTCOMES,
    TALLIES,
    UNMET,
    action_states,
    campaign_contacts,
    claim_batches,
    claims,
    cursors,
    errors,
    facts,
    outcomes,
    progress,
    violations,
)
from campaign_model.vocabulary import Channel, Vocabulary
from campaign_model.wire import Codec, Recovered

__all__ = [
    "action_states",
    "amounts",
    "campaign_contacts",
    "campaign_summaries",
    "campaign_templates",
    "campaigns",
    "channels",
    "claim_batches",
    "claims",
    "drafts",
    "edits",
    "errors",
    "facts",
    "generation_configs",
    "history_entries",
    "ids",
    "json_objects",
    "json_values",
    "message_slots",
    "moments",
    "new_templates",
    "of_type",
    "outcomes",
    "progress",
    "step_sequences",
    "steps",
    "texts",
    "violations",
    "vocabularies",
]


def _argument_of(generic: Any, default: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Draw values of the argument of a generic type, such as ``Campaign`` in ``Page[Campaign]``."""
    arguments = get_args(generic)
    return st.from_type(arguments[0]) if arguments else default


_REPAIR = st.builds(
    Repair,
    path=st.sampled_from(["", "/0/label", "/1/step"]),
    code=st.sampled_from(["double_encoded", "defaulted", "renumbered"]),
    message=SHORT_TEXTS,
)

_MOVE = st.builds(
    lambda change, **fields: Move(
        action=change.action, source=change.source, target=change.target, **fields
    ),
    st.sampled_from(TRANSITIONS),
    id=ids(),
    tenant_id=ids(),
    campaign_id=ids(),
    version=st.integers(2, 1000),
    actor=optional(SHORT_TEXTS),
    reason=optional(SHORT_TEXTS),
    at=moments(),
)

_SKIPPED = st.builds(
    Skipped,
    contact_id=ids(),
    reason=st.sampled_from(SkipReason),
    campaign_id=ids(),
    campaign_name=CAMPAIGN_NAMES,
    last_activity_at=moments(),
)

_BY_TYPE: dict[Any, Callable[[Any], SearchStrategy[Any]]] = {
    ActionState: lambda _: action_states(),
    Answer: lambda _: st.one_of(campaign_summaries(), campaigns(), progress()),
    Assigned: lambda _: st.builds(
        Assigned,
        added=COUNTS,
        already_there=COUNTS,
        unknown=tuples_of(ids()),
        skipped=tuples_of(_SKIPPED),
    ),
    Campaign: lambda _: campaigns(),
    CampaignContact: lambda _: campaign_contacts(),
    CampaignModelError: lambda _: errors(),
    CampaignSummary: lambda _: campaign_summaries(),
    CampaignTemplate: lambda _: campaign_templates(),
    Changed: lambda _: st.builds(Changed, changed=COUNTS, skipped=tuples_of(ids())),
    Channel: lambda _: channels(),
    Claim: lambda _: claims(),
    ClaimBatch: lambda _: claim_batches(),
    Codec: lambda _: st.builds(Codec, vocabularies()),
    Cursor: lambda _: cursors(),
    Estimate: lambda _: st.builds(Estimate, contacts=COUNTS, messages=COUNTS, cost=COSTS),
    Facts: lambda _: facts(),
    GenerationConfig: lambda _: generation_configs(),
    HistoryEntry: lambda _: history_entries(),
    JsonObject: lambda _: json_objects(),
    MessageSlot: lambda _: message_slots(),
    Move: lambda _: _MOVE,
    Overlap: lambda _: st.builds(
        Overlap,
        contact_id=ids(),
        campaign_id=ids(),
        campaign_name=CAMPAIGN_NAMES,
        status=st.sampled_from(ContactStatus),
        last_activity_at=moments(),
    ),
    Page: lambda generic: st.builds(
        Page,
        items=st.lists(_argument_of(generic, campaign_summaries()), max_size=3).map(tuple),
        next=optional(SHORT_TEXTS),
    ),
    Progress: lambda _: progress(),
    Recovered: lambda generic: st.builds(
        Recovered, value=_argument_of(generic, step_sequences()), repairs=tuples_of(_REPAIR)
    ),
    Removed: lambda _: st.builds(Removed, removed=COUNTS, kept=tuples_of(ids())),
    Renewal: lambda _: st.builds(
        Renewal, expires_at=moments(), lost=tuples_of(ids()), cancelled=st.booleans()
    ),
    Repair: lambda _: _REPAIR,
    ReviewTally: lambda _: TALLIES,
    SequenceDiff: lambda _: built(StepSequence.diff, step_sequences(), step_sequences()),
    Skipped: lambda _: _SKIPPED,
    Step: lambda _: steps(),
    StepSequence: lambda _: step_sequences(max_size=MAX_STEPS),
    Unmet: lambda _: UNMET,
    Violation: lambda _: violations(),
    Vocabulary: lambda _: vocabularies(),
    **{type_: lambda type_: OUTCOMES[type_] for type_ in OUTCOMES},
    **{type_: lambda type_: ERRORS[type_] for type_ in ERRORS},
}


def of_type(type_: Any) -> SearchStrategy[Any]:
    """Draw values of a public type of the library, as ``st.from_type`` does.

    Raises ``KeyError`` for other types and for enumerations.
    """
    return _BY_TYPE[get_origin(type_) or type_](type_)
