"""Domain library for outreach campaigns: types, documents and the lifecycle.

This module holds the public names of the domain. ``campaign_model.store``, ``.db`` and ``.worker``
work with databases and need SQLAlchemy.

Importing this module loads none of its names. Each name is loaded on first use, so that a service
waits only for what it uses.
"""

# The formatter would put one name on each line and make this page three times as long.
# fmt: off
# ruff: isort: off

from __future__ import annotations

import sys
from importlib import import_module

# With the annotation, jedi (completion in IPython and Jupyter) reads the imports too.
TYPE_CHECKING: bool = False
if TYPE_CHECKING:
    from campaign_model import lifecycle
    from campaign_model._answer import Answer, json_ready
    from campaign_model._caches import clear_caches
    from campaign_model._json import JsonObject
    from campaign_model.campaign import (
        Assigned, Campaign, CampaignContact, CampaignSummary, CampaignTemplate, Changed,
        HistoryEntry, Overlap, Page, Removed, Repair, Skipped, SkipReason,
    )
    from campaign_model.claims import (
        Claim, ClaimBatch, Cursor, Estimate, Failed, Generated, NotReady, Outcome, Progress,
        Recorded, Renewal, StopReason, Unfinished,
    )
    from campaign_model.errors import (
        CampaignModelError, Conflict, InvalidArgument, InvalidDocument, LeaseLost, NotFound,
        TransactionAborted, TransitionNotAllowed, Unmet, Violation,
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
    "STANDARD", "Action", "ActionState", "Answer", "Assigned", "Campaign", "CampaignContact",
    "CampaignModelError", "CampaignSummary", "CampaignTemplate", "Changed", "Channel", "Claim",
    "ClaimBatch", "Codec", "Condition", "Conflict", "ContactAction", "ContactStatus", "Cursor",
    "Estimate", "Facts", "Failed", "Generated", "GenerationConfig", "HistoryEntry",
    "InvalidArgument", "InvalidDocument", "JsonObject", "LeaseLost", "MessageSlot", "NotFound",
    "NotReady", "Outcome", "Overlap", "Page", "Permission", "Progress", "Recorded", "Recovered",
    "Removed", "Renewal", "Repair", "ReviewTally", "SequenceDiff", "SkipReason", "Skipped",
    "Status", "Step", "StepSequence", "StopReason", "TransactionAborted", "TransitionNotAllowed",
    "Unfinished", "Unmet", "Violation", "Vocabulary", "clear_caches", "dump_campaign_template",
    "dump_generation_config", "dump_template_config", "effective_config", "iter_stored_violations",
    "iter_violations", "json_ready", "lifecycle", "parse_campaign_template",
    "parse_generation_config", "parse_template_config", "recover_campaign_template",
    "recover_generation_config", "recover_template_config",
]

# Each module comes after the modules that it imports. So the search below loads few modules, and
# the first module that has a name is the one that defines it, or imports the same object.
_MODULES = (
    "errors", "_json", "lifecycle", "vocabulary", "steps", "generation_config", "campaign",
    "_caches", "_answer", "wire", "claims",
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a public name on first use, and keep it as an attribute."""
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - slow to import
            return version("campaign-model")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        modules = (import_module(f"{__name__}.{module}") for module in _MODULES)
        value = next(getattr(module, name) for module in modules if hasattr(module, name))
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

if "_campaign_model_hypothesis" in sys.modules:
    # Hypothesis loaded the entry point before this package, when it found no types to register.
    sys.modules["_campaign_model_hypothesis"].register()
