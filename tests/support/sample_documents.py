"""Valid documents for tests to change, and a comparison of documents."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from campaign_model._json import canonical
from campaign_model.converter import TEMPLATE_FIELDS
from campaign_model.forms import SHORTENED
from campaign_model.generation_config import GENERATION_FIELDS
from campaign_model.steps import STEP_FIELDS

PRESET_ID = str(UUID("a0000000-0000-0000-0000-000000000001"))


def a_step(position: int = 1, **members: Any) -> dict[str, Any]:
    """Return a submitted step with these members changed or added."""
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
    """Return a submitted campaign_template with these members changed or added."""
    return {
        "id": PRESET_ID,
        "name": "Three e-mails",
        "steps": [a_step(1), a_step(2, enabled=False)],
        "generation_config": {"tone": "casual"},
        **members,
    }


def keeps_every_field(document: Any, dumped: Any) -> bool:
    """Return True if ``dumped`` has every field of ``document``.

    Step numbers may differ. A known field that is null or ``""`` may be absent, or have its
    default. Of a long label or tone, ``dumped`` has the beginning. A document that names its JSON
    Schema for editors need not name it.
    """
    if isinstance(document, dict) and isinstance(dumped, dict):
        return all(
            (name == "$schema" and "channel" not in document)
            or (
                value in (None, "") and name in {*STEP_FIELDS, *GENERATION_FIELDS, *TEMPLATE_FIELDS}
            )
            or (name in SHORTENED and len(value) > 200 and value.startswith(dumped[name]))
            or (name == "step" and "channel" in document)
            or (name in dumped and keeps_every_field(value, dumped[name]))
            for name, value in document.items()
        )
    if isinstance(document, list) and isinstance(dumped, list) and len(document) == len(dumped):
        return all(map(keeps_every_field, document, dumped))
    return canonical(document) == canonical(dumped)
