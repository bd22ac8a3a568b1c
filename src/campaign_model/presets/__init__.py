"""The presets: JSON files in this folder, from which system templates are synced.

Every file is a campaign template in the submitted form.
"""

from __future__ import annotations

from importlib.resources import files

import attrs

from campaign_model.campaign import CampaignTemplate
from campaign_model.wire import parse_campaign_template

__all__ = ["load"]


def load() -> tuple[CampaignTemplate, ...]:
    """Load every preset as a system template, ordered by id."""
    templates = (
        parse_campaign_template(file.read_text(encoding="utf-8"))
        for file in files(__name__).iterdir()
        if file.name.endswith(".json")
    )
    system_templates = (attrs.evolve(template, is_system=True) for template in templates)
    return tuple(sorted(system_templates, key=lambda template: template.id))
