"""What an outreach campaign is, what may happen to it, and how its documents are read.

The names here are the public ones of the domain itself. Databases are spoken to through
``campaign_model.store`` and ``campaign_model.db``, which need SQLAlchemy.

A name is loaded when it is first asked for: a service pays for what it uses.
"""

# One name a line would make this page, which people read, three times as long.
# fmt: off
# ruff: isort: off

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from campaign_model import lifecycle
    from campaign_model._json import JsonObject
    from campaign_model.campaign import (
        Campaign, CampaignSummary, CampaignTemplate, HistoryEntry, Page, Repair,
    )
    from campaign_model.campaign_contact import Assigned, CampaignContact, Changed, Overlap, Removed
    from campaign_model.claims import (
        Claim, ClaimBatch, Cursor, Estimate, Failed, Generated, NotReady, Outcome, Progress,
        Recorded, Renewal, StopReason, Unfinished,
    )
    from campaign_model.errors import (
        CampaignModelError, Conflict, InvalidDocument, LeaseLost, NotFound, TransitionNotAllowed,
        Unmet, Violation,
    )
    from campaign_model.generation_config import GenerationConfig, effective_config
    from campaign_model.lifecycle import (
        Action, ActionState, ContactAction, ContactStatus, Facts, Permission, ReviewTally, Status,
    )
    from campaign_model.steps import MessageSlot, SequenceDiff, Step, StepSequence
    from campaign_model.vocabulary import STANDARD, Channel, Condition, Vocabulary
    from campaign_model.wire import (
        Codec, Recovered, dump_campaign_template, dump_generation_config, dump_template_config,
        iter_stored_violations, iter_violations, parse_campaign_template, parse_generation_config,
        parse_template_config, recover_campaign_template, recover_generation_config,
        recover_template_config,
    )

    __version__: str

__all__ = [
    "STANDARD", "Action", "ActionState", "Assigned", "Campaign", "CampaignContact",
    "CampaignModelError", "CampaignSummary", "CampaignTemplate", "Changed", "Channel", "Claim",
    "ClaimBatch", "Codec", "Condition", "Conflict", "ContactAction", "ContactStatus", "Cursor",
    "Estimate", "Facts", "Failed", "Generated", "GenerationConfig", "HistoryEntry",
    "InvalidDocument", "JsonObject", "LeaseLost", "MessageSlot", "NotFound", "NotReady", "Outcome",
    "Overlap", "Page", "Permission", "Progress", "Recorded", "Recovered", "Removed", "Renewal",
    "Repair", "ReviewTally", "SequenceDiff", "Status", "Step", "StepSequence", "StopReason",
    "TransitionNotAllowed", "Unfinished", "Unmet", "Violation", "Vocabulary",
    "dump_campaign_template", "dump_generation_config", "dump_template_config", "effective_config",
    "iter_stored_violations", "iter_violations", "lifecycle", "parse_campaign_template",
    "parse_generation_config", "parse_template_config", "recover_campaign_template",
    "recover_generation_config", "recover_template_config",
]

# Each after those that it imports, so that the search for a name loads little else.
_MODULES = (
    "errors", "_json", "lifecycle", "vocabulary", "steps", "generation_config", "campaign",
    "wire", "claims", "campaign_contact",
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - slower than all the rest
            return version("campaign-model")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        homes = (import_module(f"{__name__}.{module}") for module in _MODULES)
        found = next(getattr(home, name) for home in homes if name in home.__all__)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

if "_campaign_model_hypothesis" in sys.modules:
    # Hypothesis loaded our entry point before there were types to register.
    sys.modules["_campaign_model_hypothesis"].register()
