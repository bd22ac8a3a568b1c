"""What the judges of documents are known to differ in, and nothing else: one list.

The library's violations say what is right. Each entry names the judges that say otherwise; they
are told apart by the first word of their names. The table in ``docs/documents.md`` is this list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import attrs

from campaign_model.errors import Violation
from campaign_model.wire import iter_stored_violations
from support.sample_documents import a_step

JUDGES = {"postgresql": "PostgreSQL's CHECK", "sqlite": "SQLite's CHECK", "ajv": "ajv"}
"""Those that can differ from the library, as the table calls them."""


class Document(NamedTuple):
    """A JSON document as it is sent and stored: text, which need not be any JSON."""

    kind: str
    text: str


Covers = Callable[[Document, Violation | None], bool]


@attrs.frozen
class Difference:
    """Something in which judges differ from the library.

    ``covers(document, violation)`` says whether one of ``judges`` may let that violation pass;
    with ``None``, whether it may refuse the document although there are none. Each of
    ``examples`` is a document on which all of ``judges`` differ and no other does.
    """

    what: str
    judges: tuple[str, ...]
    examples: tuple[Document, ...]
    covers: Covers
    forms: tuple[str, ...] = ("submitted", "stored")
    refused_by_library: bool = True


def is_known(judge: str, form: str, document: Document, violations: Sequence[Violation]) -> bool:
    """Whether the list says that ``judge`` may differ from the library on this document.

    That is: may accept it, whatever its ``violations``, or if it has none, refuse it.
    """
    known = [
        one for one in DIFFERENCES if form in one.forms and judge.partition("-")[0] in one.judges
    ]
    return all(
        any(one.covers(document, violation) for one in known) for violation in violations or (None,)
    )


def _code(*codes: str) -> Covers:
    return lambda _document, violation: violation is not None and violation.code in codes


def _first_of_doubles_passes(document: Document, violation: Violation | None) -> bool:
    """SQLite judges another document: of two members of one name that with the first."""
    if violation is None or violation.code in ("not_json", "too_deep"):
        return False  # There may be nothing to read.
    if violation.code == "duplicate_member":
        return True
    first = json.loads(document.text, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    found = {(one.path, one.code) for one in iter_stored_violations(first, document.kind)}
    return (violation.path, violation.code) not in found


_WHOLE = re.compile(r"/(step|variant_count|day_offset|default_variant_count)\Z")


def _whole(is_whole: Callable[[Decimal], bool]) -> Covers:
    """Numbers that the library doesn't read as whole ones, and others may."""

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


def _found(pattern: str) -> Covers:
    """Documents that are in order and in whose text there is ``pattern``."""
    search = re.compile(pattern).search
    # With those gone that only escape another, every backslash begins an escape.
    return lambda document, violation: (
        violation is None and search(document.text.replace(r"\\", "//")) is not None
    )


def _steps(*more: str) -> Document:
    """Steps in order, but for the members (as JSON text) that each has beside its own."""
    steps = (
        f"{json.dumps(a_step(index + 1))[:-1]}{', ' if members else ''}{members}}}"
        for index, members in enumerate(more)
    )
    return Document("template_config", f"[{', '.join(steps)}]")


def _step(name: str, value: str) -> Document:
    """One step in order, but for a value (as JSON text)."""
    step = json.dumps(a_step() | {name: "VALUE"}).replace('"VALUE"', value)
    return Document("template_config", f"[{step}]")


def _settings(members: str) -> Document:
    return Document("generation_config", f"{{{members}}}")


def _nested(depth: int) -> Document:
    return _steps(f'"x_": {"[" * depth}{"]" * depth}')


EVERYBODY = tuple(JUDGES)
DIFFERENCES = (
    Difference(
        "Two steps have the same key.",
        EVERYBODY,
        (_steps('"key": "a"', '"key": "a"'), _steps("", '"key": "s1"')),
        _code("duplicate_key"),
    ),
    Difference(
        "A step has an earlier day offset than one before it.",
        EVERYBODY,
        (_steps('"day_offset": 2', '"day_offset": 1'),),
        _code("decreasing_day_offset"),
    ),
    Difference(
        "A step has the number of another place.",
        ("ajv",),
        (_step("step", "2"), _step("step", "-1")),
        _code("wrong_position"),
        forms=("submitted",),
    ),
    Difference(
        "A number is one that no double holds, such as 9007199254740993 or 1e400.",
        EVERYBODY,
        (
            _steps(f'"x_": {2**53 + 1}'),
            _steps('"x_": 1e400'),
            _steps(f'"config": {{"x": [{10**400}]}}'),
            _settings('"x_": -1e400'),
        ),
        _code("number_too_precise", "number_too_large"),
    ),
    Difference(
        "Something is nested deeper than 64 levels.",
        EVERYBODY,
        (_nested(70), _nested(500)),
        _code("too_deep"),
    ),
    Difference(
        "A member stands twice: the last of the two is judged.",
        ("postgresql", "ajv"),
        (
            _step("channel", '1, "channel": "email"'),
            _settings('"tone": "", "tone": "casual"'),
        ),
        _code("duplicate_member"),
    ),
    Difference(
        "A number is whole but not written as one, such as 1.0.",
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
        "A whole number is written with an exponent, such as 1e0, of which jsonb keeps 1.",
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
        r"Text has a NUL (`\u0000`) or half of a surrogate pair (`\ud800`).",
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
        "A member stands twice: the first of the two is judged.",
        ("sqlite",),
        (
            _step("channel", '"email", "channel": 1'),
            _settings('"tone": "casual", "tone": ""'),
        ),
        _first_of_doubles_passes,
        forms=("stored",),
    ),
    Difference(
        "The document is a JSON string that holds the document, as legacy services stored it.",
        EVERYBODY,
        (
            Document("template_config", json.dumps(_steps("").text)),
            Document("template_config", json.dumps(json.dumps("[]"))),
            Document("generation_config", ' "{}"'),
        ),
        _found(r'\A\s*"'),
        forms=("stored",),
        refused_by_library=False,
    ),
    Difference(
        r"A lower-case letter or `_` is written as an escape, such as `\u0061`: some versions of "
        "SQLite don't know a name that is written so.",
        ("sqlite",),
        (
            _steps(r'"x_": "\u0061"'),
            _steps(r'"lab\u0065l_": 1, "\\\u005Fx": 1'),
            _settings(r'"\u007aone": 1'),
        ),
        _found(r"(?i)\\u00(5f|6[1-9a-f]|7[0-9a])"),
        forms=("stored",),
        refused_by_library=False,
    ),
    Difference(
        "A number has more decimals than PostgreSQL keeps, 16383, or an exponent of ten digits.",
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
    """The list as the table in the docs."""
    lines = ["| document | form | the library | decide otherwise |", "| --- | --- | --- | --- |"]
    for one in DIFFERENCES:
        form = "both" if len(one.forms) > 1 else one.forms[0]
        library = "refuses" if one.refused_by_library else "accepts"
        others = ", ".join(JUDGES[judge] for judge in one.judges)
        lines.append(f"| {one.what} | {form} | {library} | {others} |")
    return "\n".join(lines)
