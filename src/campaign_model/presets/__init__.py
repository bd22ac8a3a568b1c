"""The system's own templates: every JSON file of this folder is one, a submitted document."""

from __future__ import annotations

from importlib.resources import files

import attrs

from campaign_model.campaign import CampaignTemplate
from campaign_model.wire import parse_campaign_template

__all__ = ["load"]


def load() -> tuple[CampaignTemplate, ...]:
    """Every preset, in the order of their ids."""
    templates = (
        parse_campaign_template(file.read_text(encoding="utf-8"))
        for file in files(__name__).iterdir()
        if file.name.endswith(".json")
    )
    system = (attrs.evolve(template, is_system=True) for template in templates)
    return tuple(sorted(system, key=lambda template: template.id))
