"""What may happen to a campaign, and to a contact in it: two tables and the functions over them.

Nothing here touches a database or a document. The store builds its SQL from these tables, so a
line added here is the whole change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import attrs

from campaign_model._json import digest
from campaign_model.errors import TransitionNotAllowed, Unmet

__all__ = [
    "CLAIMABLE",
    "CONTACT_TRANSITIONS",
    "PERMISSIONS",
    "TRANSITIONS",
    "Action",
    "ActionState",
    "ContactAction",
    "ContactStatus",
    "ContactTransition",
    "Facts",
    "Permission",
    "ReviewTally",
    "Status",
    "Transition",
    "actions",
    "apply",
    "apply_contact",
    "check_permission",
    "document",
    "resting_status",
    "sources",
    "target",
    "why_not",
]


class Status(StrEnum):
    """Where a campaign stands. Stored as these words."""

    DRAFT = "draft"
    READY = "ready"
    GENERATING = "generating"
    REVIEW = "review"
    APPROVED = "approved"
    EXPORTED = "exported"
    ARCHIVED = "archived"


class Action(StrEnum):
    """A move between two statuses; the only way a status changes."""

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
    """A change of a campaign's content that is legal only in some statuses."""

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
    LIST_EXPORTABLE = "list_exportable"


class ContactStatus(StrEnum):
    """Where one contact stands within one campaign."""

    PENDING = "pending"
    ENRICHMENT_OK = "enrichment_ok"
    ENRICHMENT_NEEDED = "enrichment_needed"
    GENERATING = "generating"
    GENERATED = "generated"
    FAILED = "failed"
    EXCLUDED = "excluded"


class ContactAction(StrEnum):
    """A move of one contact within one campaign."""

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
class ReviewTally:
    """How many messages the reviewers approved, rejected, and have not decided on."""

    approved: int
    rejected: int
    undecided: int


@attrs.frozen
class Facts:
    """What the guards look at. The store counts these under the campaign's row lock.

    All are numbers of contacts unless named otherwise. ``contacts`` leaves out excluded ones;
    ``claimable`` are those a worker could be given now or after a pause (pending, enrichment_ok,
    and generating whose lease ran out); ``in_flight`` hold a live lease. ``review`` is ``None``
    when nobody counted messages.
    """

    enabled_steps: int = 0
    contacts: int = 0
    claimable: int = 0
    in_flight: int = 0
    generated: int = 0
    budget_exhausted: bool = False
    review: ReviewTally | None = None
    allow_empty: bool = False


Guard = Callable[[Facts], Unmet | None]


def has_enabled_steps(facts: Facts) -> Unmet | None:
    """At least one step is enabled."""
    if facts.enabled_steps > 0:
        return None
    return Unmet("has_enabled_steps", "the campaign has no enabled step; enable at least one")


def has_contacts(facts: Facts) -> Unmet | None:
    """At least one contact is assigned and not excluded."""
    if facts.contacts > 0:
        return None
    return Unmet("has_contacts", "the campaign has no contacts; assign some first")


def has_contacts_to_generate(facts: Facts) -> Unmet | None:
    """Some contact is waiting for its messages, or was in flight when a run was cancelled."""
    if facts.claimable + facts.in_flight > 0:
        return None
    return Unmet(
        "has_contacts_to_generate",
        "no contact is waiting for messages; assign, enrich or retry some, or submit for review",
    )


def something_generated(facts: Facts) -> Unmet | None:
    """At least one contact has its messages."""
    if facts.generated > 0:
        return None
    return Unmet("something_generated", "no contact has messages yet; start generation first")


def nothing_in_flight(facts: Facts) -> Unmet | None:
    """No worker holds a live lease."""
    if facts.in_flight == 0:
        return None
    return Unmet(
        "nothing_in_flight",
        f"{facts.in_flight} contact(s) are being generated right now; "
        "wait until they are recorded or their leases run out",
    )


def nothing_left_to_claim(facts: Facts) -> Unmet | None:
    """Every contact is done, or the budget allows no further claim."""
    if facts.claimable == 0 or facts.budget_exhausted:
        return None
    return Unmet(
        "nothing_left_to_claim",
        f"{facts.claimable} contact(s) still wait for messages; "
        "let the workers finish, or cancel generation",
    )


def review_counted(facts: Facts) -> Unmet | None:
    """The caller counted the messages under review."""
    if facts.review is not None:
        return None
    return Unmet(
        "review_counted", "nobody has counted the reviewed messages; give the tally (review)"
    )


def nothing_undecided(facts: Facts) -> Unmet | None:
    """Every message under review was approved or rejected."""
    if facts.review is None or facts.review.undecided == 0:
        return None
    return Unmet(
        "nothing_undecided",
        f"{facts.review.undecided} message(s) are neither approved nor rejected; decide on them",
    )


def something_approved(facts: Facts) -> Unmet | None:
    """At least one message was approved, or the caller says that an empty campaign is meant."""
    if facts.allow_empty or facts.review is None or facts.review.approved > 0:
        return None
    return Unmet(
        "something_approved",
        "no message was approved, so nothing would be sent; "
        "approve some, or say that an empty campaign is meant (allow_empty)",
    )


@attrs.frozen
class Transition:
    """One line of the campaign table. ``deletes`` also makes the campaign inactive."""

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
        (review_counted, nothing_undecided, nothing_in_flight, something_approved),
    ),
    Transition(Status.APPROVED, Action.REOPEN_REVIEW, Status.REVIEW),
    Transition(Status.APPROVED, Action.EXPORT, Status.EXPORTED),
    Transition(Status.EXPORTED, Action.ARCHIVE, Status.ARCHIVED),
    Transition(Status.DRAFT, Action.DELETE, Status.ARCHIVED, deletes=True),
)

_BY_SOURCE_AND_ACTION = {(line.source, line.action): line for line in TRANSITIONS}

_AT_REST = frozenset({Status.DRAFT, Status.READY})
_WORKABLE = frozenset({Status.READY, Status.GENERATING, Status.REVIEW})

PERMISSIONS: Mapping[Permission, frozenset[Status]] = MappingProxyType(
    {
        Permission.EDIT_DETAILS: frozenset(Status) - {Status.ARCHIVED},
        Permission.EDIT_STEPS: _AT_REST,
        Permission.EDIT_CONFIG: _AT_REST,
        Permission.RAISE_BUDGET: _AT_REST | {Status.GENERATING},
        Permission.ASSIGN_CONTACTS: _AT_REST,
        Permission.REMOVE_CONTACTS: _AT_REST,
        Permission.EXCLUDE_CONTACTS: _AT_REST | _WORKABLE | {Status.APPROVED},
        Permission.INCLUDE_CONTACTS: _AT_REST,
        Permission.SET_READINESS: _AT_REST | _WORKABLE,
        Permission.CLAIM: frozenset({Status.GENERATING}),
        Permission.RETRY_FAILED: _WORKABLE,
        Permission.REGENERATE: _WORKABLE,
        Permission.LIST_EXPORTABLE: frozenset({Status.APPROVED, Status.EXPORTED}),
    }
)


@attrs.frozen
class ActionState:
    """One action of the lifecycle, seen from where a campaign stands: a front end's button.

    ``target`` is ``None`` when the status does not know the action; ``error`` says why the
    action is not allowed now, and is ``None`` when it is.
    """

    action: Action
    target: Status | None
    error: TransitionNotAllowed | None

    @property
    def allowed(self) -> bool:
        """Whether the action may be applied now."""
        return self.error is None


def sources(action: Action) -> tuple[Status, ...]:
    """The statuses from which the table knows ``action``, in the table's order."""
    return tuple(line.source for line in TRANSITIONS if line.action == action)


def target(action: Action) -> Status:
    """The one status that ``action`` leads to."""
    (found,) = {line.target for line in TRANSITIONS if line.action == action}
    return found


def _refusal(
    source: Status, action: str, legal_from: tuple[Status, ...], unmet: tuple[Unmet, ...] = ()
) -> TransitionNotAllowed:
    allowed = tuple(line.action for line in TRANSITIONS if line.source is source)
    return TransitionNotAllowed(source, action, allowed, legal_from, unmet)


def why_not(source: Status, action: Action, facts: Facts) -> TransitionNotAllowed | None:
    """The error that :func:`apply` would raise, or ``None`` if the action is allowed."""
    line = _BY_SOURCE_AND_ACTION.get((source, action))
    if line is None:
        return _refusal(source, action, sources(action))
    unmet = tuple(found for guard in line.guards if (found := guard(facts)) is not None)
    return _refusal(source, action, sources(action), unmet) if unmet else None


def apply(source: Status, action: Action, facts: Facts) -> Transition:
    """The line of the table by which ``action`` leads on from ``source``.

    Raises :class:`TransitionNotAllowed` with the allowed actions and every unmet guard.
    """
    line = _BY_SOURCE_AND_ACTION.get((source, action))
    if line is not None:
        for guard in line.guards:
            if guard(facts) is not None:
                break
        else:
            return line
    error = why_not(source, action, facts)
    assert error is not None
    raise error


def actions(source: Status, facts: Facts) -> tuple[ActionState, ...]:
    """Every action of the lifecycle: whether it is allowed from here now, and if not, why."""
    states = []
    for action in Action:
        line = _BY_SOURCE_AND_ACTION.get((source, action))
        states.append(
            ActionState(action, line.target if line else None, why_not(source, action, facts))
        )
    return tuple(states)


def check_permission(permission: Permission, status: Status) -> None:
    """Raise :class:`TransitionNotAllowed` unless ``permission`` is granted in ``status``."""
    granted = PERMISSIONS[permission]
    if status not in granted:
        raise _refusal(status, permission, tuple(one for one in Status if one in granted))


@attrs.frozen
class ContactTransition:
    """One line of the contact table.

    ``target=None`` means :func:`resting_status` of the row's enrichment gaps decides.
    ``expired_lease`` marks the takeover of a contact whose worker's lease ran out.
    """

    source: ContactStatus
    action: ContactAction
    target: ContactStatus | None
    expired_lease: bool = False


_WAITING = (ContactStatus.PENDING, ContactStatus.ENRICHMENT_OK, ContactStatus.ENRICHMENT_NEEDED)
_MARKS = (ContactAction.MARK_OK, ContactAction.MARK_NEEDED)

CONTACT_TRANSITIONS: tuple[ContactTransition, ...] = (
    ContactTransition(ContactStatus.PENDING, ContactAction.CLAIM, ContactStatus.GENERATING),
    ContactTransition(ContactStatus.ENRICHMENT_OK, ContactAction.CLAIM, ContactStatus.GENERATING),
    ContactTransition(
        ContactStatus.GENERATING, ContactAction.CLAIM, ContactStatus.GENERATING, expired_lease=True
    ),
    ContactTransition(ContactStatus.GENERATING, ContactAction.SUCCEED, ContactStatus.GENERATED),
    ContactTransition(ContactStatus.GENERATING, ContactAction.FAIL, ContactStatus.FAILED),
    ContactTransition(ContactStatus.GENERATING, ContactAction.RELEASE, None),
    # Excluded while in flight: it stays so, whatever the worker reports.
    ContactTransition(ContactStatus.EXCLUDED, ContactAction.SUCCEED, ContactStatus.EXCLUDED),
    ContactTransition(ContactStatus.EXCLUDED, ContactAction.FAIL, ContactStatus.EXCLUDED),
    ContactTransition(ContactStatus.EXCLUDED, ContactAction.RELEASE, ContactStatus.EXCLUDED),
    ContactTransition(ContactStatus.FAILED, ContactAction.RETRY, None),
    ContactTransition(ContactStatus.GENERATED, ContactAction.REGENERATE, None),
    *(
        ContactTransition(one, ContactAction.EXCLUDE, ContactStatus.EXCLUDED)
        for one in ContactStatus
        if one is not ContactStatus.EXCLUDED
    ),
    ContactTransition(ContactStatus.EXCLUDED, ContactAction.INCLUDE, None),
    *(
        ContactTransition(one, ContactAction.MARK_OK, ContactStatus.ENRICHMENT_OK)
        for one in _WAITING
    ),
    *(
        ContactTransition(one, ContactAction.MARK_NEEDED, ContactStatus.ENRICHMENT_NEEDED)
        for one in _WAITING
    ),
    # Readiness learned later is kept for the day the contact comes back, and moves nothing.
    *(
        ContactTransition(one, mark, one)
        for one in ContactStatus
        if one not in _WAITING
        for mark in _MARKS
    ),
)

_CONTACT_BY_SOURCE_AND_ACTION = {(line.source, line.action): line for line in CONTACT_TRANSITIONS}

CLAIMABLE: frozenset[ContactStatus] = frozenset(
    line.source
    for line in CONTACT_TRANSITIONS
    if line.action is ContactAction.CLAIM and not line.expired_lease
)
"""Statuses from which a contact is claimed outright, without waiting for a lease to run out."""


def resting_status(gaps: tuple[str, ...] | None) -> ContactStatus:
    """Where a contact with these enrichment gaps waits: unknown, none, or some."""
    if gaps is None:
        return ContactStatus.PENDING
    return ContactStatus.ENRICHMENT_NEEDED if gaps else ContactStatus.ENRICHMENT_OK


def apply_contact(
    source: ContactStatus, action: ContactAction, gaps: tuple[str, ...] | None
) -> ContactStatus | None:
    """Where ``action`` leads a contact from ``source``, or ``None`` if the table has no such line.

    ``gaps`` are the contact's enrichment gaps after the action.
    """
    line = _CONTACT_BY_SOURCE_AND_ACTION.get((source, action))
    if line is None:
        return None
    return line.target if line.target is not None else resting_status(gaps)


def document() -> dict[str, Any]:
    """The whole of this as fresh JSON, for other languages: what ``schemas/lifecycle.json`` holds.

    ``guards`` and ``permissions`` are by name: a guard's meaning, a permission's statuses. Where
    the target of a contact is ``None``, ``resting_status`` of its enrichment gaps is meant. ``id``
    ends in the shape's version and a digest of all the rest: copies of one ``id`` say the same.
    """
    content = {
        "statuses": [status.value for status in Status],
        "actions": [action.value for action in Action],
        "transitions": [
            {
                "source": line.source.value,
                "action": line.action.value,
                "target": line.target.value,
                "guards": [guard.__name__ for guard in line.guards],
                "deletes": line.deletes,
            }
            for line in TRANSITIONS
        ],
        "guards": {guard.__name__: guard.__doc__ for line in TRANSITIONS for guard in line.guards},
        "permissions": {
            permission.value: [status.value for status in Status if status in granted]
            for permission, granted in PERMISSIONS.items()
        },
        "contact_statuses": [status.value for status in ContactStatus],
        "contact_actions": [action.value for action in ContactAction],
        "contact_transitions": [
            {
                "source": line.source.value,
                "action": line.action.value,
                "target": line.target and line.target.value,
                "expired_lease": line.expired_lease,
            }
            for line in CONTACT_TRANSITIONS
        ],
        "claimable": [status.value for status in ContactStatus if status in CLAIMABLE],
        "resting_status": {
            "gaps_unknown": resting_status(None).value,
            "no_gaps": resting_status(()).value,
            "some_gaps": resting_status(("anything",)).value,
        },
    }
    return {"id": f"urn:campaign-model:lifecycle:1:{digest(content)[:16]}", **content}
