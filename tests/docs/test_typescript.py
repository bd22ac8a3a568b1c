"""The published TypeScript types, checked with the TypeScript compiler."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from campaign_model import CampaignModelError, Page, dump_campaign_template, presets
from campaign_model.validation import load_schema
from support.corpus import Fixture, fixtures
from support.paths import DOCS, SCHEMAS, TESTS
from support.sample_answers import SAMPLES

CONSUMER = (TESTS / "javascript" / "consumer.ts").read_text(encoding="utf-8")

TSC = (
    *("tsc", "--noEmit", "--pretty", "false", "--target", "es2022"),
    *("--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"),
    *("--module", "esnext", "--moduleResolution", "bundler", "--resolveJsonModule"),
)

Compile = Callable[[str], list[tuple[int, str]]]


@pytest.fixture
def errors(node_modules: Path, tmp_path: Path) -> Compile:
    """``errors(source)``: line and code of every error of ``tsc --strict``.

    The source can import the published types and ``lifecycle.json``.
    """
    for name in ("campaign-model.d.ts", "lifecycle.json"):
        shutil.copy(SCHEMAS / name, tmp_path)

    def compile_source(source: str) -> list[tuple[int, str]]:
        (tmp_path / "source.ts").write_text(source, encoding="utf-8")
        completed = subprocess.run(
            [node_modules / ".bin" / TSC[0], *TSC[1:], "source.ts"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        reported = re.findall(r"^\S+\((\d+),\d+\): error (TS\d+):", completed.stdout, re.MULTILINE)
        assert bool(reported) == bool(completed.returncode), completed.stdout
        return [(int(line), code) for line, code in reported]

    return compile_source


def test_correct_code_compiles_and_each_marked_mistake_is_an_error(errors: Compile) -> None:
    assert errors(CONSUMER) == []
    marked = [
        (number + 1, mark[1])
        for number, line in enumerate(CONSUMER.splitlines(), start=1)
        if (mark := re.match(r"// @ts-expect-error (TS\d+): ", line))
    ]
    assert marked
    # Without @ts-expect-error the compiler reports exactly the marked lines and codes.
    assert errors(CONSUMER.replace("@ts-expect-error", "")) == marked


def test_the_typescript_example_in_the_docs_compiles(errors: Compile) -> None:
    page = (DOCS / "lifecycle.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```ts\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert errors(example) == []


CODES_OF_TYPES = {"required", "unknown_field", "unknown_value", "wrong_type"}
"""The violations that a type can express."""

INTEGER_FIELDS = ("/step", "/variant_count", "/day_offset", "/default_variant_count")


def is_type_error(fixture: Fixture, path: str, code: str) -> bool:
    """Return whether a type can refuse this violation.

    TypeScript has no integer type, so a fraction in an integer field is not a type error.
    """
    if code != "wrong_type" or not path.endswith(INTEGER_FIELDS):
        return code in CODES_OF_TYPES
    value = fixture.document
    for name in path.split("/")[1:]:
        value = value[int(name) if isinstance(value, list) else name]
    return not isinstance(value, float)


def iter_documents() -> Iterator[tuple[str, str, Any, bool]]:
    """Iterate over name, TypeScript type, document, and whether the type must refuse it."""
    published = (SCHEMAS / "lifecycle.json").read_text(encoding="utf-8")
    yield "lifecycle", "Lifecycle", json.loads(published), False
    for preset in presets.load():
        yield preset.name, "SubmittedCampaignTemplate", dump_campaign_template(preset), False
    for value in SAMPLES:
        type_ = type(value).__name__
        items = f"<ours.{type(value.items[0]).__name__}>" if isinstance(value, Page) else ""
        yield f"{type_} answered", f"{type_}{items}", value.to_dict(), False
        if isinstance(value, CampaignModelError):
            yield f"{type_} as an error", "CampaignModelError", value.to_dict(), False
        yield f"{type_} with a member too many", f"{type_}{items}", {"b": 1} | value.to_dict(), True
    for fixture in (*fixtures("valid"), *fixtures("invalid")):
        is_current = fixture.schema == load_schema(f"{fixture.kind}.{fixture.form}")["$id"]
        if is_current and ("", "not_json") not in fixture.violations:
            type_ = f"{fixture.form}_{fixture.kind}".title().replace("_", "")
            must_refuse = any(
                is_type_error(fixture, path, code) for path, code in fixture.violations
            )
            yield fixture.name, type_, fixture.document, must_refuse


def test_the_types_refuse_exactly_the_documents_with_type_errors(errors: Compile) -> None:
    documents = list(iter_documents())
    source = 'import type * as ours from "./campaign-model";\n' + "\n".join(
        f"export const document{number}: ours.{type_} = {json.dumps(document)};"
        for number, (_, type_, document, _) in enumerate(documents)
    )
    refused = {documents[line - 2][0] for line, _ in errors(source)}
    assert refused == {name for name, _, _, must_refuse in documents if must_refuse}
