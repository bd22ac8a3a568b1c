"""The fixtures of ``schemas/fixtures``: the library agrees, and they cover every keyword."""

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
from support.sample_documents import keeps_every_field

VALID, INVALID = fixtures("valid"), fixtures("invalid")


def sources(fixture: Fixture) -> list[Any]:
    """Return the document as text, and as a Python value if that is the same."""
    # A Python string would be read as JSON text.
    is_same = not fixture.is_text and not isinstance(fixture.document, str)
    return [fixture.text, *([fixture.document] if is_same else [])]


def test_a_fixture_has_the_members_that_the_readme_describes() -> None:
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


@pytest.mark.parametrize("fixture", VALID, ids=lambda fixture: fixture.name)
def test_a_valid_fixture_is_accepted(fixture: Fixture) -> None:
    if fixture.is_in_use:
        reader = "parse" if fixture.form == "submitted" else "recover"
        for source in sources(fixture):
            assert violations(fixture, source) == ()
            getattr(DEFAULT, f"{reader}_{fixture.kind}")(source)


@pytest.mark.parametrize("fixture", INVALID, ids=lambda fixture: fixture.name)
def test_an_invalid_fixture_is_refused_with_its_violations(fixture: Fixture) -> None:
    if fixture.is_in_use:
        for source in sources(fixture):
            reported = [(fault.path, fault.code) for fault in violations(fixture, source)]
            assert reported == list(fixture.violations)


@pytest.mark.parametrize("fixture", VALID, ids=lambda fixture: fixture.name)
def test_a_document_of_any_schema_version_is_recovered_without_loss(
    fixture: Fixture,
) -> None:
    value = getattr(wire, f"recover_{fixture.kind}")(fixture.text).value
    assert keeps_every_field(fixture.document, getattr(wire, f"dump_{fixture.kind}")(value))


# Coverage: every keyword of every schema, and both sides of every limit.

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
VALUE = "/anyOf/0"
"""The place of the schema of a value that may also be empty, within the schema of its field."""

ANNOTATIONS = {"$schema", "$id", "title", "description"}


class PlacedValue(NamedTuple):
    """A value in a fixture, and its place. One part of the schema applies to it."""

    fixture: Fixture
    path: str
    value: Any

    def has_violation(self, code: str, *, below: str = "") -> bool:
        """Return True if the fixture has this violation at the value, or at a place below it."""
        return (self.path + below, code) in self.fixture.violations


def keywords(schema: dict[str, Any], pointer: str = "") -> Iterator[tuple[str, str]]:
    """Yield (place within the schema, keyword) for every keyword except annotations."""
    yield from ((pointer, keyword) for keyword in schema if keyword not in ANNOTATIONS)
    for name, member in schema.get("properties", {}).items():
        yield from keywords(member, f"{pointer}/properties/{name}")
    if "items" in schema:
        yield from keywords(schema["items"], f"{pointer}/items")
    if "anyOf" in schema:
        # The second schema lists what is written for no value.
        yield from keywords(schema["anyOf"][0], f"{pointer}{VALUE}")


def members(value: Any) -> Iterable[tuple[str, Any, str]]:
    """Return (token, member, place of its schema) of each member of an object or a list."""
    if isinstance(value, dict):
        return ((name, member, f"/properties/{name}") for name, member in value.items())
    items = value if isinstance(value, list) else []
    return ((str(index), item, "/items") for index, item in enumerate(items))


def values_at(fixture: Fixture, pointer: str) -> list[PlacedValue]:
    """Return the values of a fixture to which the part of its schema at ``pointer`` applies."""
    try:
        places = [("", PlacedValue(fixture, "", fixture.document))]
    except ValueError:
        return []
    for place, (_, path, value) in places:
        places += [
            (f"{place}{step}", PlacedValue(fixture, f"{path}/{token}", member))
            for token, member, step in members(value)
            if pointer.startswith(f"{place}{step}")
        ]
    return [placed for place, placed in places if place == pointer]


def altered(pattern: str) -> Iterator[str]:
    """Yield the pattern with placed of its numbers changed, or placed of its anchors removed."""
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


def missing_fixtures(schema: dict[str, Any], pointer: str, keyword: str) -> list[Any]:
    """Describe the fixtures that are missing for placed keyword at placed place."""
    limit: Any = schema
    for word in [*pointer.split("/")[1:], keyword]:
        limit = limit[int(word) if isinstance(limit, list) else word]
    place = pointer.removesuffix(VALUE)
    valid, invalid = (
        [placed for fixture in folder if fixture.schema == schema["$id"]
         for placed in values_at(fixture, place)]
        for folder in (VALID, INVALID)
    )  # fmt: skip
    match keyword:
        case "properties":
            return [name for name in limit if not any(name in placed.value for placed in valid)]
        case "items":
            return [] if any(placed.value for placed in valid) else ["an item"]
        case "required":
            return [
                name
                for name in limit
                if not any(placed.has_violation("required", below=f"/{name}") for placed in invalid)
            ]
        case "additionalProperties":
            is_refused = any(
                placed.has_violation("unknown_field", below=f"/{name}")
                for placed in invalid
                if isinstance(placed.value, dict)
                for name in placed.value
            )
            return [] if is_refused else ["an unknown field that is refused"]
        case "patternProperties":
            names = [name for placed in valid for name in placed.value]
            return [pattern for pattern in limit if not any(re.search(pattern, n) for n in names)]
        case "anyOf" if "enum" in limit[1]:
            return [word for word in limit[1]["enum"] if word not in [one.value for one in valid]]
        case "$ref" | "anyOf":
            below = [
                path
                for placed in invalid
                for path, _ in placed.fixture.violations
                if path.startswith(f"{placed.path}/")
            ]
            return [] if valid and below else ["a violation inside"]

    refused = [
        placed.value
        for placed in invalid
        if placed.has_violation(CODES[keyword])
        and not Draft202012Validator({keyword: limit}).is_valid(placed.value)
    ]
    if not refused:
        return ["a value that is refused"]
    accepted = [
        placed.value for placed in valid if place == pointer or placed.value not in (None, "")
    ]
    if keyword == "enum":
        return [word for word in limit if word not in accepted]
    if keyword == "pattern":
        return [
            f"a text that distinguishes it from {other}"
            for other in altered(limit)
            # Beside a pattern, an empty text may be allowed: then it distinguishes nothing.
            if (place == pointer or not matches(other, ""))
            and all(matches(limit, text) == matches(other, text) for text in accepted + refused)
        ]
    if keyword == "type":
        return [] if accepted else ["a value that is accepted"]
    beyond = limit + (1 if keyword.startswith("max") else -1)
    return [
        f"a value of size {value_size}"
        for value_size, values in ((limit, accepted), (beyond, refused))
        if value_size not in map(size, values)
    ]


@pytest.mark.parametrize("schema", published().values(), ids=published())
def test_every_keyword_of_a_published_schema_has_fixtures(schema: dict[str, Any]) -> None:
    missing_by_place = {
        f"{pointer}/{keyword}": missing
        for pointer, keyword in keywords(schema)
        if (missing := missing_fixtures(schema, pointer, keyword))
    }
    assert missing_by_place == {}
