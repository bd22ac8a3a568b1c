"""Documents in files: which kind they are and what is wrong with them."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path

import attrs

from campaign_model.cli.console import UserError
from campaign_model.errors import Violation
from campaign_model.wire import DEFAULT

__all__ = ["STANDARD_INPUT", "Checked", "Kind", "check"]

STANDARD_INPUT = "-"


class Kind(StrEnum):
    """The documents that have a schema."""

    TEMPLATE_CONFIG = "template_config"
    GENERATION_CONFIG = "generation_config"
    CAMPAIGN_TEMPLATE = "campaign_template"


@attrs.frozen
class Checked:
    """A file, what it was taken for, and its faults."""

    file: str
    kind: Kind
    faults: tuple[Violation, ...]


def check(file: str, kind: Kind | None, *, stored: bool) -> Checked:
    """Look for faults in one file. Without ``kind`` the document's shape tells what it is."""
    try:
        content = sys.stdin.buffer.read() if file == STANDARD_INPUT else Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        kind = kind or Kind.TEMPLATE_CONFIG
        fault = Violation("", "not_json", f"{kind}: this is not JSON: it is not UTF-8 text")
        return Checked(file, kind, (fault,))
    kind = kind or _kind_of(text)
    violations = DEFAULT.stored_violations if stored else DEFAULT.violations
    return Checked(file, kind, violations(text, kind))


def _kind_of(text: str) -> Kind:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return Kind.TEMPLATE_CONFIG
    if not isinstance(document, dict):
        return Kind.TEMPLATE_CONFIG
    if document.keys() & {"id", "name", "steps", "generation_config"}:
        return Kind.CAMPAIGN_TEMPLATE
    return Kind.GENERATION_CONFIG
