"""The presets: the JSON files that system templates are synced from."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from campaign_model import presets
from campaign_model.errors import InvalidDocument
from campaign_model.wire import dump_campaign_template, parse_campaign_template
from support.sample_documents import a_template

# Existing databases hold the presets under these ids: name, tone, and for each step its channel,
# label, enabled and needs_pdf.
EXPECTED = {
    1: (
        "LinkedIn + Email Sequence",
        "professional",
        [
            ("linkedin_connect", "LinkedIn invite", True, False),
            ("email", "Email 1", True, False),
            ("email", "Email 2", True, False),
            ("linkedin_message", "LinkedIn follow-up with PDF", True, True),
            ("email", "Email 3", False, False),
        ],
    ),
    2: (
        "Email 3-Step",
        "professional",
        [
            ("email", "Intro", True, False),
            ("email", "Value", True, False),
            ("email", "Close", True, False),
        ],
    ),
    3: (
        "LinkedIn Only",
        "casual",
        [
            ("linkedin_connect", "LinkedIn invite", True, False),
            ("linkedin_message", "LinkedIn follow-up", True, False),
        ],
    ),
}


def test_the_presets_are_the_three_that_existing_databases_hold() -> None:
    loaded = presets.load()
    assert {
        template.id: (
            template.name,
            template.generation_config.tone,
            [(step.channel, step.label, step.enabled, step.needs_pdf) for step in template.steps],
        )
        for template in loaded
    } == {UUID(f"a0000000-0000-0000-0000-{number:012}"): EXPECTED[number] for number in EXPECTED}
    assert [template.id for template in loaded] == sorted(template.id for template in loaded)


def test_every_preset_is_a_complete_system_template() -> None:
    for template in presets.load():
        assert template.is_system
        assert template.description
        assert template.generation_config.language == "en"
        assert template.generation_config.default_variant_count
        assert template.generation_config.budget is None
        assert all(step.key and step.condition for step in template.steps)
        assert all(step.day_offset is not None for step in template.steps)


def test_failure_20_a_disabled_step_of_a_preset_stays_disabled() -> None:
    (template, *_) = presets.load()
    assert [step.label for step in template.steps if not step.enabled] == ["Email 3"]
    parsed = parse_campaign_template(json.dumps(dump_campaign_template(template)))
    assert [step.enabled for step in parsed.steps] == [True, True, True, True, False]


def test_every_json_file_in_the_folder_is_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "files", lambda _package: tmp_path)
    assert presets.load() == ()
    (tmp_path / "notes.txt").write_text("no preset")
    (tmp_path / "mine.json").write_text(json.dumps(a_template(name="Mäine")), encoding="utf-8")
    (template,) = presets.load()
    assert template.name == "Mäine"
    assert template.is_system
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InvalidDocument):
        presets.load()
