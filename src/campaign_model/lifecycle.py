"""The lifecycle of campaigns and of their contacts: two transition tables and lookups in them.

``TRANSITIONS`` lists every change of a campaign's status, ``CONTACT_TRANSITIONS`` every change of a
contact's status. Each line of these tables is one transition: the status before, an action, and the
status after. ``PERMISSIONS`` says which changes of content are legal in which status.

Invariant: a status changes only as a line of these tables says. The store's SQL, the CHECK
constraints, ``schemas/lifecycle.json`` and ``docs/lifecycle.md`` are built from the tables.

To change the status of a campaign, the store locks its row and reads the :class:`Facts`: counts of
steps, contacts and messages. :func:`apply` then finds the line of the table and calls its guards
(:mod:`campaign_model.guards`), which are pure functions of the facts. The store writes the target
status, or nothing if a guard does not hold.

Functions that get an action, a permission or a status accept its word as well, and raise
:class:`InvalidArgument` for an unknown one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import attrs

from campaign_model._answer import Answer
from campaign_model._json import digest
from campaign_model._values import checked_word
from campaign_model.errors import TransitionNotAllowed, Unmet
from campaign_model.guards import (
    Facts,
    Guard,
    ReviewTally,
    has_contacts,
    has_contacts_to_generate,
    has_enabled_steps,
    nothing_in_flight,
    nothing_left_to_claim,
    nothing_stale,
    nothing_undecided,
    nothing_waiting,
    review_counted,
    something_approved,
    something_generated,
)

__all__ = [
    "CLAIMABLE",
    "CONTACT_TRANSITIONS",
    "NEEDS_DOCUMENTS",
    "PERMISSIONS",
    "TRANSITIONS",
    "Action",
    "ActionState",
    "ContactAction",
    "ContactStatus",
    "ContactTransition",
    "Facts",
    "Guard",
    "Permission",
    "ReviewTally",
    "Status",
    "Transition",
    "actions",
    "apply",
    "apply_contact",
    "check_permission",
    "is_permitted",
    "permissions",
    "resting_status",
    "sources",
    "target",
    "to_dict",
    "why_not",
]


class Status(StrEnum):
    """The status of a campaign. The database stores these words."""

    DRAFT = "draft"
    READY = "ready"
    GENERATING = "generating"
    REVIEW = "review"
    APPROVED = "approved"
    EXPORTED = "exported"
    ARCHIVED = "archived"


class Action(StrEnum):
    """A named change of a campaign's status."""

    MARK_READY = "mark_ready"
    RETURN_TO_DRAFT = "return_to_draft"
    START_GENERATION = "start_generation"
    SUBMIT_FOR_REVIEW = "submit_for_review"
    COMPLETE_GENERATION = "complete_generation"
    CANCEL_GENERATION = "cancel_generation"
    REQUEST_CHANGES = "request_changes"
    APPROVE = "approve"
    REOPEN_REVIEW = "reopen_review"
    EXPORT = "export"
    ARCHIVE = "archive"
    DELETE = "delete"


class Permission(StrEnum):
    """A change of a campaign's content that is legal only in some statuses.

    The store checks every permission except ``review_messages``: approving and rejecting messages
    changes the host's table, so the host calls :func:`check_permission`.
    """

    EDIT_DETAILS = "edit_details"
    EDIT_STEPS = "edit_steps"
    EDIT_CONFIG = "edit_config"
    RAISE_BUDGET = "raise_budget"
    ASSIGN_CONTACTS = "assign_contacts"
    REMOVE_CONTACTS = "remove_contacts"
    EXCLUDE_CONTACTS = "exclude_contacts"
    INCLUDE_CONTACTS = "include_contacts"
    SET_READINESS = "set_readiness"
    CLAIM = "claim"
    RETRY_FAILED = "retry_failed"
    REGENERATE = "regenerate"
    REVIEW_MESSAGES = "review_messages"
    LIST_EXPORTABLE = "list_exportable"
    EXPORT_CONTACTS = "export_contacts"


class ContactStatus(StrEnum):
    """The status of one contact within one campaign."""

    PENDING = "pending"
    ENRICHMENT_OK = "enrichment_ok"
    ENRICHMENT_NEEDED = "enrichment_needed"
    GENERATING = "generating"
    GENERATED = "generated"
    FAILED = "failed"
    EXCLUDED = "excluded"


class ContactAction(StrEnum):
    """A named change of a contact's status within one campaign."""

    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"
    RELEASE = "release"
    RETRY = "retry"
    REGENERATE = "regenerate"
    EXCLUDE = "exclude"
    INCLUDE = "include"
    MARK_OK = "mark_ok"
    MARK_NEEDED = "mark_needed"


@attrs.frozen
class Transition:
    """One line of the campaigns' transition table. ``deletes``: the campaign becomes inactive."""

    source: Status
    action: Action
    target: Status
    guards: tuple[Guard, ...] = ()
    deletes: bool = False


TRANSITIONS: tuple[Transition, ...] = (
    Transition(Status.DRAFT, Action.MARK_READY, Status.READY, (has_enabled_steps, has_contacts)),
    Transition(Status.READY, Action.RETURN_TO_DRAFT, Status.DRAFT),
    Transition(
        Status.READY,
        Action.START_GENERATION,
        Status.GENERATING,
        (has_enabled_steps, has_contacts_to_generate),
    ),
    Transition(
        Status.READY,
        Action.SUBMIT_FOR_REVIEW,
        Status.REVIEW,
        (something_generated, nothing_in_flight),
    ),
    Transition(
        Status.GENERATING,
        Action.COMPLETE_GENERATION,
        Status.REVIEW,
        (nothing_left_to_claim, nothing_in_flight),
    ),
    Transition(Status.GENERATING, Action.CANCEL_GENERATION, Status.READY),
    Transition(Status.REVIEW, Action.REQUEST_CHANGES, Status.READY),
    Transition(
        Status.REVIEW,
        Action.APPROVE,
        Status.APPROVED,
        (
            review_counted,
            nothing_undecided,
            nothing_in_flight,
            something_approved,
            nothing_waiting,
            nothing_stale,
        ),
    ),
    Transition(Status.APPROVED, Action.REOPEN_REVIEW, Status.REVIEW),
    Transition(Status.APPROVED, Action.EXPORT, Status.EXPORTED),
    Transition(Status.EXPORTED, Action.ARCHIVE, Status.ARCHIVED),
    Transition(Status.DRAFT, Action.DELETE, Status.ARCHIVED, deletes=True),
)

NEEDS_DOCUMENTS = frozenset({line.action for line in TRANSITIONS if line.guards} | {Action.EXPORT})
"""Actions that are refused to a campaign whose documents cannot be read.

Guards look at the documents, and an export sends the messages of the steps. Every other action
leads back to a draft, or to the archive.
"""

_BY_SOURCE_AND_ACTION = {(line.source, line.action): line for line in TRANSITIONS}

# Before a run, and between two runs.
_BETWEEN_RUNS = frozenset({Status.DRAFT, Status.READY})

# Contacts may be generated now, or may be sent back to wait for the next run.
_WORKABLE = frozenset({Status.READY, Status.GENERATING, Status.REVIEW})
PERMISSIONS: Mapping[Permission, frozenset[Status]] = MappingProxyType(
    {
        Permission.EDIT_DETAILS: frozenset(Status) - {Status.ARCHIVED},
        Permission.EDIT_STEPS: _BETWEEN_RUNS,
        Permission.EDIT_CONFIG: _BETWEEN_RUNS,
        Permission.RAISE_BUDGET: _BETWEEN_RUNS | {Status.GENERATING},
        Permission.ASSIGN_CONTACTS: _BETWEEN_RUNS,
        Permission.REMOVE_CONTACTS: _BETWEEN_RUNS,
        Permission.EXCLUDE_CONTACTS: _BETWEEN_RUNS | _WORKABLE | {Status.APPROVED},
        Permission.INCLUDE_CONTACTS: _BETWEEN_RUNS,
        Permission.SET_READINESS: _BETWEEN_RUNS | _WORKABLE,
        Permission.CLAIM: frozenset({Status.GENERATING}),
        Permission.RETRY_FAILED: _WORKABLE,
        Permission.REGENERATE: _WORKABLE,
        Permission.REVIEW_MESSAGES: frozenset({Status.REVIEW}),
        Permission.LIST_EXPORTABLE: frozenset({Status.APPROVED, Status.EXPORTED}),
        Permission.EXPORT_CONTACTS: frozenset({Status.EXPORTED}),
    }
)


def _error_data(error: TransitionNotAllowed | None) -> tuple[Any, ...] | None:
    """Return what two refusals are compared by. An error itself is equal only to itself."""
    return None if error is None else attrs.astuple(error, recurse=False)


@attrs.frozen
class ActionState(Answer):
    """One action, and whether a campaign may take it now. A front end shows it as a button.

    ``target`` is the status that the action leads to, or ``None`` if ``TRANSITIONS`` has no line
    for the campaign's status and this action. ``error`` says why the action is not allowed; it is
    ``None`` if the action is allowed.
    """

    action: Action
    target: Status | None
    error: TransitionNotAllowed | None = attrs.field(eq=_error_data)

    @property
    def allowed(self) -> bool:
        """Whether the action may be applied now."""
        return self.error is None


def sources(action: Action) -> tuple[Status, ...]:
    """Return the statuses from which ``TRANSITIONS`` allows ``action``, in the table's order."""
    action = checked_word(Action, action, "action")
    return tuple(line.source for line in TRANSITIONS if line.action is action)


def target(action: Action) -> Status:
    """Return the status that ``action`` leads to. It is the same from every source."""
    action = checked_word(Action, action, "action")
    (status,) = {line.target for line in TRANSITIONS if line.action is action}
    return status


def _make_error(
    source: Status, action: str, legal_from: tuple[Status, ...], unmet: tuple[Unmet, ...] = ()
) -> TransitionNotAllowed:
    """Make the error for ``action`` in status ``source``.

    ``action`` is an action or a permission, ``legal_from`` are the statuses in which it is legal,
    and ``unmet`` are the guards that do not hold.
    """
    allowed = tuple(line.action for line in TRANSITIONS if line.source is source)
    return TransitionNotAllowed(source, action, allowed, legal_from, unmet)


def apply(source: Status, action: Action, facts: Facts) -> Transition:
    """Return the line of ``TRANSITIONS`` for this status and action, if its guards hold.

    Raises :class:`TransitionNotAllowed` with the allowed actions and every unmet guard.
    """
    # Two calls of checked_word for members would double the time of the whole check.
    if type(source) is not Status or type(action) is not Action:
        source = checked_word(Status, source, "source")
        action = checked_word(Action, action, "action")
    line = _BY_SOURCE_AND_ACTION.get((source, action))
    if line is None:
        raise _make_error(source, action, sources(action))
    for guard in line.guards:
        if not guard.holds(facts):
            unmet = tuple(one.unmet(facts) for one in line.guards if not one.holds(facts))
            raise _make_error(source, action, sources(action), unmet)
    return line


def why_not(source: Status, action: Action, facts: Facts) -> TransitionNotAllowed | None:
    """Return the error that :func:`apply` would raise, or ``None`` if the action is allowed."""
    try:
        apply(source, action, facts)
    except TransitionNotAllowed as error:
        error.__context__ = error.__traceback__ = None  # It is an answer, and was not raised.
        return error
    return None


def actions(
    source: Status, facts: Facts, *, documents_readable: bool = True
) -> tuple[ActionState, ...]:
    """Return the state of every action of the lifecycle for a campaign in status ``source``.

    If its documents cannot be read, the actions that need them are not allowed.
    """
    source = checked_word(Status, source, "source")
    targets = {line.action: line.target for line in TRANSITIONS if line.source is source}
    unmet = Unmet("documents_readable", "the documents of the campaign cannot be read")

    def find_error(action: Action) -> TransitionNotAllowed | None:
        if not documents_readable and action in targets and action in NEEDS_DOCUMENTS:
            return _make_error(source, action, sources(action), (unmet,))
        return why_not(source, action, facts)

    return tuple(ActionState(action, targets.get(action), find_error(action)) for action in Action)


def permissions(status: Status) -> tuple[Permission, ...]:
    """Return the permissions that ``status`` grants: what may be edited now."""
    return tuple(permission for permission in Permission if is_permitted(permission, status))


def is_permitted(permission: Permission, status: Status | str) -> bool:
    """Tell whether ``status`` grants ``permission``."""
    permission = checked_word(Permission, permission, "permission")
    return checked_word(Status, status, "status") in PERMISSIONS[permission]


def check_permission(permission: Permission, status: Status) -> None:
    """Raise :class:`TransitionNotAllowed` unless ``status`` grants ``permission``."""
    permission = checked_word(Permission, permission, "permission")
    status = checked_word(Status, status, "status")
    granting = PERMISSIONS[permission]
    if status not in granting:
        raise _make_error(status, permission, tuple(known for known in Status if known in granting))


@attrs.frozen
class ContactTransition:
    """One line of the contacts' transition table.

    The target ``None`` means :func:`resting_status` of the contact's gaps. ``expired_lease`` marks
    the takeover of a contact, which is legal only after the contact's lease has expired.
    """

    source: ContactStatus
    action: ContactAction
    target: ContactStatus | None
    expired_lease: bool = False


_WAITING = (ContactStatus.PENDING, ContactStatus.ENRICHMENT_OK, ContactStatus.ENRICHMENT_NEEDED)

CONTACT_TRANSITIONS: tuple[ContactTransition, ...] = (
    ContactTransition(ContactStatus.PENDING, ContactAction.CLAIM, ContactStatus.GENERATING),
    ContactTransition(ContactStatus.ENRICHMENT_OK, ContactAction.CLAIM, ContactStatus.GENERATING),
    ContactTransition(
        ContactStatus.GENERATING, ContactAction.CLAIM, ContactStatus.GENERATING, expired_lease=True
    ),
    ContactTransition(ContactStatus.GENERATING, ContactAction.SUCCEED, ContactStatus.GENERATED),
    ContactTransition(ContactStatus.GENERATING, ContactAction.FAIL, ContactStatus.FAILED),
    # A contact that was claimed too often fails instead of being claimed again.
    ContactTransition(ContactStatus.PENDING, ContactAction.FAIL, ContactStatus.FAILED),
    ContactTransition(ContactStatus.ENRICHMENT_OK, ContactAction.FAIL, ContactStatus.FAILED),
    ContactTransition(ContactStatus.GENERATING, ContactAction.RELEASE, None),
    # A contact that was excluded in flight stays excluded, whatever its worker reports.
    ContactTransition(ContactStatus.EXCLUDED, ContactAction.SUCCEED, ContactStatus.EXCLUDED),
    ContactTransition(ContactStatus.EXCLUDED, ContactAction.FAIL, ContactStatus.EXCLUDED),
    ContactTransition(ContactStatus.EXCLUDED, ContactAction.RELEASE, ContactStatus.EXCLUDED),
    ContactTransition(ContactStatus.FAILED, ContactAction.RETRY, None),
    ContactTransition(ContactStatus.GENERATED, ContactAction.REGENERATE, None),
    *(
        ContactTransition(status, ContactAction.EXCLUDE, ContactStatus.EXCLUDED)
        for status in ContactStatus
        if status is not ContactStatus.EXCLUDED
    ),
    ContactTransition(ContactStatus.EXCLUDED, ContactAction.INCLUDE, None),
    # Only the status of a waiting contact changes. The other contacts keep their status; their new
    # gaps decide when they wait again.
    *(
        ContactTransition(source, action, status if source in _WAITING else source)
        for action, status in (
            (ContactAction.MARK_OK, ContactStatus.ENRICHMENT_OK),
            (ContactAction.MARK_NEEDED, ContactStatus.ENRICHMENT_NEEDED),
        )
        for source in ContactStatus
    ),
)

_CONTACT_BY_SOURCE_AND_ACTION = {(line.source, line.action): line for line in CONTACT_TRANSITIONS}

CLAIMABLE: frozenset[ContactStatus] = frozenset(
    line.source
    for line in CONTACT_TRANSITIONS
    if line.action is ContactAction.CLAIM and not line.expired_lease
)
"""Statuses from which a contact can be claimed at once, without waiting for a lease to expire."""


def resting_status(gaps: tuple[str, ...] | None) -> ContactStatus:
    """Return the status in which a contact with these gaps waits.

    Gaps are the names of the fields that the contact lacks for its messages. ``None`` means that
    they are unknown.
    """
    if gaps is None:
        return ContactStatus.PENDING
    return ContactStatus.ENRICHMENT_NEEDED if gaps else ContactStatus.ENRICHMENT_OK


def apply_contact(
    source: ContactStatus, action: ContactAction, gaps: tuple[str, ...] | None
) -> ContactStatus | None:
    """Return the status that ``action`` moves a contact to, or ``None`` if it is not allowed.

    ``gaps`` are the contact's enrichment gaps after the action.
    """
    source = checked_word(ContactStatus, source, "source")
    action = checked_word(ContactAction, action, "action")
    line = _CONTACT_BY_SOURCE_AND_ACTION.get((source, action))
    if line is None:
        return None
    return line.target if line.target is not None else resting_status(gaps)


def to_dict() -> dict[str, Any]:
    """Return the lifecycle as data for JSON. ``schemas/lifecycle.json`` has the same content.

    ``guards`` maps a guard's name to its meaning, ``permissions`` a permission to its statuses.
    A contact line with the target ``None`` leads to the ``resting_status`` of the contact's gaps.
    ``id`` contains a digest of the content: equal ids mean equal content.
    """
    content = {
        "statuses": [*Status],
        "actions": [*Action],
        "transitions": [
            attrs.asdict(line) | {"guards": [guard.name for guard in line.guards]}
            for line in TRANSITIONS
        ],
        "guards": {guard.name: guard.meaning for line in TRANSITIONS for guard in line.guards},
        "permissions": {
            permission: [status for status in Status if status in granting]
            for permission, granting in PERMISSIONS.items()
        },
        "contact_statuses": [*ContactStatus],
        "contact_actions": [*ContactAction],
        "contact_transitions": [attrs.asdict(line) for line in CONTACT_TRANSITIONS],
        "claimable": [status for status in ContactStatus if status in CLAIMABLE],
        "resting_status": {
            "gaps_unknown": resting_status(None),
            "no_gaps": resting_status(()),
            "some_gaps": resting_status(("anything",)),
        },
    }
    # Through JSON and back, so that every word is a plain string and no member of an enumeration.
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return {"id": f"urn:campaign-model:lifecycle:1:{digest(plain)[:16]}", **plain}
