"""The published schemas agree with the value types, and use only widely known keywords."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from campaign_model import converter, validation, vocabulary, wire
from campaign_model.answers import NAMES as NAMES_OF_ANSWERS
from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME
from campaign_model.cli.document_files import Kind
from campaign_model.errors import InvalidArgument
from campaign_model.forms import SHORTENED, allows_empty
from campaign_model.generation_config import GENERATION_FIELDS
from campaign_model.steps import MAX_STEPS, STEP_FIELDS
from campaign_model.testing.documents import KINDS
from campaign_model.validation import answer_schema, document_schema, load_schema
from campaign_model.vocabulary import STANDARD
from support.paths import SCHEMAS

FORMS = ("submitted", "stored")
NAMES = [f"{kind}.{form}" for kind in KINDS for form in FORMS]

# Keywords that ajv's strict mode and older readers of JSON Schema know.
KEYWORDS = {
    *("$id", "$ref", "$schema", "additionalProperties", "anyOf", "description", "enum", "items"),
    *("maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "pattern"),
    *("patternProperties", "properties", "required", "title", "type"),
}

SCHEMA_MEMBER = {
    "description": "text: the address of this JSON Schema, for editors; it is not kept",
    "type": "string",
}

every_schema = pytest.mark.parametrize("name", NAMES)
both_forms = pytest.mark.parametrize("form", FORMS)


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        yield from subschemas(schema.get("items"))
        for part in schema.get("anyOf", ()):
            yield from subschemas(part)
        for member in schema.get("properties", {}).values():
            yield from subschemas(member)


@every_schema
def test_a_schema_is_valid_and_its_id_has_its_name(name: str) -> None:
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].startswith(f"urn:campaign-model:{name.replace('.', ':')}:")
    schema.clear()
    assert load_schema(name)


@every_schema
def test_a_schema_uses_only_widely_known_keywords(name: str) -> None:
    for part in subschemas(load_schema(name)):
        assert part.keys() <= KEYWORDS
        assert part.keys() & {"type", "$ref", "anyOf"}
        assert part.get("patternProperties", {"^x_": True}) == {"^x_": True}
        if "pattern" in part:
            assert "description" in part  # A person cannot act on a regular expression.
            # Languages differ in the meaning of these classes.
            assert not re.search(r"\\[dswbDSWB]", part["pattern"])


def test_the_schemas_of_answers_use_no_other_keywords() -> None:
    for name in NAMES_OF_ANSWERS:
        for part in subschemas(answer_schema(name)):
            assert part.keys() <= KEYWORDS
            assert part.keys() & {"type", "anyOf"}


def test_the_name_of_a_file_is_the_id_of_its_schema() -> None:
    found = set()
    for path in SCHEMAS.glob("*.schema.json"):
        *name, version = path.name.removesuffix(".schema.json").split(".")
        schema = json.loads(path.read_text(encoding="utf-8"))
        assert schema["$id"] == ":".join(("urn", "campaign-model", *name, version))
        assert schema["title"] == f"{name[0]}, {name[1]}"
        found.add(".".join(name))
    assert found == set(NAMES)
    with pytest.raises(InvalidArgument, match="no schema has the name"):
        load_schema("template_config")


def test_a_published_schema_never_changes() -> None:
    published = json.loads((SCHEMAS / "published.json").read_text(encoding="utf-8"))
    present = {
        json.loads(path.read_bytes())["$id"]: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in SCHEMAS.glob("*.schema.json")
    }
    how = "schemas/README.md says how to make a new version"
    gone = published.keys() - present.keys()
    assert not gone, f"restore the files of {gone}: other programs have copies of them; {how}"
    changed = {id_ for id_ in published if published[id_] != present[id_]}
    assert not changed, f"restore {changed}: other programs have copies of it; {how}"
    new = {id_: digest for id_, digest in present.items() if id_ not in published}
    assert not new, f"add the schemas that this version publishes to schemas/published.json: {new}"


def test_the_newest_version_of_a_schema_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "generation_config.stored"
    for version in (2, 9, 10):
        made = load_schema(name) | {"$id": f"urn:campaign-model:generation_config:stored:{version}"}
        (tmp_path / f"{name}.{version}.schema.json").write_text(json.dumps(made))
    monkeypatch.setattr(validation, "schema_directory", lambda: tmp_path)
    assert load_schema(name)["$id"] == "urn:campaign-model:generation_config:stored:10"


@pytest.mark.parametrize("kind", ["template_config", "generation_config"])
@both_forms
def test_the_published_schemas_have_the_words_of_the_standard_vocabulary(
    kind: str, form: str
) -> None:
    assert document_schema(kind, form) == load_schema(f"{kind}.{form}")


@both_forms
def test_the_schema_of_a_template_contains_the_schemas_of_its_parts(form: str) -> None:
    whole = document_schema("campaign_template", form)
    definitions = whole.pop("$defs")
    assert whole == load_schema(f"campaign_template.{form}")
    references = {part["$ref"] for part in subschemas(whole) if "$ref" in part}
    assert references == {part["$id"] for part in definitions.values()}
    for kind, part in definitions.items():
        published = load_schema(f"{kind}.{form}")
        del published["$schema"]
        assert part == published


def or_empty(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a stored field: other programs write an absent one as null or ``""``."""
    if name in SHORTENED:
        return {"description": "text", "type": ["string", "null"]}
    if allows_empty(schema):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": ["string", "null"], "enum": ["", None]}]}


def test_the_stored_schema_of_steps_has_the_fields_of_the_value_type() -> None:
    schema = load_schema("template_config.stored")
    step = schema["items"]
    assert list(step["properties"].items()) == [
        (name, field if name == "channel" else or_empty(name, field))
        for name, field in STEP_FIELDS.items()
    ]
    assert step["required"] == ["channel"]
    assert "additionalProperties" not in step
    assert schema["maxItems"] == MAX_STEPS
    assert "minItems" not in schema


def test_the_submitted_schema_of_steps_requires_more_and_allows_only_known_channels() -> None:
    schema = load_schema("template_config.submitted")
    step = schema["items"]
    assert step["properties"] == {
        **STEP_FIELDS,
        "step": {
            "description": "a whole number, the step's place counted from 1",
            "type": "integer",
        },
        "channel": {
            "type": "string",
            "enum": [channel.name for channel in STANDARD.channels],
        },
    }
    assert set(step["required"]) == STEP_FIELDS.required
    assert step["additionalProperties"] is False
    assert (schema["minItems"], schema["maxItems"]) == (1, MAX_STEPS)


def test_the_schemas_of_settings_have_the_fields_of_the_value_type() -> None:
    stored, submitted = (
        load_schema(f"generation_config.{form}") for form in ("stored", "submitted")
    )
    assert list(stored["properties"].items()) == [
        (name, or_empty(name, field)) for name, field in GENERATION_FIELDS.items()
    ]
    assert submitted["properties"] == {
        **GENERATION_FIELDS,
        "tone": {"type": "string", "enum": list(STANDARD.tones)},
        "$schema": SCHEMA_MEMBER,
    }
    assert GENERATION_FIELDS.required == set()
    assert "required" not in stored
    assert "required" not in submitted
    assert "additionalProperties" not in stored
    assert submitted["additionalProperties"] is False


@both_forms
def test_the_limits_of_templates_are_those_of_the_value_type(form: str) -> None:
    schema = load_schema(f"campaign_template.{form}")
    fields = schema["properties"]
    assert schema["additionalProperties"] is False
    assert list(fields) == ["$schema", *converter.TEMPLATE_FIELDS]
    assert fields["$schema"] == SCHEMA_MEMBER
    optional_in_stored = {"generation_config"} if form == "stored" else set()
    assert set(schema["required"]) == converter.TEMPLATE_REQUIRED - optional_in_stored
    assert fields["id"]["pattern"] == f"^{converter.UUID_PATTERN}$"
    assert fields["name"]["maxLength"] == MAX_NAME
    assert f" at most {MAX_NAME} " in fields["name"]["description"]
    assert fields["description"]["maxLength"] == MAX_DESCRIPTION
    visible = re.compile(fields["name"]["pattern"])
    for code in range(sys.maxunicode + 1):
        assert bool(visible.search(chr(code))) == bool(chr(code).strip()), hex(code)


def test_every_module_names_the_same_kinds_of_document() -> None:
    assert list(KINDS) == list(Kind) == list(wire.KINDS.values())


def test_no_anchored_pattern_has_alternatives_outside_of_parentheses() -> None:
    for name in NAMES:
        for part in subschemas(load_schema(name)):
            pattern = part.get("pattern", "^$")
            if pattern.startswith("^"):
                assert pattern.endswith("$")
                assert "|" not in re.sub(r"\([^)]*\)", "", pattern)


def test_a_vocabulary_equal_to_the_standard_one_gives_the_published_schemas() -> None:
    same = vocabulary.Vocabulary(STANDARD.channels, STANDARD.tones)
    assert document_schema("template_config", vocabulary=same) == load_schema(
        "template_config.submitted"
    )
    assert json.dumps(
        document_schema("generation_config", "stored", STANDARD.with_tone("terse"))
    ) == (json.dumps(load_schema("generation_config.stored")))
