"""What must hold for any bytes: the targets of the fuzz session.

:func:`check` takes an input as bytes. The first byte, a digit, names the target; the rest is its
data. A target raises an exception if the library breaks a promise. ``python -m fuzz`` lets atheris
look for such inputs, and ``test_corpus.py`` checks the inputs that it has kept.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import PurePath
from typing import Any, cast
from unittest.mock import patch

from campaign_model.cli import main
from campaign_model.cli.console import UserError
from campaign_model.cli.contacts_csv import FIELDS, read_contacts_file
from campaign_model.errors import InvalidDocument, Violation
from campaign_model.wire import DEFAULT

KINDS = ("template_config", "generation_config", "campaign_template")


def check(data: bytes) -> None:
    """Check one input."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


# --- Documents -----------------------------------------------------------------------------------


def check_document(kind: str, data: bytes) -> None:
    """Read a text, and the JSON value of the text, as both forms of a document."""
    # A surrogate stands for each byte that is not UTF-8: text of Python may contain surrogates.
    text = data.decode(errors="surrogateescape")
    sources = [text]
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, str):
        sources.append(document)
    for source in sources:
        submitted = check_submitted(kind, source)
        stored = check_stored(kind, source)
        if submitted is not None:
            # Every submitted document can be stored, and has the same value then.
            assert stored is not None
            assert stored == submitted


def check_submitted(kind: str, source: Any) -> Any:
    """Parse a document. Return its value, or None if it is refused."""
    parse, dump = getattr(DEFAULT, f"parse_{kind}"), getattr(DEFAULT, f"dump_{kind}")
    violations = DEFAULT.violations(source, kind)
    try:
        value = parse(source)
    except InvalidDocument as error:
        check_refusal(error, violations)
        return None
    assert not violations
    dumped = dump(value)
    for again in (dumped, to_text(dumped)):
        assert parse(again) == value
        assert parse(again, previous=value) == value
    return value


def check_stored(kind: str, source: Any) -> Any:
    """Recover a stored document. Return its value, or None if it is refused."""
    parse, dump = getattr(DEFAULT, f"parse_{kind}"), getattr(DEFAULT, f"dump_{kind}")
    recover = getattr(DEFAULT, f"recover_{kind}")
    violations = DEFAULT.stored_violations(source, kind)
    try:
        recovered = recover(source)
    except InvalidDocument as error:
        check_refusal(error, violations)
        return None
    assert not violations
    value = recovered.value
    dumped = dump(value)
    for again in (dumped, to_text(dumped)):
        assert recover(again).value == value
        assert not recover(again).repairs
    # A form that shows a stored document may send it back as it was.
    if kind != "template_config" or value:
        assert parse(dumped, previous=value) == value
    return value


def to_text(document: Any) -> str:
    return json.dumps(document, allow_nan=False)


def check_refusal(error: InvalidDocument, violations: tuple[Violation, ...]) -> None:
    """Check that an error has these violations, and that it is short UTF-8 text."""
    assert violations
    assert error.violations == violations
    assert len(json.dumps(error.to_dict(), ensure_ascii=False).encode()) < 100_000


# --- Contacts ------------------------------------------------------------------------------------


class File:
    """A file in memory, as :func:`read_contacts_file` reads it."""

    name = "contacts.csv"

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read_bytes(self) -> bytes:
        return self.content


def check_contacts(data: bytes) -> None:
    """Read a CSV file. The first byte chooses the options."""
    options, content = data[:1], data[1:]
    choice = options[0] if options else 0
    chosen = {"Mail": "email_address", "Notes": ""} if choice & 1 else {}
    required = ("email_address",) if choice & 2 else ()
    file = cast("Any", File(content))
    try:
        read = read_contacts_file(file, fields_by_column=chosen, required=required)
    except UserError as error:
        str(error).encode(errors="strict")
        return
    lines = content.count(b"\n") + content.count(b"\r") + 1
    assert read.columns.keys() <= {*FIELDS}
    assert {*required} <= read.columns.keys()
    assert len(read.contacts) + read.repeated + len(read.faults) <= lines
    identities = [contact.identity for contact in read.contacts]
    assert len({*identities}) == len(identities)
    assert all(contact.name and contact.identity for contact in read.contacts)
    assert all(1 < fault.line <= lines and fault.message for fault in read.faults)


# --- The command ---------------------------------------------------------------------------------

OPTIONS: tuple[list[str], ...] = (
    [],
    ["--stored"],
    ["--document", "generation_config"],
    ["--document", "campaign_template", "--stored"],
)
FORMATS = ("full", "concise", "github", "json")


def run_command(arguments: list[str], stdin: bytes = b"") -> tuple[int, str, str]:
    """Run ``campaign-model`` in this process. Return its exit code and what it wrote."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with (
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = main(arguments)
    written = []
    for stream in (out, err):
        stream.flush()
        written.append(stream.buffer.getvalue().decode())
    return code, written[0], written[1]


def check_validate(data: bytes) -> None:
    """Validate standard input. The first byte chooses the options."""
    choice, content = data[0] if data else 0, data[1:]
    output_format, options = FORMATS[choice % 4], OPTIONS[choice // 4 % 4]
    code, out, err = run_command(["validate", "--format", output_format, *options, "-"], content)
    assert code in {0, 1}, err
    assert not err
    if output_format == "json":
        found = json.loads(out)
        lines = content.decode(errors="replace").split("\n")
        assert bool(found) == code
        assert all(1 <= each["line"] <= len(lines) for each in found)
        assert all(1 <= each["column"] <= len(lines[each["line"] - 1]) + 1 for each in found)
    elif output_format != "full":
        assert bool(out) == code
        assert all(line.startswith(("-:", "::error file=-,")) for line in out.splitlines())


def check_arguments(data: bytes) -> None:
    """Run a command about documents with any arguments. A NUL separates two of them."""
    arguments = [part.decode(errors="surrogateescape") for part in data.split(b"\0")]
    command = ("validate", "schema", "lifecycle")[len(data) % 3]
    if command == "validate" and any(PurePath(each).is_absolute() for each in arguments):
        return  # The command would read a device, such as /dev/zero, for ever.
    code, _, err = run_command([command, *arguments], b"[]")
    assert code in {0, 1, 2}, err
    assert "Traceback" not in err


TARGETS: tuple[Callable[[bytes], None], ...] = (
    lambda data: check_document("template_config", data),
    lambda data: check_document("generation_config", data),
    lambda data: check_document("campaign_template", data),
    check_contacts,
    check_validate,
    check_arguments,
)
