"""The language-neutral documents of ``schemas/fixtures``: what they say, and that nothing lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator

from campaign_model import wire
from campaign_model.wire import DEFAULT
from support.corpus import Fixture, fixtures, published, violations
from support.paths import SCHEMAS
from support.sample_documents import kept

VALID, INVALID = fixtures("valid"), fixtures("invalid")


def sources(fixture: Fixture) -> list[Any]:
    """The document as text, and as Python's JSON where that says the same."""
    # A Python string would be taken for JSON text.
    as_it_is = not fixture.is_text and not isinstance(fixture.document, str)
    return [fixture.text, *([fixture.document] if as_it_is else [])]


def test_a_fixture_says_what_the_readme_says() -> None:
    for path in (SCHEMAS / "fixtures").rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        source = "text" if "text" in content else "document"
        expected = ["schema", source, "why", *["violations"] * (path.parent.name == "invalid")]
        assert list(content) == expected, path
        assert content["schema"] in published(), path
        _, _, kind, form, _ = content["schema"].split(":")
        assert path.name.startswith(f"{kind}.{form}."), path
        assert content["why"].endswith("."), path
        for violation in content.get("violations", ()):
            assert list(violation) == ["path", "code"], path
    assert all(fixture.violations for fixture in INVALID)


@pytest.mark.parametrize("fixture", VALID, ids=lambda one: one.name)
def test_a_valid_fixture_is_accepted(fixture: Fixture) -> None:
    if fixture.is_in_use:
        reader = "parse" if fixture.form == "submitted" else "recover"
        for source in sources(fixture):
            assert violations(fixture, source) == ()
            getattr(DEFAULT, f"{reader}_{fixture.kind}")(source)


@pytest.mark.parametrize("fixture", INVALID, ids=lambda one: one.name)
def test_an_invalid_fixture_is_refused_for_what_it_says(fixture: Fixture) -> None:
    if fixture.is_in_use:
        for source in sources(fixture):
            found = [(one.path, one.code) for one in violations(fixture, source)]
            assert found == list(fixture.violations)


@pytest.mark.parametrize("fixture", VALID, ids=lambda one: one.name)
def test_what_any_version_accepted_is_read_for_ever_and_nothing_of_it_is_lost(
    fixture: Fixture,
) -> None:
    value = getattr(wire, f"recover_{fixture.kind}")(fixture.text).value
    assert kept(fixture.document, getattr(wire, f"dump_{fixture.kind}")(value))


# Nothing lacks: every keyword at every place where one stands, and both sides of every limit.

CODES = {
    "type": "wrong_type",
    "enum": "unknown_value",
    "pattern": "bad_pattern",
    "minLength": "too_short",
    "maxLength": "too_long",
    "minimum": "too_small",
    "maximum": "too_large",
    "minItems": "too_few_items",
    "maxItems": "too_many_items",
}
ANNOTATIONS = {"$schema", "$id", "title", "description"}


class Reached(NamedTuple):
    """A value in a fixture that one part of its schema judges, and where it stands."""

    fixture: Fixture
    path: str
    value: Any

    def is_told(self, code: str, *, below: str = "") -> bool:
        """Whether the fixture tells such a fault of the value, or of a place below it."""
        return (self.path + below, code) in self.fixture.violations


def keywords(schema: dict[str, Any], pointer: str = "") -> Iterator[tuple[str, str]]:
    """(place within the schema, keyword), for every keyword that asks for something."""
    yield from ((pointer, keyword) for keyword in schema if keyword not in ANNOTATIONS)
    for name, member in schema.get("properties", {}).items():
        yield from keywords(member, f"{pointer}/properties/{name}")
    if "items" in schema:
        yield from keywords(schema["items"], f"{pointer}/items")


def members(value: Any) -> Iterable[tuple[str, Any, str]]:
    """(token, member, where its keyword stands) of each member of an object or a list."""
    if isinstance(value, dict):
        return ((name, member, f"/properties/{name}") for name, member in value.items())
    items = value if isinstance(value, list) else []
    return ((str(index), item, "/items") for index, item in enumerate(items))


def reached(fixture: Fixture, pointer: str) -> list[Reached]:
    """What stands in a fixture where the part of its schema at ``pointer`` judges it."""
    try:
        found = [("", Reached(fixture, "", fixture.document))]
    except ValueError:
        return []
    for place, (_, path, value) in found:
        found += [
            (f"{place}{step}", Reached(fixture, f"{path}/{token}", member))
            for token, member, step in members(value)
            if pointer.startswith(f"{place}{step}")
        ]
    return [one for place, one in found if place == pointer]


def altered(pattern: str) -> Iterator[str]:
    """The pattern with one of its numbers, or one of its ends, changed."""
    for number in re.finditer(r"(?<=[{,])\d+", pattern):
        for other in {int(number[0]) - 1, int(number[0]) + 1} - {-1}:
            yield f"{pattern[: number.start()]}{other}{pattern[number.end() :]}"
    if pattern.startswith("^"):
        yield pattern[1:]
        yield pattern[:-1]


def matches(pattern: str, text: Any) -> bool:
    return isinstance(text, str) and bool(re.search(re.sub(r"\$\Z", r"\\Z", pattern), text))


def size(value: Any) -> Any:
    return len(value) if isinstance(value, str | list) else value


def lacking(schema: dict[str, Any], pointer: str, keyword: str) -> list[Any]:
    """What no fixture shows of one keyword at one place."""
    wanted: Any = schema
    for word in [*pointer.split("/")[1:], keyword]:
        wanted = wanted[word]
    good, bad = (
        [one for fixture in folder if fixture.schema == schema["$id"]
         for one in reached(fixture, pointer)]
        for folder in (VALID, INVALID)
    )  # fmt: skip
    match keyword:
        case "properties":
            return [name for name in wanted if not any(name in one.value for one in good)]
        case "items":
            return [] if any(one.value for one in good) else ["an item"]
        case "required":
            return [
                name
                for name in wanted
                if not any(one.is_told("required", below=f"/{name}") for one in bad)
            ]
        case "additionalProperties":
            told = any(
                one.is_told("unknown_field", below=f"/{name}")
                for one in bad
                if isinstance(one.value, dict)
                for name in one.value
            )
            return [] if told else ["a field that it refuses"]
        case "patternProperties":
            names = [name for one in good for name in one.value]
            return [one for one in wanted if not any(re.search(one, name) for name in names)]
        case "$ref":
            below = [
                path
                for one in bad
                for path, _ in one.fixture.violations
                if path.startswith(f"{one.path}/")
            ]
            return [] if good and below else ["a fault within"]

    refused = [
        one.value
        for one in bad
        if one.is_told(CODES[keyword])
        and not Draft202012Validator({keyword: wanted}).is_valid(one.value)
    ]
    if not refused:
        return ["a value that it refuses"]
    accepted = [one.value for one in good]
    if keyword == "enum":
        return [word for word in wanted if word not in accepted]
    if keyword == "pattern":
        return [
            f"a text that tells it from {other}"
            for other in altered(wanted)
            if all(matches(wanted, text) == matches(other, text) for text in accepted + refused)
        ]
    if keyword == "type":
        return [] if accepted else ["a value that it accepts"]
    beyond = wanted + (1 if keyword.startswith("max") else -1)
    return [
        f"one of {limit}"
        for limit, values in ((wanted, accepted), (beyond, refused))
        if limit not in map(size, values)
    ]


@pytest.mark.parametrize("schema", published().values(), ids=published())
def test_every_keyword_of_a_published_schema_has_fixtures(schema: dict[str, Any]) -> None:
    lacks = {
        f"{pointer}/{keyword}": missing
        for pointer, keyword in keywords(schema)
        if (missing := lacking(schema, pointer, keyword))
    }
    assert lacks == {}
