"""Checking JSON documents in files for ``campaign-model validate``, and printing what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from campaign_model.cli.console import (
    UserError,
    make_printable,
    open_console,
    print_json,
    print_table,
)
from campaign_model.cli.json_positions import JsonPositions, Position

if TYPE_CHECKING:
    from campaign_model.errors import Violation

_STANDARD_INPUT = "-"

_CODES_OF_NAMES = {"duplicate_member", "unknown_field"}
"""Violations whose fault is the name of a member, not its value."""

_GITHUB_ESCAPES = {ord("%"): "%25", ord("\r"): "%0D", ord("\n"): "%0A"}
_GITHUB_PROPERTIES = _GITHUB_ESCAPES | {ord(":"): "%3A", ord(","): "%2C"}
"""How the commands of GitHub Actions write characters in a message and in a property."""


class Kind(StrEnum):
    """The kinds of document that have a JSON Schema."""

    TEMPLATE_CONFIG = "template_config"
    GENERATION_CONFIG = "generation_config"
    CAMPAIGN_TEMPLATE = "campaign_template"


class Format(StrEnum):
    """How ``validate`` prints violations."""

    FULL = "full"
    CONCISE = "concise"
    GITHUB = "github"
    JSON = "json"


class CheckedFile(NamedTuple):
    """A file, the kind of document that it was checked as, and its violations."""

    file: str
    kind: Kind
    violations: tuple[tuple[Position, Violation], ...]


def check_file(file: str, kind: Kind | None, *, stored: bool) -> CheckedFile:
    """List the violations of the document in ``file``, each with its position.

    Without ``kind`` the document's shape decides. ``stored`` checks the stored form instead of
    the submitted form. Raise ``UserError`` if the file cannot be read.
    """
    from campaign_model.errors import Violation
    from campaign_model.wire import DEFAULT

    try:
        content = sys.stdin.buffer.read() if file == _STANDARD_INPUT else Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        kind = kind or Kind.TEMPLATE_CONFIG  # What is no text has no shape.
        violation = Violation("", "not_json", f"{kind}: this is not JSON: it is not UTF-8 text")
        before = content[: error.start].decode()
        return CheckedFile(file, kind, ((_end_of(before), violation),))
    kind = kind or _guess_kind(text)
    violations = (DEFAULT.stored_violations if stored else DEFAULT.violations)(text, kind)
    # Without violations, do not read the positions, which takes as long as the validation.
    if not violations:
        return CheckedFile(file, kind, ())
    find_position = _position_finder(text)
    return CheckedFile(file, kind, tuple((find_position(each), each) for each in violations))


def _position_finder(text: str) -> Callable[[Violation], Position]:
    """Return the function that finds the position of a violation in ``text``."""
    try:
        json.loads(text, parse_int=str)  # An integer may have more digits than Python converts.
    except json.JSONDecodeError as error:
        position = Position(error.lineno, error.colno)
        return lambda _violation: position
    except RecursionError:  # The violation is that of the whole document.
        position = _end_of(text[: len(text) - len(text.lstrip())])
        return lambda _violation: position
    positions = JsonPositions(text)
    return lambda violation: positions.find(
        violation.path, of_name=violation.code in _CODES_OF_NAMES
    )


def _end_of(text: str) -> Position:
    return Position(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _guess_kind(text: str) -> Kind:
    """Guess a document's kind from its shape; an array, or text that is not JSON, is steps."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return Kind.TEMPLATE_CONFIG
    if not isinstance(document, dict):
        return Kind.TEMPLATE_CONFIG
    if document.keys() & {"id", "name", "steps", "generation_config"}:
        return Kind.CAMPAIGN_TEMPLATE
    return Kind.GENERATION_CONFIG


def print_checked_files(checked_files: Iterable[CheckedFile], output_format: Format) -> None:
    """Print the violations of all files in one format."""
    if output_format is Format.FULL:
        for checked in checked_files:
            _print_table_of_violations(checked)
        return
    violations = [
        {"file": checked.file, "document": checked.kind.value}
        | position._asdict()
        | violation.to_dict()
        for checked in checked_files
        for position, violation in checked.violations
    ]
    if output_format is Format.JSON:
        print_json(violations)
        return
    write_line = _concise_line if output_format is Format.CONCISE else _github_line
    sys.stdout.writelines(f"{write_line(violation)}\n" for violation in violations)


def _concise_line(violation: dict[str, Any]) -> str:
    """Return the line of a violation as compilers write it, for editors."""
    line = "{file}:{line}:{column}: {code}: {message}".format_map(violation)
    return make_printable(line)


def _github_line(violation: dict[str, Any]) -> str:
    """Return the command that lets GitHub Actions show a violation beside its line."""
    escaped = {
        name: str(value).translate(_GITHUB_ESCAPES if name == "message" else _GITHUB_PROPERTIES)
        for name, value in violation.items()
    }
    return "::error file={file},line={line},col={column},title={code}::{message}".format_map(
        escaped
    )


def _print_table_of_violations(checked: CheckedFile) -> None:
    """Print how many violations a document has, and a table of them."""
    console = open_console()
    file = "standard input" if checked.file == _STANDARD_INPUT else checked.file
    count = len(checked.violations)
    title = make_printable(
        f"{file}: {count or 'no'} violation{'s' * (count != 1)} (as {checked.kind})"
    )
    if not checked.violations:
        console.print(title)
        return
    print_table(
        console,
        ("line:col", "location", "code", "message"),
        [
            (f"{line}:{column}", violation.path or "(document)", violation.code, violation.message)
            for (line, column), violation in checked.violations
        ],
        title=title,
    )
