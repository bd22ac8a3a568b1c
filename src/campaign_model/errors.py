"""The errors that this library raises, and the parts they are made of.

Every error has a stable ``code`` and its data, for programs; a sentence, for people; and an HTTP
status, for web services. :class:`Violation` is one fault of a document, :class:`Unmet` one guard
that does not hold.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

import attrs

from campaign_model._answer import Answer, json_ready

_MAX_JOINED = 20
"""The most things that a sentence names. The error's data has all of them."""

MAX_VIOLATIONS = 100
"""The most violations of one document that an error lists. One more entry counts the others."""

_MAX_REPR = 80
# Shows only the beginning of a container, so that a container in itself, or one that contains
# another many times, has a short text too.
_CONTAINERS = reprlib.Repr()
_CONTAINERS.maxlevel = 3


@attrs.frozen
class Violation(Answer):
    """One fault of a document.

    ``path`` is a JSON Pointer (RFC 6901) to the faulty value, ``""`` for the whole document. It has
    at most 1,000 characters: a value with a longer pointer has the pointer of an object or array
    around it. ``code`` is stable, for programs. ``message`` is for the author of the document.
    """

    path: str
    code: str
    message: str


@attrs.frozen
class Unmet(Answer):
    """A guard that does not hold: its stable name, and a sentence that says what to do."""

    guard: str
    message: str


class CampaignModelError(Exception):
    """Base class of the errors of this library. All of them can be pickled.

    ``code`` is stable. ``http_status`` is the status that a web service should answer with.
    ``str(error)`` is a sentence for a person.
    """

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    def to_dict(self) -> dict[str, Any]:
        """Return ``code``, ``message`` and the data of the error, JSON-ready."""
        cls = type(self)
        names = attrs.fields_dict(cls) if attrs.has(cls) else ()
        data = {name: json_ready(getattr(self, name)) for name in names}
        return {"code": self.code, "message": str(self)} | data


def short_repr(value: Any) -> str:
    """Return the ``repr`` of ``value`` for a message, cut to 80 characters."""
    try:
        if type(value) is str:
            text = repr(value[:_MAX_REPR])
        elif isinstance(value, dict | list | tuple | set | frozenset):
            text = _CONTAINERS.repr(value)
        else:
            text = repr(value)
    except (RecursionError, ValueError):  # Nested too deep, or an integer of too many digits.
        return f"this {type(value).__name__}"
    return text if len(text) <= _MAX_REPR else f"{text[: _MAX_REPR - 3]}..."


def join_words(words: Sequence[object], separator: str = ", ") -> str:
    """Join ``words`` for a sentence. Name the first 20, and count the rest."""
    joined = [str(word) for word in words[:_MAX_JOINED]]
    if len(words) > _MAX_JOINED:
        joined.append(f"and {len(words) - _MAX_JOINED} more")
    return separator.join(joined) or "none"


@attrs.define(slots=False, eq=False)
class InvalidDocument(CampaignModelError):
    """A document, or a value made in Python, breaks its rules.

    ``document`` is the kind, such as ``template_config``. ``violations`` has every fault, but not
    more than 100. If there are more, one more violation with the code ``more_violations`` says how
    many.
    """

    code = "invalid_document"
    http_status = 422

    document: str
    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        messages = [violation.message for violation in self.violations]
        listed, rest = messages[:MAX_VIOLATIONS], messages[MAX_VIOLATIONS:]
        return f"{self.document} is not valid: {'; '.join([join_words(listed, '; '), *rest])}"


@attrs.define(slots=False, eq=False)
class InvalidArgument(CampaignModelError, ValueError):
    """An argument has a value that the call cannot use, such as an unknown action. Nothing changed.

    ``argument`` is the argument's name. ``message`` says what the value must be. If the value must
    be one of a few words, ``allowed`` has them. A value of a wrong type is a mistake in the program
    and raises ``TypeError`` instead. This class is a ``ValueError`` as well, as for Python's own
    functions.
    """

    code = "invalid_argument"
    http_status = 422

    argument: str
    message: str
    allowed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.message


@attrs.define(slots=False, eq=False)
class TransitionNotAllowed(CampaignModelError):
    """The campaign's status, or a guard, forbids an action or a change of content.

    ``source`` is the campaign's status, ``action`` the refused action or permission. ``allowed``
    has the actions that the table lists for ``source``, and ``legal_from`` the statuses that allow
    ``action``. ``unmet`` has every guard that does not hold; if the status is the reason, it is
    empty.
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
            f"{self.action} is not allowed in status {self.source}, only in: "
            f"{join_words(self.legal_from)}. "
            f"Actions in status {self.source}: {join_words(self.allowed)}."
        )


@attrs.define(slots=False, eq=False)
class NotFound(CampaignModelError):
    """The tenant has no such row. A row of another tenant gives the same error.

    ``kind`` is campaign, template, owner, contact or tenant. ``ids`` were not found.
    """

    code = "not_found"
    http_status = 404

    kind: str
    ids: tuple[UUID, ...]

    def __str__(self) -> str:
        return f"found no {self.kind} with id {join_words(self.ids)}; check the id and the tenant"


@attrs.define(slots=False, eq=False)
class Conflict(CampaignModelError):
    """The row is not in the state that the call needs. The call changed nothing.

    ``reason`` is stable: ``stale_version`` (another call changed the row; load it again),
    ``already_exists``, ``read_only`` or ``still_referred_to``. ``message`` is for a person.
    """

    code = "conflict"
    http_status = 409

    reason: str
    message: str

    def __str__(self) -> str:
        return self.message


@attrs.define(slots=False, eq=False)
class LeaseLost(CampaignModelError):
    """The caller no longer owns these campaign contacts. The call recorded nothing.

    Roll back the messages that you wrote in this transaction. To book what they cost, call
    ``record(..., on_lost="book")``. ``ids`` are the ids of the campaign contacts.
    """

    code = "lease_lost"
    http_status = 409

    ids: tuple[UUID, ...]

    def __str__(self) -> str:
        return (
            f"lost the lease of {len(self.ids)} campaign contact(s): {join_words(self.ids)}; "
            "another worker took them over, or they were released; stop work on them"
        )


@attrs.define(slots=False, eq=False)
class TransactionAborted(CampaignModelError):
    """The database will not commit a transaction whose code returned without an error.

    ``reason`` is for a person. ``__cause__`` is the database error that the code caught, if it is
    known. Nothing was written.
    """

    code = "transaction_aborted"
    http_status = 500

    reason: str

    def __str__(self) -> str:
        return f"nothing was written, because the transaction cannot be committed: {self.reason}"
