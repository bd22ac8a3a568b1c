"""The fixtures of ``schemas/fixtures``, as its README describes them."""

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
    """A document, the schema it was written for, and what is wrong with it.

    ``text`` is the document as JSON text (or as what should have been). ``is_text`` says that
    only this text shows what the fixture is about. ``violations`` are (pointer, code), in order.
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
        """Whether its schema is the newest version, by which the library judges."""
        return bool(load_schema(f"{self.kind}.{self.form}")["$id"] == self.schema)

    @property
    def document(self) -> Any:
        """The document as Python reads it, fresh. Raises ``ValueError`` if it is no JSON."""
        return json.loads(self.text)


def violations(fixture: Fixture, source: Any) -> tuple[Violation, ...]:
    """What the library says of a fixture's document, given as text or as JSON."""
    judge = DEFAULT.violations if fixture.form == "submitted" else DEFAULT.stored_violations
    return judge(source, fixture.kind)


@cache
def fixtures(folder: str) -> tuple[Fixture, ...]:
    """Those that are ``valid``, or ``invalid``, by name."""
    found = []
    for path in sorted((SCHEMAS / "fixtures" / folder).glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        text = content.get("text")
        found.append(
            Fixture(
                name=path.name.removesuffix(".json"),
                schema=content["schema"],
                text=json.dumps(content["document"]) if text is None else text,
                is_text=text is not None,
                why=content["why"],
                violations=tuple(
                    (one["path"], one["code"]) for one in content.get("violations", ())
                ),
            )
        )
    return tuple(found)


def published() -> dict[str, dict[str, Any]]:
    """Every version of every schema that was published, by ``$id``."""
    schemas = [
        json.loads(path.read_text(encoding="utf-8")) for path in SCHEMAS.glob("*.schema.json")
    ]
    return {schema["$id"]: schema for schema in schemas}
