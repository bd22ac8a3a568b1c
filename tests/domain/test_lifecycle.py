"""The lifecycle: both tables, guards, permissions, and a search through all reachable states."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal, NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_model import lifecycle
from campaign_model.errors import TransitionNotAllowed
from campaign_model.guards import Guard
from campaign_model.lifecycle import (
    CLAIMABLE,
    CONTACT_TRANSITIONS,
    PERMISSIONS,
    TRANSITIONS,
    Action,
    ContactAction,
    ContactStatus,
    ContactTransition,
    Facts,
    Permission,
    ReviewTally,
    Status,
    Transition,
    actions,
    apply,
    apply_contact,
    check_permission,
    permissions,
    resting_status,
    sources,
    target,
    to_dict,
    why_not,
)
from support.strategies import copies

# The campaign table, written a second time: from, action, to, guards. "!" marks the line that
# makes the campaign inactive.
EXPECTED_TABLE = """
draft       mark_ready           ready       has_enabled_steps has_contacts
ready       return_to_draft      draft
ready       start_generation     generating  has_enabled_steps has_contacts_to_generate
ready       submit_for_review    review      something_generated nothing_in_flight
generating  complete_generation  review      nothing_left_to_claim nothing_in_flight
generating  cancel_generation    ready
review      request_changes      ready
review      approve              approved    review_counted nothing_undecided nothing_in_flight \
something_approved nothing_waiting nothing_stale
approved    reopen_review        review
approved    export               exported
exported    archive              archived
draft       delete               archived    !
"""
EXPECTED_LINES = [line.split() for line in EXPECTED_TABLE.splitlines() if line]
GUARDS_OF = {(source, action): guards for source, action, _, *guards in EXPECTED_LINES}
TARGET_OF = {(source, action): target for source, action, target, *_ in EXPECTED_LINES}

PERMITTED = """
                   draft ready generating review approved exported archived
edit_details         x     x       x        x       x        x        .
edit_steps           x     x       .        .       .        .        .
edit_config          x     x       .        .       .        .        .
raise_budget         x     x       x        .       .        .        .
assign_contacts      x     x       .        .       .        .        .
remove_contacts      x     x       .        .       .        .        .
exclude_contacts     x     x       x        x       x        .        .
include_contacts     x     x       .        .       .        .        .
set_readiness        x     x       x        x       .        .        .
claim                .     .       x        .       .        .        .
retry_failed         .     x       x        x       .        .        .
regenerate           .     x       x        x       .        .        .
review_messages      .     .       .        x       .        .        .
list_exportable      .     .       .        .       x        x        .
export_contacts      .     .       .        .       .        x        .
"""

# "gaps": to the resting status of the gaps. "expired": to generating, if the lease has expired.
CONTACTS = """
                   claim      succeed   fail     release  retry regenerate exclude  include
pending            generating .         failed   .        .     .          excluded .
enrichment_ok      generating .         failed   .        .     .          excluded .
enrichment_needed  .          .         .        .        .     .          excluded .
generating         expired    generated failed   gaps     .     .          excluded .
generated          .          .         .        .        .     gaps       excluded .
failed             .          .         .        .        gaps  .          excluded .
excluded           .          excluded  excluded excluded .     .          .        gaps
"""
MARKS = """
                   mark_ok       mark_needed
pending            enrichment_ok enrichment_needed
enrichment_ok      enrichment_ok enrichment_needed
enrichment_needed  enrichment_ok enrichment_needed
generating         generating    generating
generated          generated     generated
failed             failed        failed
excluded           excluded      excluded
"""

ALL_GAPS = (None, (), ("email_address",), ("phone", "email_address"))


def grid(text: str) -> dict[tuple[str, str], str]:
    head, *rows = (line.split() for line in text.splitlines() if line)
    return {
        (row[0], column): cell for row in rows for column, cell in zip(head, row[1:], strict=True)
    }


# What each guard demands, written a second time.
HOLDS: dict[str, Callable[[Facts], bool]] = {
    "has_enabled_steps": lambda facts: facts.enabled_steps >= 1,
    "has_contacts": lambda facts: facts.contacts >= 1,
    "has_contacts_to_generate": lambda facts: facts.claimable >= 1 or facts.in_flight >= 1,
    "something_generated": lambda facts: facts.generated >= 1,
    "nothing_in_flight": lambda facts: facts.in_flight == 0,
    "nothing_left_to_claim": lambda facts: facts.budget_exhausted or facts.claimable == 0,
    "review_counted": lambda facts: facts.review is not None,
    "nothing_undecided": lambda facts: facts.review is None or facts.review.undecided == 0,
    "something_approved": lambda facts: (
        facts.review is None or facts.review.approved >= 1 or facts.allow_empty
    ),
    "nothing_waiting": lambda facts: facts.allow_partial or facts.claimable == 0,
    "nothing_stale": lambda facts: facts.allow_partial or facts.stale == 0,
}

ALL_HOLD = Facts(
    enabled_steps=1,
    contacts=1,
    claimable=1,
    generated=1,
    budget_exhausted=True,
    review=ReviewTally(approved=1, rejected=0, undecided=0),
    allow_partial=True,
)
# For each guard, a change of ALL_HOLD that makes this guard fail, and no other of its actions.
FAILS_ALONE: dict[str, dict[str, Any]] = {
    "has_enabled_steps": {"enabled_steps": 0},
    "has_contacts": {"contacts": 0},
    "has_contacts_to_generate": {"claimable": 0},
    "something_generated": {"generated": 0},
    "nothing_in_flight": {"in_flight": 3},
    "nothing_left_to_claim": {"budget_exhausted": False},
    "review_counted": {"review": None},
    "nothing_undecided": {"review": ReviewTally(approved=1, rejected=0, undecided=3)},
    "something_approved": {"review": ReviewTally(approved=0, rejected=3, undecided=0)},
    "nothing_waiting": {"allow_partial": False},
    "nothing_stale": {"allow_partial": False, "claimable": 0, "stale": 2},
}

counts = st.integers(0, 3)
all_facts = st.builds(
    Facts,
    enabled_steps=counts,
    contacts=counts,
    claimable=counts,
    in_flight=counts,
    generated=counts,
    stale=counts,
    budget_exhausted=st.booleans(),
    review=st.none() | st.builds(ReviewTally, counts, counts, counts),
    allow_empty=st.booleans(),
    allow_partial=st.booleans(),
)


def guards_by_name() -> dict[str, Guard]:
    return {guard.name: guard for line in TRANSITIONS for guard in line.guards}


# --- The campaign table -------------------------------------------------------------------------


def test_the_campaign_table_has_exactly_the_expected_lines() -> None:
    actual_lines = [
        [
            line.source.value,
            line.action.value,
            line.target.value,
            *(guard.name for guard in line.guards),
            *(["!"] if line.deletes else []),
        ]
        for line in TRANSITIONS
    ]
    assert actual_lines == EXPECTED_LINES


def test_no_two_lines_share_a_source_and_an_action() -> None:
    pairs = [(line.source, line.action) for line in TRANSITIONS]
    assert len(set(pairs)) == len(pairs)


def test_every_status_and_every_action_is_in_the_table() -> None:
    assert {line.action for line in TRANSITIONS} == set(Action)
    assert {end for line in TRANSITIONS for end in (line.source, line.target)} == set(Status)


def reachable_from(start: Status) -> set[Status]:
    reached, frontier = {start}, [start]
    while frontier:
        here = frontier.pop()
        for line in TRANSITIONS:
            if line.source is here and line.target not in reached:
                reached.add(line.target)
                frontier.append(line.target)
    return reached


def test_every_status_is_reachable_from_draft() -> None:
    assert reachable_from(Status.DRAFT) == set(Status)


def test_archived_is_reachable_from_every_status_and_has_no_action() -> None:
    assert all(Status.ARCHIVED in reachable_from(status) for status in Status)
    assert reachable_from(Status.ARCHIVED) == {Status.ARCHIVED}


def test_no_action_leads_from_draft_to_review() -> None:
    assert not [
        line for line in TRANSITIONS if line.source is Status.DRAFT and line.target is Status.REVIEW
    ]


@pytest.mark.parametrize("action", Action)
def test_sources_and_target_agree_with_the_table(action: Action) -> None:
    lines = [line for line in TRANSITIONS if line.action is action]
    assert sources(action) == tuple(line.source for line in lines)
    assert {target(action)} == {line.target for line in lines}


def test_failure_24_only_delete_from_draft_makes_a_campaign_inactive() -> None:
    """Archive and delete lead to the same status. ``deletes`` distinguishes them."""
    assert [(line.source, line.action) for line in TRANSITIONS if line.deletes] == [
        (Status.DRAFT, Action.DELETE)
    ]
    assert target(Action.DELETE) is target(Action.ARCHIVE) is Status.ARCHIVED


# --- Guards -------------------------------------------------------------------------------------


def test_the_tests_cover_every_guard() -> None:
    assert guards_by_name().keys() == HOLDS.keys() == FAILS_ALONE.keys()


def test_every_guard_holds_exactly_when_expected() -> None:
    """For all combinations of small facts, about 70,000."""
    tallies = [None, *itertools.starmap(ReviewTally, itertools.product((0, 1), repeat=3))]
    few, flag = (0, 1, 2), (False, True)
    checked = [(guard, name, HOLDS[name]) for name, guard in guards_by_name().items()]
    for values in itertools.product(few, few, few, few, few, flag, flag, tallies, flag, flag):
        facts = Facts(*values)
        for guard, name, holds in checked:
            assert guard.holds(facts) == holds(facts), (name, facts)


@pytest.mark.parametrize("name", FAILS_ALONE)
def test_each_guard_can_be_the_only_one_of_its_action_that_fails(name: str) -> None:
    facts = attrs.evolve(ALL_HOLD, **FAILS_ALONE[name])
    assert all(guard.holds(ALL_HOLD) for guard in guards_by_name().values())
    guarded = [line for line in TRANSITIONS if name in (guard.name for guard in line.guards)]
    assert guarded
    for line in TRANSITIONS:
        error = why_not(line.source, line.action, facts)
        if line in guarded:
            assert error is not None
            assert [unmet.guard for unmet in error.unmet] == [name]
        else:
            # What an approval must not have, waiting contacts, is what a start needs.
            is_start = line.action is Action.START_GENERATION
            assert error is None or (name == "nothing_stale" and is_start)


@pytest.mark.parametrize(
    ("name", "message"),
    {
        "has_enabled_steps": "the campaign has no enabled step; enable at least one step",
        "has_contacts": "the campaign has no contacts; assign or include contacts",
        "has_contacts_to_generate": "no contact waits for messages; "
        "assign, enrich, retry or regenerate contacts, or submit for review",
        "something_generated": "no contact has messages yet; start generation first",
        "nothing_in_flight": "3 contact(s) are in flight; "
        "wait until workers finish or leases expire",
        "nothing_left_to_claim": "1 contact(s) wait for messages; "
        "let workers finish, or cancel generation",
        "review_counted": "the messages under review are not counted here; "
        "approve where they are counted",
        "nothing_undecided": "3 message(s) are undecided; approve or reject them",
        "something_approved": "no message is approved, so nothing would be sent; "
        "approve at least one message",
        "nothing_waiting": "1 contact(s) wait for messages and would not be exported; "
        "request changes and generate them, or exclude them",
        "nothing_stale": "2 contact(s) are stale: "
        "their messages do not come from the present steps; regenerate or exclude them",
    }.items(),
)
def test_an_unmet_guard_says_what_to_do(name: str, message: str) -> None:
    unmet = guards_by_name()[name].unmet(attrs.evolve(ALL_HOLD, **FAILS_ALONE[name]))
    assert unmet.to_dict() == {"guard": name, "message": message}
    # Front ends show the sentence to their users, who pass no arguments.
    assert "_" not in message


def test_a_refusal_reports_every_unmet_guard() -> None:
    no_facts = Facts()
    cases = {
        (Status.DRAFT, Action.MARK_READY): no_facts,
        (Status.READY, Action.START_GENERATION): no_facts,
        (Status.READY, Action.SUBMIT_FOR_REVIEW): Facts(in_flight=1),
        (Status.GENERATING, Action.COMPLETE_GENERATION): Facts(claimable=1, in_flight=1),
    }
    for (source, action), facts in cases.items():
        error = why_not(source, action, facts)
        assert error is not None
        assert [unmet.guard for unmet in error.unmet] == GUARDS_OF[source, action]
        assert all(unmet.message in str(error) for unmet in error.unmet)

    error = why_not(Status.REVIEW, Action.APPROVE, Facts(in_flight=1, review=ReviewTally(0, 1, 1)))
    assert error is not None
    assert [unmet.guard for unmet in error.unmet] == [
        "nothing_undecided",
        "nothing_in_flight",
        "something_approved",
    ]
    error = why_not(Status.REVIEW, Action.APPROVE, Facts(in_flight=1))
    assert error is not None
    assert [unmet.guard for unmet in error.unmet] == ["review_counted", "nothing_in_flight"]


def test_failure_09_generation_needs_an_enabled_step_and_a_contact_to_generate() -> None:
    enough = Facts(enabled_steps=1, contacts=1, claimable=1)
    assert apply(Status.READY, Action.START_GENERATION, enough).target is Status.GENERATING
    for too_little in (attrs.evolve(enough, enabled_steps=0), attrs.evolve(enough, claimable=0)):
        with pytest.raises(TransitionNotAllowed):
            apply(Status.READY, Action.START_GENERATION, too_little)


def test_failure_09_a_campaign_with_every_contact_generated_can_go_to_review() -> None:
    all_generated = Facts(enabled_steps=1, contacts=2, generated=2)
    assert why_not(Status.READY, Action.START_GENERATION, all_generated) is not None
    assert apply(Status.READY, Action.SUBMIT_FOR_REVIEW, all_generated).target is Status.REVIEW


def test_failure_18_an_empty_campaign_is_approved_only_with_allow_empty() -> None:
    empty = Facts(review=ReviewTally(approved=0, rejected=0, undecided=0))
    with pytest.raises(TransitionNotAllowed, match="nothing would be sent"):
        apply(Status.REVIEW, Action.APPROVE, empty)
    allowed = attrs.evolve(empty, allow_empty=True)
    assert apply(Status.REVIEW, Action.APPROVE, allowed).target is Status.APPROVED


def test_failure_18_a_partial_campaign_is_approved_only_with_allow_partial() -> None:
    review = ReviewTally(approved=1, rejected=0, undecided=0)
    for partial in (
        Facts(generated=2, claimable=1, review=review),
        Facts(generated=2, claimable=1, review=review, budget_exhausted=True),
        Facts(generated=2, stale=1, review=review),
    ):
        with pytest.raises(TransitionNotAllowed, match="exclude them"):
            apply(Status.REVIEW, Action.APPROVE, attrs.evolve(partial, allow_empty=True))
        allowed = attrs.evolve(partial, allow_partial=True)
        assert apply(Status.REVIEW, Action.APPROVE, allowed).target is Status.APPROVED


def test_allow_partial_does_not_replace_any_other_guard() -> None:
    for facts in (
        Facts(allow_partial=True),
        Facts(allow_partial=True, review=ReviewTally(1, 0, 1)),
        Facts(allow_partial=True, review=ReviewTally(0, 1, 0)),
        Facts(allow_partial=True, review=ReviewTally(1, 0, 0), in_flight=1),
    ):
        assert why_not(Status.REVIEW, Action.APPROVE, facts) is not None


def test_allow_empty_does_not_replace_any_other_guard() -> None:
    for facts in (
        Facts(allow_empty=True),
        Facts(allow_empty=True, review=ReviewTally(0, 0, 1)),
        Facts(allow_empty=True, review=ReviewTally(0, 0, 0), in_flight=1),
    ):
        assert why_not(Status.REVIEW, Action.APPROVE, facts) is not None


# --- apply, why_not, actions --------------------------------------------------------------------


def expected_refusal(source: Status, action: Action, facts: Facts) -> dict[str, Any] | None:
    """The data that a refusal must have, by ``EXPECTED_TABLE`` and ``HOLDS``; ``None`` if legal."""
    names = [name for name in GUARDS_OF.get((source, action), []) if name != "!"]
    failing = [name for name in names if not HOLDS[name](facts)]
    if (source, action) in TARGET_OF and not failing:
        return None
    return {
        "code": "transition_not_allowed",
        "source": source.value,
        "action": action.value,
        "allowed": [listed for start, listed in TARGET_OF if start == source],
        "legal_from": [start for start, listed in TARGET_OF if listed == action],
        "unmet": failing,
    }


def refusal_data(error: TransitionNotAllowed | None) -> dict[str, Any] | None:
    if error is None:
        return None
    data = error.to_dict()
    del data["message"]
    return data | {"unmet": [unmet["guard"] for unmet in data["unmet"]]}


@pytest.mark.parametrize("facts", [ALL_HOLD, Facts()], ids=["all-hold", "no-facts"])
@pytest.mark.parametrize(("source", "action"), list(itertools.product(Status, Action)))
def test_every_pair_of_status_and_action_is_in_the_table_or_refused(
    source: Status, action: Action, facts: Facts
) -> None:
    refusal = expected_refusal(source, action, facts)
    assert refusal_data(why_not(source, action, facts)) == refusal
    if refusal is None:
        line = apply(source, action, facts)
        assert (line.source, line.action) == (source, action)
        assert line.target == TARGET_OF[source, action]
        return
    with pytest.raises(TransitionNotAllowed) as caught:
        apply(source, action, facts)
    assert refusal_data(caught.value) == refusal
    if not refusal["unmet"]:
        for word in (*refusal["legal_from"], *refusal["allowed"], source, action):
            assert word in str(caught.value)


@given(all_facts)
def test_why_not_apply_and_actions_agree_for_all_facts(facts: Facts) -> None:
    for source in Status:
        states = actions(source, facts)
        assert [state.action for state in states] == list(Action)
        for state in states:
            pair = source, state.action
            assert state.target == TARGET_OF.get(pair)
            refusal = expected_refusal(*pair, facts)
            assert refusal_data(state.error) == refusal_data(why_not(*pair, facts)) == refusal
            assert state.allowed == (state.error is None)
            if state.allowed:
                assert apply(*pair, facts).target is state.target
            else:
                with pytest.raises(TransitionNotAllowed) as caught:
                    apply(*pair, facts)
                assert caught.value.to_dict() == (state.error and state.error.to_dict())


def test_an_archived_campaign_allows_no_action() -> None:
    states = actions(Status.ARCHIVED, ALL_HOLD)
    assert not [state for state in states if state.allowed or state.target]


def test_facts_and_table_lines_are_immutable_values() -> None:
    for value in (ALL_HOLD, *TRANSITIONS, *CONTACT_TRANSITIONS, ReviewTally(1, 2, 3)):
        for copied in copies(value):
            assert copied == value
            assert hash(copied) == hash(value)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        TRANSITIONS[0].target = Status.ARCHIVED  # type: ignore[misc]


def test_the_error_of_a_refused_action_can_be_pickled() -> None:
    for state in actions(Status.DRAFT, Facts()):
        assert state.error is None or copies(state.error)[0].to_dict() == state.error.to_dict()


# --- Permissions --------------------------------------------------------------------------------


@pytest.mark.parametrize(("permission", "status"), list(itertools.product(Permission, Status)))
def test_each_change_is_permitted_in_exactly_the_expected_statuses(
    permission: Permission, status: Status
) -> None:
    cells = grid(PERMITTED)
    assert (status in PERMISSIONS[permission]) == (cells[permission, status] == "x")
    if cells[permission, status] == "x":
        check_permission(permission, status)
        return
    with pytest.raises(TransitionNotAllowed) as caught:
        check_permission(permission, status)
    assert refusal_data(caught.value) == {
        "code": "transition_not_allowed",
        "source": status.value,
        "action": permission.value,
        "allowed": [listed for start, listed in TARGET_OF if start == status],
        "legal_from": [known.value for known in Status if cells[permission, known] == "x"],
        "unmet": [],
    }


@pytest.mark.parametrize("status", Status)
def test_a_status_grants_its_permissions_in_the_order_of_the_enumeration(status: Status) -> None:
    cells = grid(PERMITTED)
    granted = tuple(known for known in Permission if cells[known, status] == "x")
    assert permissions(status) == granted
    assert permissions(status.value) == granted  # type: ignore[arg-type]


def test_every_permission_has_statuses_and_the_mapping_is_read_only() -> None:
    assert PERMISSIONS.keys() == set(Permission)
    with pytest.raises(TypeError):
        PERMISSIONS[Permission.CLAIM] = frozenset(Status)  # type: ignore[index]


# --- The contact table --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "action"), list(itertools.product(ContactStatus, ContactAction))
)
def test_the_contact_table_has_exactly_the_expected_lines(
    source: ContactStatus, action: ContactAction
) -> None:
    cell = (grid(CONTACTS) | grid(MARKS))[source, action]
    lines = [line for line in CONTACT_TRANSITIONS if (line.source, line.action) == (source, action)]
    if cell == ".":
        assert lines == []
        assert [apply_contact(source, action, gaps) for gaps in ALL_GAPS] == [None] * 4
        return
    (line,) = lines
    assert line.expired_lease == (cell == "expired")
    assert (line.target is None) == (cell == "gaps")
    for gaps, resting in zip(
        ALL_GAPS,
        ("pending", "enrichment_ok", "enrichment_needed", "enrichment_needed"),
        strict=True,
    ):
        status = apply_contact(source, action, gaps)
        assert status == {"gaps": resting, "expired": "generating"}.get(cell, cell)
        assert type(status) is ContactStatus


def test_only_a_waiting_contact_is_claimed_without_an_expired_lease() -> None:
    assert {ContactStatus.PENDING, ContactStatus.ENRICHMENT_OK} == CLAIMABLE
    takeovers = [line for line in CONTACT_TRANSITIONS if line.expired_lease]
    assert [(line.source, line.action) for line in takeovers] == [
        (ContactStatus.GENERATING, ContactAction.CLAIM)
    ]


def test_the_gaps_decide_the_resting_status() -> None:
    assert resting_status(None) is ContactStatus.PENDING
    assert resting_status(()) is ContactStatus.ENRICHMENT_OK
    assert resting_status(("email_address",)) is ContactStatus.ENRICHMENT_NEEDED


@pytest.mark.parametrize(
    "action", [ContactAction.SUCCEED, ContactAction.FAIL, ContactAction.RELEASE]
)
def test_failure_17_a_contact_excluded_in_flight_stays_excluded(action: ContactAction) -> None:
    excluded = apply_contact(ContactStatus.GENERATING, ContactAction.EXCLUDE, ())
    assert excluded is ContactStatus.EXCLUDED
    assert apply_contact(excluded, action, ()) is ContactStatus.EXCLUDED


def test_failure_07_a_retried_contact_can_be_claimed() -> None:
    status = apply_contact(ContactStatus.FAILED, ContactAction.RETRY, ())
    assert status in CLAIMABLE


def test_every_contact_status_is_reachable_from_pending() -> None:
    reached = {ContactStatus.PENDING}
    while new := {
        after
        for line in CONTACT_TRANSITIONS
        for gaps in ALL_GAPS
        if line.source in reached
        and (after := apply_contact(line.source, line.action, gaps)) not in reached
        and after is not None
    }:
        reached |= new
    assert reached == set(ContactStatus)


# --- The JSON that other languages read ---------------------------------------------------------


def test_the_tables_can_be_rebuilt_from_their_json() -> None:
    data = to_dict()
    assert data == json.loads(json.dumps(data))
    assert {type(status) for status in data["statuses"]} == {str}
    by_name = guards_by_name()
    lines = [
        Transition(**line | {"guards": tuple(by_name[name] for name in line["guards"])})
        for line in data["transitions"]
    ]
    assert tuple(lines) == TRANSITIONS
    assert (
        tuple(ContactTransition(**line) for line in data["contact_transitions"])
        == CONTACT_TRANSITIONS
    )
    assert data["guards"] == {name: guard.meaning for name, guard in by_name.items()}
    assert data["permissions"] == {
        permission: [status for status in Status if status in PERMISSIONS[permission]]
        for permission in Permission
    }
    assert data["claimable"] == [status for status in ContactStatus if status in CLAIMABLE]
    assert data["resting_status"] == {
        "gaps_unknown": resting_status(None),
        "no_gaps": resting_status(()),
        "some_gaps": resting_status(("phone",)),
    }
    for name, members in {
        "statuses": Status,
        "actions": Action,
        "contact_statuses": ContactStatus,
        "contact_actions": ContactAction,
    }.items():
        assert data[name] == list(members)


def test_another_table_has_another_id(monkeypatch: pytest.MonkeyPatch) -> None:
    original = to_dict()
    assert re.fullmatch(r"urn:campaign-model:lifecycle:1:[0-9a-f]{16}", original["id"])
    to_dict()["claimable"].clear()
    assert to_dict() == original
    monkeypatch.setattr(lifecycle, "TRANSITIONS", TRANSITIONS[1:])
    assert to_dict()["id"] != original["id"]


# --- A campaign of two contacts, searched breadth-first -----------------------------------------


class Contact(NamedTuple):
    """One contact of the model. ``status=None``: it is not in the campaign."""

    status: ContactStatus | None = None
    lease: Literal["none", "live", "expired"] = "none"
    gaps: tuple[str, ...] | None = None


class State(NamedTuple):
    """The campaign of the model. ``steps``: at least one step is enabled."""

    status: Status = Status.DRAFT
    contacts: tuple[Contact, Contact] = (Contact(), Contact())
    steps: bool = False
    tally: ReviewTally | None = None


class Edge(NamedTuple):
    """One change of the model. ``sure``: it can happen without any worker."""

    label: str
    after: State
    sure: bool


UNDECIDED, APPROVED, REJECTED = ReviewTally(0, 0, 1), ReviewTally(1, 0, 0), ReviewTally(0, 1, 0)
NO_MESSAGES = ReviewTally(0, 0, 0)


def facts_of(state: State, **more: bool) -> Facts:
    present = [contact for contact in state.contacts if contact.status not in (None, "excluded")]
    working = [contact for contact in present if contact.status is ContactStatus.GENERATING]
    return Facts(
        enabled_steps=int(state.steps),
        contacts=len(present),
        claimable=sum(contact.status in CLAIMABLE for contact in present)
        + sum(contact.lease == "expired" for contact in working),
        in_flight=sum(contact.lease == "live" for contact in working),
        generated=sum(contact.status is ContactStatus.GENERATED for contact in present),
        review=state.tally,
        **more,
    )


def is_permitted(permission: Permission, status: Status) -> bool:
    try:
        check_permission(permission, status)
    except TransitionNotAllowed:
        return False
    return True


@cache
def contact_moves(contact: Contact, status: Status) -> list[tuple[str, Contact, bool]]:
    """Every change of one contact that is legal while the campaign is in ``status``."""
    moves: list[tuple[str, Contact, bool]] = []

    def move(action: ContactAction, *, sure: bool = False, **changes: Any) -> None:
        changed = contact._replace(**changes)
        assert contact.status is not None
        after = apply_contact(contact.status, action, changed.gaps)
        if after is not None:
            moves.append((action, changed._replace(status=after), sure))

    if contact.status is None:
        if is_permitted(Permission.ASSIGN_CONTACTS, status):
            moves.append(("assign", Contact(ContactStatus.PENDING), True))
        return moves
    if is_permitted(Permission.CLAIM, status) and contact.lease != "live":
        move(ContactAction.CLAIM, lease="live")
    if contact.lease != "none":  # The token decides, not the clock: also after the lease expired.
        move(ContactAction.SUCCEED, lease="none")
        move(ContactAction.FAIL, lease="none")
        move(ContactAction.RELEASE, lease="none")
        move(ContactAction.RELEASE, lease="none", gaps=("email_address",))
    if contact.lease == "live":
        moves.append(("lease expires", contact._replace(lease="expired"), True))
    if is_permitted(Permission.RETRY_FAILED, status):
        move(ContactAction.RETRY, sure=True)
    if is_permitted(Permission.REGENERATE, status):
        move(ContactAction.REGENERATE, sure=True)
    if is_permitted(Permission.EXCLUDE_CONTACTS, status):
        move(ContactAction.EXCLUDE, sure=True)
    if is_permitted(Permission.INCLUDE_CONTACTS, status):
        move(ContactAction.INCLUDE, sure=True, lease="none")
    if is_permitted(Permission.SET_READINESS, status):
        move(ContactAction.MARK_OK, sure=True, gaps=())
        move(ContactAction.MARK_NEEDED, sure=True, gaps=("email_address",))
    return moves


def edges(state: State) -> Iterator[Edge]:
    for action in Action:
        if state.status not in sources(action):
            continue  # An earlier test proves that every other pair is refused.
        for option in (
            {},
            {"allow_empty": True},
            {"allow_partial": True},
            {"budget_exhausted": True},
        ):
            try:
                line = apply(state.status, action, facts_of(state, **option))
            except TransitionNotAllowed:
                continue
            tally = None
            if line.target is Status.REVIEW:
                generated = facts_of(state).generated
                tally = UNDECIDED if generated else NO_MESSAGES
            after = state._replace(status=line.target, tally=tally)
            yield Edge(action, after, sure="budget_exhausted" not in option)
    if is_permitted(Permission.EDIT_STEPS, state.status):
        yield Edge("edit steps", state._replace(steps=not state.steps), sure=True)
    if state.tally not in (None, NO_MESSAGES):
        for tally in (UNDECIDED, APPROVED, REJECTED):
            yield Edge("decide", state._replace(tally=tally), sure=True)
    first, second = state.contacts
    for contact, other in ((first, second), (second, first)):
        for label, moved, sure in contact_moves(contact, state.status):
            # The order of the two makes no difference. Sorting them halves the number of states.
            pair = (moved, other) if hash(moved) < hash(other) else (other, moved)
            yield Edge(label, state._replace(contacts=pair), sure=sure)


@pytest.fixture(scope="module")
def graph() -> dict[State, list[Edge]]:
    """Every state reachable from an empty draft, with the changes that are legal in it."""
    edges_of: dict[State, list[Edge]] = {}
    frontier = [State()]
    while frontier:
        following: list[State] = []
        for state in frontier:
            if state not in edges_of:
                edges_of[state] = list(edges(state))
                following.extend(edge.after for edge in edges_of[state])
        frontier = following
    return edges_of


def states_that_reach(
    graph: dict[State, list[Edge]], end: Status, *, only_sure: bool
) -> set[State]:
    """The states from which some chain of changes leads to the status ``end``."""
    before: dict[State, list[State]] = {}
    for state, following in graph.items():
        for edge in following:
            if edge.sure or not only_sure:
                before.setdefault(edge.after, []).append(state)
    reaching = {state for state in graph if state.status is end}
    frontier = list(reaching)
    while frontier:
        for state in before.get(frontier.pop(), ()):
            if state not in reaching:
                reaching.add(state)
                frontier.append(state)
    return reaching


def test_the_model_exercises_the_whole_lifecycle(graph: dict[State, list[Edge]]) -> None:
    """Without this, the searches below would prove little."""
    labels = {edge.label for following in graph.values() for edge in following}
    assert labels >= {*Action, *ContactAction}
    assert {state.status for state in graph} == set(Status)
    statuses = {contact.status for state in graph for contact in state.contacts}
    assert statuses == {None, *ContactStatus}
    assert len(graph) > 4000


def test_archived_is_reachable_from_every_reachable_state(
    graph: dict[State, list[Edge]],
) -> None:
    """There is no dead end, even if every worker is dead and the budget is spent."""
    assert graph.keys() - states_that_reach(graph, Status.ARCHIVED, only_sure=True) == set()


def test_every_campaign_that_is_not_archived_can_still_be_exported(
    graph: dict[State, list[Edge]],
) -> None:
    """While workers work, every state has a way to exported, not only to archived."""
    stuck = graph.keys() - states_that_reach(graph, Status.EXPORTED, only_sure=False)
    assert {state.status for state in stuck} == {Status.ARCHIVED}


def test_failure_04_a_campaign_whose_workers_died_can_be_completed_or_cancelled(
    graph: dict[State, list[Edge]],
) -> None:
    generating = [state for state in graph if state.status is Status.GENERATING]
    escaping = states_that_reach(graph, Status.READY, only_sure=True)
    assert generating
    assert escaping.issuperset(generating)
    # Another worker can claim the contacts of a dead worker.
    for state in generating:
        for contact in state.contacts:
            if contact.status is ContactStatus.GENERATING and contact.lease == "expired":
                claimed = contact._replace(lease="live")
                assert claimed in [moved for _, moved, _ in contact_moves(contact, state.status)]


def test_failure_02_after_a_cancel_the_next_run_can_start(graph: dict[State, list[Edge]]) -> None:
    """A cancelled run leaves nothing behind that stops the next run."""
    for state, following in graph.items():
        for edge in following:
            if edge.label == Action.CANCEL_GENERATION:
                facts = facts_of(edge.after)
                error = why_not(Status.READY, Action.START_GENERATION, facts)
                assert (error is None) == (facts.claimable + facts.in_flight > 0), state


def test_an_approved_or_exported_campaign_has_no_contact_in_flight(
    graph: dict[State, list[Edge]],
) -> None:
    for state in graph:
        if state.status in (Status.APPROVED, Status.EXPORTED):
            assert facts_of(state).in_flight == 0, state


def test_contacts_are_claimed_only_while_the_campaign_is_generating(
    graph: dict[State, list[Edge]],
) -> None:
    for state, following in graph.items():
        for edge in following:
            if edge.label == ContactAction.CLAIM:
                assert state.status is Status.GENERATING
