"""Documents to change: what a person would write; and whether two say the same."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from campaign_model._json import canonical

PRESET_ID = str(UUID("a0000000-0000-0000-0000-000000000001"))


def a_step(position: int = 1, **members: Any) -> dict[str, Any]:
    """A submitted step."""
    return {
        "step": position,
        "channel": "email",
        "label": f"Email {position}",
        "enabled": True,
        "needs_pdf": False,
        "variant_count": 1,
        **members,
    }


def a_template(**members: Any) -> dict[str, Any]:
    """A submitted campaign_template."""
    return {
        "id": PRESET_ID,
        "name": "Three e-mails",
        "steps": [a_step(1), a_step(2, enabled=False)],
        "generation_config": {"tone": "casual"},
        **members,
    }


def kept(document: Any, dumped: Any) -> bool:
    """Whether every field of ``document`` stands in ``dumped`` too, but for the steps' numbers."""
    if isinstance(document, dict) and isinstance(dumped, dict):
        return all(
            name in dumped
            and ((name == "step" and "channel" in document) or kept(value, dumped[name]))
            for name, value in document.items()
        )
    if isinstance(document, list) and isinstance(dumped, list) and len(document) == len(dumped):
        return all(map(kept, document, dumped))
    return canonical(document) == canonical(dumped)
