"""What can go wrong, as values a program can act on and sentences a person can act on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

import attrs

__all__ = [
    "CampaignModelError",
    "Conflict",
    "InvalidDocument",
    "LeaseLost",
    "NotFound",
    "TransitionNotAllowed",
    "Unmet",
    "Violation",
    "listed",
    "shown",
]

_LISTED = 20
"""A sentence names at most so many things; the error's data has them all."""


@attrs.frozen
class Violation:
    """One fault of a document.

    ``path`` is a JSON Pointer (RFC 6901) to the faulty value, ``""`` for the whole document;
    ``code`` is stable and for programs; ``message`` is for the person who wrote the document.
    """

    path: str
    code: str
    message: str

    def to_dict(self) -> dict[str, str]:
        """The three fields as a JSON-ready ``dict``."""
        return {"path": self.path, "code": self.code, "message": self.message}


@attrs.frozen
class Unmet:
    """A guard that does not hold: its name (stable) and what to do about it."""

    guard: str
    message: str

    def to_dict(self) -> dict[str, str]:
        """The two fields as a JSON-ready ``dict``."""
        return {"guard": self.guard, "message": self.message}


class CampaignModelError(Exception):
    """Base of every error this library raises on purpose.

    ``code`` is stable, ``http_status`` is what a web service would answer, and ``str(error)``
    is a sentence for a person. All of them pickle.
    """

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    def to_dict(self) -> dict[str, Any]:
        """``code``, ``message`` and the error's own data, JSON-ready."""
        return {"code": self.code, "message": str(self)}


def shown(value: Any) -> str:
    """``value`` as a person may recognise it in a message: its ``repr``, but never a long one."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # Nested too deep; an integer of too many digits.
        return f"this {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def listed(words: Sequence[object], separator: str = ", ") -> str:
    """``words`` as part of a sentence, but never very many of them."""
    shortened = [str(word) for word in words[:_LISTED]]
    if len(words) > _LISTED:
        shortened.append(f"and {len(words) - _LISTED} more")
    return separator.join(shortened) or "nothing"


@attrs.define(slots=False, eq=False)
class InvalidDocument(CampaignModelError):
    """A document (or a value made in Python) breaks its rules; every fault is in ``violations``.

    ``document`` names its kind, such as ``template_config``.
    """

    code = "invalid_document"
    http_status = 422

    document: str
    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        faults = [violation.message for violation in self.violations]
        return f"{self.document} is not valid: {listed(faults, '; ')}"

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {
            "document": self.document,
            "violations": [violation.to_dict() for violation in self.violations],
        }


@attrs.define(slots=False, eq=False)
class TransitionNotAllowed(CampaignModelError):
    """The campaign's status, or a guard, forbids this action or change.

    ``action`` is a lifecycle action or a permission; ``allowed`` are the actions the table knows
    from ``source``; ``legal_from`` are the statuses from which ``action`` is known; ``unmet`` are
    all guards that do not hold (empty when the status itself is the reason).
    """

    code = "transition_not_allowed"
    http_status = 409

    source: str
    action: str
    allowed: tuple[str, ...]
    legal_from: tuple[str, ...]
    unmet: tuple[Unmet, ...] = ()

    def __str__(self) -> str:
        if self.unmet:
            reasons = "; ".join(unmet.message for unmet in self.unmet)
            return f"{self.action} is not possible yet: {reasons}"
        return (
            f"{self.action} is not allowed while the campaign is {self.source}: it needs "
            f"{listed(self.legal_from)}. "
            f"Actions from {self.source}: {listed(self.allowed)}."
        )

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {
            "source": str(self.source),
            "action": str(self.action),
            "allowed": [str(action) for action in self.allowed],
            "legal_from": [str(status) for status in self.legal_from],
            "unmet": [unmet.to_dict() for unmet in self.unmet],
        }


@attrs.define(slots=False, eq=False)
class NotFound(CampaignModelError):
    """This tenant has no such row. Another tenant's row is reported no differently.

    ``kind`` is campaign, template, owner, contact or tenant; ``ids`` are the ones looked for.
    """

    code = "not_found"
    http_status = 404

    kind: str
    ids: tuple[UUID, ...]

    def __str__(self) -> str:
        return f"no {self.kind} with id {listed(self.ids)} exists for this tenant"

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"kind": self.kind, "ids": [str(id_) for id_ in self.ids]}


@attrs.define(slots=False, eq=False)
class Conflict(CampaignModelError):
    """The row is not in the state the call supposed; nothing was changed.

    ``reason`` is stable: ``stale_version`` (somebody saved before you: load again),
    ``already_exists``, ``read_only`` or ``still_referred_to``. ``message`` says it for a person.
    """

    code = "conflict"
    http_status = 409

    reason: str
    message: str

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"reason": self.reason}


@attrs.define(slots=False, eq=False)
class LeaseLost(CampaignModelError):
    """Somebody else owns these campaign contacts now; nothing of the call was recorded.

    Roll back the messages written beside it. What was spent can still be booked:
    ``record(..., on_lost="book")``.
    """

    code = "lease_lost"
    http_status = 409

    ids: tuple[UUID, ...]

    def __str__(self) -> str:
        return (
            f"the lease is lost on {len(self.ids)} campaign contact(s): "
            f"{listed(self.ids)}; another worker took them over or they were released"
        )

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"ids": [str(id_) for id_ in self.ids]}
