"""The known differences between the judges of documents.

The library's violations are the reference. Each :class:`Difference` names the judges that differ
from them, by the first word of the judge's name. The table in ``docs/documents.md`` is generated
from this list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import attrs

from campaign_model._json import MAX_MEMBERS
from campaign_model.errors import Violation
from campaign_model.wire import DEFAULT, iter_stored_violations
from support.sample_documents import a_step

JUDGES = {"postgresql": "PostgreSQL's CHECK", "sqlite": "SQLite's CHECK", "ajv": "ajv"}
"""The judges that can differ from the library, and their names in the table."""


class Document(NamedTuple):
    """A document as it is sent and stored: text, which need not be JSON."""

    kind: str
    text: str


Covers = Callable[[Document, Violation | None], bool]


@attrs.frozen
class Difference:
    """A difference between some judges and the library.

    ``covers(document, violation)`` is true if one of ``judges`` may accept the document despite
    the violation; with ``None``, if it may refuse a document without violations. On each of
    ``examples``, all of ``judges`` differ and no other judge does.
    """

    what: str
    judges: tuple[str, ...]
    examples: tuple[Document, ...]
    covers: Covers
    forms: tuple[str, ...] = ("submitted", "stored")
    refused_by_library: bool = True


def is_known(judge: str, form: str, document: Document, violations: Sequence[Violation]) -> bool:
    """Return True if the list allows ``judge`` to differ from the library on this document.

    It may accept the document despite all its ``violations``, or refuse it although it has none.
    """
    differences = [
        difference
        for difference in DIFFERENCES
        if form in difference.forms and judge.partition("-")[0] in difference.judges
    ]
    return all(
        any(difference.covers(document, violation) for difference in differences)
        for violation in violations or (None,)
    )


def _code(*codes: str) -> Covers:
    return lambda _document, violation: violation is not None and violation.code in codes


def _first_member_is_valid(document: Document, violation: Violation | None) -> bool:
    """SQLite uses the first of two members with the same name, so it judges another document."""
    if violation is None or violation.code in ("not_json", "too_deep"):
        return False  # Python may not be able to read the text.
    if violation.code == "duplicate_member":
        return True
    first = json.loads(document.text, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    violations = {(one.path, one.code) for one in iter_stored_violations(first, document.kind)}
    return (violation.path, violation.code) not in violations


_WHOLE = re.compile(r"/(step|variant_count|day_offset|default_variant_count)\Z")


def _whole(is_whole: Callable[[Decimal], bool]) -> Covers:
    """Cover numbers that the library does not accept as whole, although other judges may."""

    def covers(document: Document, violation: Violation | None) -> bool:
        if violation is None or violation.code != "wrong_type":
            return False
        if _WHOLE.search(violation.path) is None:
            return False
        value: Any = json.loads(document.text, parse_float=Decimal)
        for token in violation.path.split("/")[1:]:
            value = value[int(token)] if isinstance(value, list) else value[token]
        return isinstance(value, Decimal) and is_whole(value)

    return covers


def _has_no_decimals(number: Decimal) -> bool:
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= 0


def _is_beyond_numeric(document: Document, violation: Violation | None) -> bool:
    if violation is not None:
        return False
    numbers: list[Any] = []
    json.loads(document.text, parse_float=lambda digits: numbers.append(Decimal(digits)))
    return any(not -16384 < number.as_tuple().exponent < 10**9 for number in numbers)


def _contains(pattern: str) -> Covers:
    """Cover documents without violations whose text contains ``pattern``."""
    search = re.compile(pattern).search
    # Without escaped backslashes, every backslash begins an escape.
    return lambda document, violation: (
        violation is None and search(document.text.replace(r"\\", "//")) is not None
    )


def _steps(*more: str) -> Document:
    """Return valid steps with additional members, given as JSON text for each step."""
    steps = (
        f"{json.dumps(a_step(index + 1))[:-1]}{', ' if members else ''}{members}}}"
        for index, members in enumerate(more)
    )
    return Document("template_config", f"[{', '.join(steps)}]")


def _step(name: str, value: str) -> Document:
    """Return one valid step with another value, given as JSON text."""
    step = json.dumps(a_step() | {name: "VALUE"}).replace('"VALUE"', value)
    return Document("template_config", f"[{step}]")


def _settings(members: str) -> Document:
    return Document("generation_config", f"{{{members}}}")


def _nested(depth: int) -> Document:
    return _steps(f'"x_": {"[" * depth}{"]" * depth}')


ALL_JUDGES = tuple(JUDGES)
DIFFERENCES = (
    Difference(
        "Two steps have the same key.",
        ("ajv",),
        (_steps('"key": "a"', '"key": "a"'), _steps("", '"key": "s1"')),
        _code("duplicate_key"),
    ),
    Difference(
        "A step has an earlier day offset than a step before it.",
        ("ajv",),
        (_steps('"day_offset": 2', '"day_offset": 1'),),
        _code("decreasing_day_offset"),
    ),
    Difference(
        "A step has the number of another position.",
        ("ajv",),
        (_step("step", "2"), _step("step", "-1")),
        _code("wrong_position"),
        forms=("submitted",),
    ),
    Difference(
        "No double holds the whole number exactly, such as 9007199254740993.",
        ALL_JUDGES,
        (_steps(f'"x_": {2**53 + 1}'), _settings(f'"x_": {-(2**53) - 1}')),
        _code("number_too_precise"),
    ),
    Difference(
        "The number is larger than any double, such as 1e400.",
        ("sqlite", "ajv"),
        (
            _steps('"x_": 1e400'),
            _steps(f'"config": {{"x": [{10**400}]}}'),
            _settings('"x_": -1e400'),
        ),
        _code("number_too_large"),
    ),
    Difference(
        "A value is nested deeper than 64 levels.",
        ("sqlite", "ajv"),
        (_nested(70), _nested(500)),
        _code("too_deep"),
    ),
    Difference(
        f"All objects and lists of the document have more than {MAX_MEMBERS:,} members together.",
        ALL_JUDGES,
        (
            _steps(f'"x_": [{", ".join(["0"] * MAX_MEMBERS)}]'),
            _settings(f'"x_": [{", ".join(["{}"] * MAX_MEMBERS)}]'),
        ),
        _code("too_many_members"),
    ),
    Difference(
        f"The document has more than {DEFAULT.max_bytes:,} bytes (`Codec.max_bytes`).",
        ("ajv",),
        (_settings(f'"x_": "{"x" * DEFAULT.max_bytes}"'),),
        _code("too_many_bytes"),
        forms=("submitted",),
    ),
    Difference(
        "An object has a member twice: the judge uses the last one.",
        ("postgresql", "ajv"),
        (
            _step("channel", '1, "channel": "email"'),
            _settings('"tone": 5, "tone": "casual"'),
        ),
        _code("duplicate_member"),
    ),
    Difference(
        "A whole number has a decimal point, such as 1.0.",
        ("ajv",),
        (
            _step("variant_count", "1.0"),
            _step("step", "10.0e-1"),
            _steps('"day_offset": 0.0'),
            _step("variant_count", "2.0000000000000000001"),
            _settings('"default_variant_count": 2.00'),
        ),
        _whole(lambda number: float(number).is_integer()),
    ),
    Difference(
        "A whole number has an exponent, such as 1e0. `jsonb` stores it as 1.",
        ("postgresql", "ajv"),
        (
            _step("variant_count", "1e0"),
            _step("step", "0.1e1"),
            _steps('"day_offset": 3.0e1'),
            _settings('"default_variant_count": 0.3e1'),
        ),
        _whole(_has_no_decimals),
    ),
    Difference(
        r"A text has a NUL (`\u0000`) or half of a surrogate pair (`\ud800`).",
        ("ajv",),
        (
            _steps(r'"x_": "\u0000"'),
            _steps(r'"x_": "\ud800"'),
            _steps(r'"config": {"\udfff": 1}'),
            _steps(r'"config": {"x": ["\ud83d\ud83d\ude00"]}'),
            _steps(r'"x_": "\\\ude00"'),
            _settings(r'"custom_instructions": "\u0000"'),
        ),
        _code("invalid_text"),
    ),
    Difference(
        "An object has a member twice: the judge uses the first one.",
        ("sqlite",),
        (
            _step("channel", '"email", "channel": 1'),
            _settings('"tone": "casual", "tone": 5'),
        ),
        _first_member_is_valid,
        forms=("stored",),
    ),
    Difference(
        "The document is a JSON string that contains the document, as legacy services stored it.",
        ALL_JUDGES,
        (
            Document("template_config", json.dumps(_steps("").text)),
            Document("template_config", json.dumps(json.dumps("[]"))),
            Document("generation_config", ' "{}"'),
        ),
        _contains(r'\A\s*"'),
        forms=("stored",),
        refused_by_library=False,
    ),
    Difference(
        r"A lower-case letter or `_` is an escape, such as `\u0061`. Some versions of SQLite do "
        "not recognise a member name with such an escape.",
        ("sqlite",),
        (
            _steps(r'"x_": "\u0061"'),
            _steps(r'"lab\u0065l_": 1, "\\\u005Fx": 1'),
            _settings(r'"\u007aone": 1'),
        ),
        _contains(r"(?i)\\u00(5f|6[1-9a-f]|7[0-9a])"),
        forms=("stored",),
        refused_by_library=False,
    ),
    Difference(
        "A number has more than 16383 decimals, or an exponent of ten digits: PostgreSQL cannot "
        "store it.",
        ("postgresql",),
        (
            _steps('"x_": 1e-16384'),
            _steps(f'"x_": 0.{"1" * 16_384}'),
            _settings('"x_": [0e9999999999]'),
        ),
        _is_beyond_numeric,
        forms=("stored",),
        refused_by_library=False,
    ),
)


def table() -> str:
    """Return the list as a Markdown table."""
    lines = ["| document | form | the library | judges that differ |", "| --- | --- | --- | --- |"]
    for difference in DIFFERENCES:
        form = "both" if len(difference.forms) > 1 else difference.forms[0]
        library = "refuses" if difference.refused_by_library else "accepts"
        judges = ", ".join(JUDGES[judge] for judge in difference.judges)
        lines.append(f"| {difference.what} | {form} | {library} | {judges} |")
    return "\n".join(lines)
