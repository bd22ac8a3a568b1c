"""``campaign-model validate``: where violations are, and the formats in which they are printed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_model.cli.json_positions import JsonPositions, Position
from support.commands import Command
from support.paths import ROOT

BAD_STEPS = """[
  {"step": 1, "channel": "email", "label": "Hi", "enabled": true, "needs_pdf": false,
   "variant_count": 7, "mine": 1,
   "step": 1},
  {"step": 2, "channel": "email", "enabled": true, "needs_pdf": false,
   "variant_count": 1}
]
"""
PLACES = {
    (3, 21, "too_large"),
    (3, 24, "unknown_field"),  # The name of the field, not its value.
    (4, 4, "duplicate_member"),  # The second member of this name.
    (5, 3, "required"),  # The object that lacks the field.
}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda values: st.lists(values) | st.dictionaries(st.text(max_size=5), values),
    max_leaves=20,
)


def iter_pointers(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    yield pointer, value
    items: Any = value.items() if isinstance(value, dict) else ()
    for name, member in enumerate(value) if isinstance(value, list) else items:
        escaped = str(name).replace("~", "~0").replace("/", "~1")
        yield from iter_pointers(member, f"{pointer}/{escaped}")


@given(JSON_VALUES, st.sampled_from([None, 0, 3]), st.booleans())
def test_every_value_is_found_at_its_line_and_column(
    value: Any,
    indent: int | None,
    ensure_ascii: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ensure_ascii)
    positions = JsonPositions(text)
    lines = text.split("\n")
    decode = json.JSONDecoder().raw_decode
    for pointer, member in iter_pointers(value):
        for of_name in (False, True):
            line, column = positions.find(pointer, of_name=of_name)
            rest = "\n".join(lines[line - 1 :])[column - 1 :]
            decoded, end = decode(rest)
            last = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
            if of_name and rest[end : end + 1] == ":":
                assert decoded == last
            else:
                assert decoded == member
        assert positions.find(f"{pointer}/~0 missing~1") == positions.find(pointer)


def test_validate_prints_the_line_and_column_of_each_violation(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "steps.json").write_text(BAD_STEPS)
    answer = command("validate", "steps.json", "--format", "json")
    assert answer.code == 1
    assert {(each["line"], each["column"], each["code"]) for each in answer.json} == PLACES
    lines = command("validate", "steps.json", "--format", "concise").out.splitlines()
    parsed = [re.fullmatch(r"steps\.json:(\d+):(\d+): (\w+): .+", line) for line in lines]
    assert {(int(m[1]), int(m[2]), m[3]) for m in parsed if m} == PLACES
    table = command("validate", "steps.json").out
    assert all(f"\n{line}:{column} " in table for line, column, _ in PLACES)


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (b'{"tone":\n "casual",\n}', (3, 1)),
        (b"", (1, 1)),
        (b'["\xc3\xa9",\n "\xff"]', (2, 3)),
        (b"\n " + b"[" * 100_000, (2, 2)),
        (b'[{"step": ' + b"9" * 5000 + b"}]", (1, 11)),
    ],
    ids=["member", "empty", "utf-8", "deep", "long"],
)
def test_text_that_cannot_be_read_has_the_position_of_its_fault(
    command: Command, content: bytes, position: tuple[int, int]
) -> None:
    violations = command("validate", "-", "--format=json", stdin=content).json
    assert position in {(each["line"], each["column"]) for each in violations}


def test_the_json_has_one_shape_for_any_number_of_files(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(BAD_STEPS)
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "good.json").write_text("{}")
    names = {"file", "document", "line", "column", "path", "code", "message"}
    for files in (["bad.json"], ["bad.json", "empty.json", "good.json"]):
        answer = command("validate", *files, "--json")
        assert answer.code == 1
        assert all(each.keys() == names for each in answer.json)
        assert {each["file"] for each in answer.json} == {*files} - {"good.json"}
    assert {each["document"] for each in answer.json} == {"template_config"}
    assert command("validate", "good.json", "--json").json == []


def test_annotations_of_github_are_escaped(command: Command, tmp_path: Path) -> None:
    (tmp_path / "100%, a:b.json").write_text('[{"x\\n::y": 1}]')
    lines = command("validate", "100%, a:b.json", "--format", "github").out.splitlines()
    assert lines
    for line in lines:
        match = re.fullmatch(r"::error file=(.+),line=1,col=\d+,title=\w+::(.+)", line)
        assert match is not None, line
        assert match[1] == "100%25%2C a%3Ab.json"


def test_an_unreadable_file_is_an_error_as_json_beside_the_violations_of_the_others(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text(BAD_STEPS)
    answer = command("validate", "missing.json", "bad.json", "--json")
    assert answer.code == 2
    assert len(answer.json) == len(PLACES)
    assert "missing.json" in json.loads(answer.err)["message"]


def test_the_pre_commit_hook_runs(command: Command, tmp_path: Path) -> None:
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    (entry,) = re.findall(r"^  entry: (.+)$", hook, re.MULTILINE)
    program, *arguments = shlex.split(entry)
    assert program == "campaign-model"
    (tmp_path / "a.campaign.json").write_text("{}")
    (tmp_path / "b.campaign.json").write_text(BAD_STEPS)
    (files,) = re.findall(r"^  files: (.+)$", hook, re.MULTILINE)
    names = sorted(path.name for path in tmp_path.iterdir() if re.search(files, path.name))
    assert names == ["a.campaign.json", "b.campaign.json"]
    answer = command(*arguments, *names)
    assert answer.code == 1
    assert all(line.startswith("b.campaign.json:") for line in answer.out.splitlines())
    assert command(*arguments, names[0]).code == 0


def test_a_position_has_a_line_and_a_column() -> None:
    assert JsonPositions('\n  {"a":\n1}').find("/a") == Position(line=3, column=1)
