"""The bundles: the same rules as the published schemas, and usable with the tools of other people.

Editors, validators and generators of code read the bundles as these tools do.
"""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from campaign_model import STANDARD, InvalidDocument, Vocabulary, validation
from campaign_model.bundles import bundled_schema
from campaign_model.steps import Step
from campaign_model.testing import documents
from campaign_model.wire import DEFAULT, Codec
from generate import BUNDLES
from support import node
from support.corpus import fixtures
from support.paths import SCHEMAS

TEMPLATE = SCHEMAS / "bundles" / "campaign_template.submitted.schema.json"

every_bundle = pytest.mark.parametrize("name", BUNDLES)


def run(*command: object) -> str:
    """Run a tool that must succeed, and return what it printed."""
    completed = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def examples(schema: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Iterate over every schema within ``schema`` and each of its examples and its default."""
    members = schema.values() if isinstance(schema, dict) else schema
    if isinstance(schema, dict):
        for example in [*schema.get("examples", ()), *filter(None, [schema.get("default")])]:
            yield schema, example
    for member in members if isinstance(schema, dict | list) else ():
        yield from examples(member)


# The bundles themselves


@every_bundle
def test_a_bundle_has_no_references_and_its_examples_are_valid(name: str) -> None:
    kind, _, form = name.partition(".")
    bundle = bundled_schema(kind, form)
    Draft202012Validator.check_schema(bundle)
    text = json.dumps(bundle)
    assert '"$ref"' not in text
    assert text.count('"urn:') == 1  # Its own id.
    found = [*examples(bundle)]
    assert len(found) >= 6
    for schema, example in found:
        assert Draft202012Validator(schema).is_valid(example)
    list_violations = DEFAULT.violations if form == "submitted" else DEFAULT.stored_violations
    assert list_violations(bundle["examples"][0], kind) == ()


@pytest.mark.parametrize("kind", documents.KINDS)
@pytest.mark.parametrize("form", ["submitted", "stored"])
def test_a_bundle_accepts_the_documents_that_the_published_schema_accepts(
    kind: str, form: str
) -> None:
    """Without annotations and ids, both are the same: references are replaced by their parts."""
    annotations = {"title", "default", "examples", "$id", "$schema"}

    def rules(schema: Any, parts: dict[str, Any]) -> Any:
        if isinstance(schema, list):
            return [rules(member, parts) for member in schema]
        if not isinstance(schema, dict):
            return schema
        members = dict(schema)
        members |= parts.get(members.pop("$ref", ""), {})
        is_schema = "type" in members or "anyOf" in members
        return {
            name: rules(member, parts)
            for name, member in members.items()
            if not (is_schema and name in annotations)
        }

    published = validation.document_schema(kind, form)
    parts = {part["$id"]: part for part in published.pop("$defs", {}).values()}
    assert rules(bundled_schema(kind, form), {}) == rules(published, parts)


def test_the_examples_of_a_bundle_have_the_words_of_its_vocabulary() -> None:
    vocabulary = Vocabulary(STANDARD.channels[:1], ("terse",))
    bundle = bundled_schema("campaign_template", "submitted", vocabulary)
    codec = Codec(vocabulary)
    assert codec.violations(bundle["examples"][0], "campaign_template") == ()
    step = bundle["properties"]["steps"]["items"]
    assert step["title"] == "Step"
    assert step["properties"]["channel"]["enum"] == [STANDARD.channels[0].name]
    assert step["properties"]["variant_count"]["default"] == Step("email", "Hi").variant_count


@given(documents.valid("generation_config", "submitted"))
def test_the_name_of_a_schema_in_a_document_is_not_kept(document: Any) -> None:
    named = {**document, "$schema": "../schemas/generation_config.json"}
    assert DEFAULT.parse_generation_config(named) == DEFAULT.parse_generation_config(document)
    assert DEFAULT.recover_generation_config(named) == DEFAULT.recover_generation_config(document)


@pytest.mark.parametrize("name", [5, None, ["a"], "\0", "\ud800"], ids=ascii)
def test_the_name_of_a_schema_must_be_text(name: Any) -> None:
    template = bundled_schema("campaign_template")["examples"][0]
    for kind, document in (
        ("generation_config", {"$schema": name}),
        ("campaign_template", template | {"$schema": name}),
        ("campaign_template", template | {"generation_config": {"$schema": name}}),
    ):
        with pytest.raises(InvalidDocument) as refused:
            getattr(DEFAULT, f"parse_{kind}")(document)
        (violation,) = refused.value.violations
        assert violation.path.endswith("/$schema")
        assert DEFAULT.violations(document, kind) == (violation,)


# The tools of other people

VALID = {
    fixture.name: fixture
    for fixture in fixtures("valid")
    if fixture.schema.endswith("campaign_template:submitted:1") and not fixture.is_text
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path]:
    """The files of valid submitted templates, and that of an invalid one."""
    directory = tmp_path_factory.mktemp("documents")
    valid = []
    for name, fixture in VALID.items():
        valid.append(directory / f"{name}.json")
        valid[-1].write_text(json.dumps(fixture.document))
    invalid = directory / "invalid.json"
    document = bundled_schema("campaign_template")["examples"][0]
    document["steps"][0]["channel"] = "emial"
    invalid.write_text(json.dumps(document))
    return valid, invalid


def test_check_jsonschema_validates_documents_with_a_bundle(files: tuple[list[Path], Path]) -> None:
    valid, invalid = files
    check = (sys.executable, "-m", "check_jsonschema")
    run(*check, "--schemafile", TEMPLATE, *valid)
    with pytest.raises(AssertionError, match=r"steps\[0\].channel"):
        run(*check, "--schemafile", TEMPLATE, invalid)


def test_ajv_cli_validates_documents_with_a_bundle(
    node_modules: Path, files: tuple[list[Path], Path]
) -> None:
    valid, invalid = files
    ajv = (node_modules / ".bin" / "ajv", "validate", "--spec=draft2020", "--strict=true")
    data = [word for file in valid for word in ("-d", file)]
    run(*ajv, "-s", TEMPLATE, *data)
    with pytest.raises(AssertionError, match="steps/0/channel"):
        run(*ajv, "-s", TEMPLATE, "-d", invalid)


def test_datamodel_code_generator_writes_pydantic_models(
    tmp_path: Path, files: tuple[list[Path], Path]
) -> None:
    model = tmp_path / "models.py"
    run(
        *(sys.executable, "-m", "datamodel_code_generator", "--disable-warnings"),
        *("--input", TEMPLATE, "--input-file-type", "jsonschema", "--output", model),
        *("--output-model-type", "pydantic_v2.BaseModel", "--target-python-version", "3.11"),
    )
    names = runpy.run_path(str(model))
    assert {"CampaignTemplate", "Step", "GenerationConfig", "Channel", "Tone"} <= names.keys()
    example = bundled_schema("campaign_template")["examples"][0]
    template = names["CampaignTemplate"].model_validate(example)
    assert template.model_dump(mode="json", exclude_none=True) == example
    with pytest.raises(ValueError, match="channel"):
        names["CampaignTemplate"].model_validate_json(files[1].read_text())


def test_json_schema_to_typescript_writes_named_types(node_modules: Path) -> None:
    types = run(node_modules / ".bin" / "json2ts", "--maxItems=-1", TEMPLATE)
    assert "export interface CampaignTemplate {" in types
    assert "export interface Step {" in types
    assert re.search(r"export type Channel = .*\"email\"", types)
    assert "steps: Steps;" in types


def test_openapi_typescript_writes_the_types_of_an_api(tmp_path: Path) -> None:
    modules = node.installed(node.JAVASCRIPT / "openapi")
    api = {
        "openapi": "3.1.0",
        "info": {"title": "Campaigns", "version": "1"},
        "paths": {},
        "components": {
            "schemas": {
                "Inline": bundled_schema("campaign_template"),
                "FromFile": {"$ref": TEMPLATE.as_uri().removeprefix("file://")},
            }
        },
    }
    (tmp_path / "api.json").write_text(json.dumps(api))
    types = run(modules / ".bin" / "openapi-typescript", tmp_path / "api.json")
    assert types.count('channel: "linkedin_connect" | "linkedin_message" | "email"') == 2
    assert types.count("generation_config: {") == 2
