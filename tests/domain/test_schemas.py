"""The published schemas say what the types and the vocabulary say, in words every reader knows."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from campaign_model import validation, vocabulary, wire
from campaign_model._values import MONEY_DECIMALS, MONEY_LIMIT, MONEY_PATTERN
from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME
from campaign_model.cli.document_files import Kind
from campaign_model.generation_config import GENERATION_FIELDS, LANGUAGE_PATTERN, MAX_INSTRUCTIONS
from campaign_model.steps import (
    KEY_PATTERN,
    MAX_DAY_OFFSET,
    MAX_LABEL,
    MAX_STEPS,
    MAX_VARIANTS,
    STEP_FIELDS,
)
from campaign_model.testing.documents import KINDS
from campaign_model.validation import document_schema, load_schema
from campaign_model.vocabulary import CHANNEL_PATTERN, MAX_IDENTIFIER, MAX_TONE, STANDARD, Condition
from campaign_model.wire import UUID_PATTERN
from support.paths import SCHEMAS

FORMS = ("submitted", "stored")
NAMES = [f"{kind}.{form}" for kind in KINDS for form in FORMS]

# What ajv's strict mode and the older of the JSON Schema readers know alike.
KEYWORDS = {
    *("$id", "$ref", "$schema", "additionalProperties", "description", "enum", "items"),
    *("maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "pattern"),
    *("patternProperties", "properties", "required", "title", "type"),
}

every_schema = pytest.mark.parametrize("name", NAMES)
both_forms = pytest.mark.parametrize("form", FORMS)


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        yield from subschemas(schema.get("items"))
        for member in schema.get("properties", {}).values():
            yield from subschemas(member)


@every_schema
def test_a_schema_is_one_and_names_itself(name: str) -> None:
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].startswith(f"urn:campaign-model:{name.replace('.', ':')}:")
    schema.clear()
    assert load_schema(name)


@every_schema
def test_a_schema_uses_known_keywords_and_types_alone(name: str) -> None:
    for part in subschemas(load_schema(name)):
        assert part.keys() <= KEYWORDS
        assert "type" in part or "$ref" in part
        assert part.get("patternProperties", {"^x_": True}) == {"^x_": True}
        if "pattern" in part:
            assert "description" in part  # Nobody can act on a regular expression.
            assert not re.search(r"\\[dswbDSWB]", part["pattern"])  # These differ by language.


def test_a_file_is_called_as_its_schema_is() -> None:
    found = set()
    for path in SCHEMAS.glob("*.schema.json"):
        *name, version = path.name.removesuffix(".schema.json").split(".")
        schema = json.loads(path.read_text(encoding="utf-8"))
        assert schema["$id"] == ":".join(("urn", "campaign-model", *name, version))
        assert schema["title"] == f"{name[0]}, {name[1]}"
        found.add(".".join(name))
    assert found == set(NAMES)
    with pytest.raises(FileNotFoundError):
        load_schema("template_config")


def test_what_was_published_never_changes() -> None:
    told = json.loads((SCHEMAS / "published.json").read_text(encoding="utf-8"))
    found = {
        json.loads(path.read_bytes())["$id"]: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in SCHEMAS.glob("*.schema.json")
    }
    how = "schemas/README.md says how a new version is made"
    gone = told.keys() - found.keys()
    assert not gone, f"put back the files of {gone}: others have copies of them; {how}"
    changed = {id_ for id_ in told if told[id_] != found[id_]}
    assert not changed, f"put back {changed} as it was: others have copies of it; {how}"
    new = {id_: digest for id_, digest in found.items() if id_ not in told}
    assert not new, f"add to schemas/published.json what this version publishes: {new}"


def test_the_newest_version_of_a_schema_is_the_one_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "generation_config.stored"
    for version in (2, 9, 10):
        made = load_schema(name) | {"$id": f"urn:campaign-model:generation_config:stored:{version}"}
        (tmp_path / f"{name}.{version}.schema.json").write_text(json.dumps(made))
    monkeypatch.setattr(validation, "_schemas", lambda: tmp_path)
    validation._schema_text.cache_clear()
    try:
        assert load_schema(name)["$id"] == "urn:campaign-model:generation_config:stored:10"
    finally:
        validation._schema_text.cache_clear()


@pytest.mark.parametrize("kind", ["template_config", "generation_config"])
@both_forms
def test_the_files_are_the_standard_vocabulary_s(kind: str, form: str) -> None:
    assert document_schema(kind, form) == load_schema(f"{kind}.{form}")


@both_forms
def test_a_template_s_schema_comes_in_one_piece(form: str) -> None:
    whole = document_schema("campaign_template", form)
    definitions = whole.pop("$defs")
    assert whole == load_schema(f"campaign_template.{form}")
    references = {part["$ref"] for part in subschemas(whole) if "$ref" in part}
    assert references == {part["$id"] for part in definitions.values()}
    for kind, part in definitions.items():
        published = load_schema(f"{kind}.{form}")
        del published["$schema"]
        assert part == published


@both_forms
def test_limits_of_steps(form: str) -> None:
    schema = load_schema(f"template_config.{form}")
    step = schema["items"]
    fields = step["properties"]
    assert tuple(fields) == STEP_FIELDS
    assert schema["maxItems"] == MAX_STEPS
    assert (fields["label"]["minLength"], fields["label"]["maxLength"]) == (1, MAX_LABEL)
    variants = fields["variant_count"]
    assert (variants["minimum"], variants["maximum"]) == (1, MAX_VARIANTS)
    days = fields["day_offset"]
    assert (days["minimum"], days["maximum"]) == (0, MAX_DAY_OFFSET)
    assert fields["key"]["pattern"] == f"^{KEY_PATTERN}$"
    assert f"1 to {MAX_IDENTIFIER} " in fields["key"]["description"]
    assert fields["condition"]["enum"] == [condition.value for condition in Condition]
    if form == "submitted":
        assert schema["minItems"] == 1
        assert step["required"] == list(STEP_FIELDS[:6])
        assert fields["channel"]["enum"] == [channel.name for channel in STANDARD.channels]
        assert step["additionalProperties"] is False
    else:
        assert "minItems" not in schema
        assert step["required"] == ["channel"]
        assert fields["channel"]["pattern"] == f"^{CHANNEL_PATTERN}$"
        assert f" at most {MAX_IDENTIFIER} " in fields["channel"]["description"]
        assert "additionalProperties" not in step


@both_forms
def test_limits_of_settings(form: str) -> None:
    schema = load_schema(f"generation_config.{form}")
    fields = schema["properties"]
    assert tuple(fields) == GENERATION_FIELDS
    assert fields["language"]["pattern"] == f"^{LANGUAGE_PATTERN}$"
    assert fields["custom_instructions"] == {"type": "string", "maxLength": MAX_INSTRUCTIONS}
    variants = fields["default_variant_count"]
    assert (variants["minimum"], variants["maximum"]) == (1, MAX_VARIANTS)
    assert fields["budget"]["pattern"] == f"^{MONEY_PATTERN}$"
    assert fields["budget"]["description"].endswith(
        f" below {MONEY_LIMIT} and with at most {MONEY_DECIMALS} decimals"
    )
    if form == "submitted":
        assert fields["tone"]["enum"] == list(STANDARD.tones)
        assert schema["additionalProperties"] is False
    else:
        assert (fields["tone"]["minLength"], fields["tone"]["maxLength"]) == (1, MAX_TONE)
        assert "additionalProperties" not in schema


@both_forms
def test_limits_of_templates(form: str) -> None:
    schema = load_schema(f"campaign_template.{form}")
    fields = schema["properties"]
    assert schema["additionalProperties"] is False
    assert fields["id"]["pattern"] == f"^{UUID_PATTERN}$"
    assert fields["name"]["maxLength"] == MAX_NAME
    assert f" at most {MAX_NAME} " in fields["name"]["description"]
    assert fields["description"]["maxLength"] == MAX_DESCRIPTION
    visible = re.compile(fields["name"]["pattern"])
    for code in range(sys.maxunicode + 1):
        assert bool(visible.search(chr(code))) == bool(chr(code).strip()), hex(code)


@both_forms
def test_the_readers_take_the_types_and_members_of_the_schemas(form: str) -> None:
    steps = load_schema(f"template_config.{form}")["items"]
    settings = load_schema(f"generation_config.{form}")
    template = load_schema(f"campaign_template.{form}")
    types = {"array": list, "boolean": bool, "integer": int, "object": dict, "string": str}
    for schema, read in (
        (steps, wire._STEP_TYPES),
        (settings, wire._GENERATION_TYPES),
        (template, wire._TEMPLATE_TYPES),
    ):
        resolved = {
            name: member
            if "type" in member
            else load_schema(".".join(member["$ref"].split(":")[2:4]))
            for name, member in schema["properties"].items()
        }
        assert read == {name: types[member["type"]] for name, member in resolved.items()}
    if form == "submitted":
        assert set(steps["required"]) == {"step", *wire._STEP_REQUIRED}
    assert list(KINDS) == list(Kind) == list(wire._READERS)


def test_no_anchored_pattern_has_an_alternative_at_its_top() -> None:
    for name in NAMES:
        for part in subschemas(load_schema(name)):
            pattern = part.get("pattern", "^$")
            if pattern.startswith("^"):
                assert pattern.endswith("$")
                assert "|" not in re.sub(r"\([^)]*\)", "", pattern)


def test_a_standard_vocabulary_made_anew_is_the_standard_one() -> None:
    same = vocabulary.Vocabulary(STANDARD.channels, STANDARD.tones)
    assert document_schema("template_config", vocabulary=same) == load_schema(
        "template_config.submitted"
    )
    assert json.dumps(
        document_schema("generation_config", "stored", STANDARD.with_tone("terse"))
    ) == (json.dumps(load_schema("generation_config.stored")))
