"""Hypothesis strategies for the library's values. Each function returns a strategy.

Every value is consistent, as the library would make it: a campaign that was generated has the time
of the start, a failed contact has an error. ``st.from_type`` uses these strategies, and knows every
other public type as well.
"""

from campaign_model.testing.strategies._basic import (
    amounts,
    ids,
    json_objects,
    json_values,
    moments,
    texts,
)
from campaign_model.testing.strategies._by_type import of_type
from campaign_model.testing.strategies._campaigns import (
    campaign_summaries,
    campaign_templates,
    campaigns,
    drafts,
    generation_configs,
    history_entries,
    new_templates,
)
from campaign_model.testing.strategies._generation import (
    action_states,
    campaign_contacts,
    claim_batches,
    claims,
    errors,
    facts,
    outcomes,
    progress,
    violations,
)
from campaign_model.testing.strategies._steps import (
    channels,
    edits,
    message_slots,
    step_sequences,
    steps,
    vocabularies,
)

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
