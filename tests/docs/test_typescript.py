"""The published TypeScript types, as the compiler of a front end takes them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from campaign_model import dump_campaign_template, presets
from campaign_model.validation import load_schema
from support.corpus import Fixture, fixtures
from support.paths import DOCS, SCHEMAS, TESTS

CONSUMER = (TESTS / "javascript" / "consumer.ts").read_text(encoding="utf-8")

TSC = (
    *("tsc", "--noEmit", "--pretty", "false", "--target", "es2022"),
    *("--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"),
    *("--module", "esnext", "--moduleResolution", "bundler", "--resolveJsonModule"),
)

Compile = Callable[[str], list[tuple[int, str]]]


@pytest.fixture
def errors(node_modules: Path, tmp_path: Path) -> Compile:
    """``errors(source)``: line and code of all that ``tsc --strict`` finds, beside our files."""
    for name in ("campaign-model.d.ts", "lifecycle.json"):
        shutil.copy(SCHEMAS / name, tmp_path)

    def compiled(source: str) -> list[tuple[int, str]]:
        (tmp_path / "source.ts").write_text(source, encoding="utf-8")
        done = subprocess.run(
            [node_modules / ".bin" / TSC[0], *TSC[1:], "source.ts"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        found = re.findall(r"^(\S+)\((\d+),\d+\): error (TS\d+):", done.stdout, re.MULTILINE)
        assert bool(found) == bool(done.returncode), done.stdout
        return [(int(line), code) for _, line, code in found]

    return compiled


def test_a_front_end_compiles_and_what_is_wrong_in_it_does_not(errors: Compile) -> None:
    assert errors(CONSUMER) == []
    told = [
        (number + 1, found[1])
        for number, line in enumerate(CONSUMER.splitlines(), start=1)
        if (found := re.match(r"// @ts-expect-error (TS\d+): ", line))
    ]
    assert told
    # Without the word, the compiler says where it stops, and why.
    assert errors(CONSUMER.replace("@ts-expect-error", "")) == told


def test_the_example_of_the_documentation_compiles(errors: Compile) -> None:
    page = (DOCS / "lifecycle.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```ts\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert errors(example) == []


# Of the documents: what types can say.

TYPED = {"required", "unknown_field", "unknown_value", "wrong_type"}
WHOLE = ("/step", "/variant_count", "/day_offset", "/default_variant_count")


def is_typed(fixture: Fixture, path: str, code: str) -> bool:
    """Whether a type can refuse that. To TypeScript a number is a number, whole or not."""
    if code != "wrong_type" or not path.endswith(WHOLE):
        return code in TYPED
    value = fixture.document
    for name in path.split("/")[1:]:
        value = value[int(name) if isinstance(value, list) else name]
    return not isinstance(value, float)


def documents() -> Iterator[tuple[str, str, Any, bool]]:
    """Each with a name, its type, and whether that should refuse it."""
    published = (SCHEMAS / "lifecycle.json").read_text(encoding="utf-8")
    yield "lifecycle", "Lifecycle", json.loads(published), False
    for preset in presets.load():
        yield preset.name, "SubmittedCampaignTemplate", dump_campaign_template(preset), False
    for fixture in (*fixtures("valid"), *fixtures("invalid")):
        in_use = fixture.schema == load_schema(f"{fixture.kind}.{fixture.form}")["$id"]
        if in_use and ("", "not_json") not in fixture.violations:
            type_ = f"{fixture.form}_{fixture.kind}".title().replace("_", "")
            wrong = any(is_typed(fixture, path, code) for path, code in fixture.violations)
            yield fixture.name, type_, fixture.document, wrong


def test_the_types_refuse_of_every_document_what_types_can_refuse(errors: Compile) -> None:
    judged = list(documents())
    source = 'import type * as ours from "./campaign-model";\n' + "\n".join(
        f"export const document{number}: ours.{type_} = {json.dumps(document)};"
        for number, (_, type_, document, _) in enumerate(judged)
    )
    refused = {judged[line - 2][0] for line, _ in errors(source)}
    assert refused == {name for name, _, _, wrong in judged if wrong}
