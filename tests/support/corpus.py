"""The fixtures of ``schemas/fixtures``; its README describes them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import attrs

from campaign_model.errors import Violation
from campaign_model.validation import load_schema
from campaign_model.wire import DEFAULT
from support.paths import SCHEMAS


@attrs.frozen
class Fixture:
    """A document, its schema, and its violations.

    ``text`` is the document as text, which need not be JSON. ``is_text`` is true if the fixture is
    about the text itself, such as a repeated member. ``violations`` are (pointer, code) in order.
    """

    name: str
    schema: str
    text: str
    is_text: bool
    why: str
    violations: tuple[tuple[str, str], ...]

    @property
    def kind(self) -> str:
        """The kind of document, such as ``template_config``."""
        return self.schema.split(":")[2]

    @property
    def form(self) -> str:
        """``submitted`` or ``stored``."""
        return self.schema.split(":")[3]

    @property
    def is_in_use(self) -> bool:
        """True if its schema is the newest version, which the library uses."""
        return bool(load_schema(f"{self.kind}.{self.form}")["$id"] == self.schema)

    @property
    def document(self) -> Any:
        """The document as Python reads it, fresh. Raises ``ValueError`` if it is not JSON."""
        return json.loads(self.text)


def violations(fixture: Fixture, source: Any) -> tuple[Violation, ...]:
    """Return the library's violations of a fixture's document, given as text or as JSON."""
    list_violations = (
        DEFAULT.violations if fixture.form == "submitted" else DEFAULT.stored_violations
    )
    return list_violations(source, fixture.kind)


@cache
def fixtures(folder: str) -> tuple[Fixture, ...]:
    """Return the fixtures of the folder ``valid`` or ``invalid``, by name."""
    result = []
    for path in sorted((SCHEMAS / "fixtures" / folder).glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        text = content.get("text")
        result.append(
            Fixture(
                name=path.name.removesuffix(".json"),
                schema=content["schema"],
                text=json.dumps(content["document"]) if text is None else text,
                is_text=text is not None,
                why=content["why"],
                violations=tuple(
                    (violation["path"], violation["code"])
                    for violation in content.get("violations", ())
                ),
            )
        )
    return tuple(result)


def published() -> dict[str, dict[str, Any]]:
    """Return every published version of every schema, by ``$id``."""
    schemas = [
        json.loads(path.read_text(encoding="utf-8")) for path in SCHEMAS.glob("*.schema.json")
    ]
    return {schema["$id"]: schema for schema in schemas}
