from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID, uuid4, uuid5

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from campaign_model._json import canonical, fault_in, pointer_to, thaw
from campaign_model.errors import InvalidArgument, InvalidDocument
from campaign_model.steps import (
    MAX_STEPS,
    MESSAGE_NAMESPACE,
    STEP_FIELDS,
    MessageSlot,
    SequenceDiff,
    Step,
    StepSequence,
    sequence_faults,
)
from campaign_model.testing.edits import Edit, Edits, Insert, Move, Remove, Update, check
from campaign_model.testing.strategies import edits, step_sequences, steps
from campaign_model.vocabulary import STANDARD, Channel, Condition, Vocabulary
from support.strategies import copies

CONTACT = UUID("11111111-2222-3333-4444-555555555555")
UNCHANGED = SequenceDiff(added=(), removed=(), changed=(), moved=())


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


def email(label: str = "Intro", **fields: Any) -> Step:
    return Step("email", label, **fields)


# --- One step -----------------------------------------------------------------------------------

# Values that each field accepts, and values that it refuses. Nothing is coerced.
ACCEPTED: dict[str, list[Any]] = {
    "channel": ["email", "a", "a" * 40, "sms_2"],
    "label": ["x", "x" * 200, " ", "Ünïcödé ✉"],
    "enabled": [True, False],
    "needs_pdf": [True, False],
    "variant_count": [1, 2, 3],
    "key": [None, "s1", "A-b_9", "k" * 40],
    "day_offset": [None, 0, 365],
    "condition": [None, *Condition, "always"],
    "config": [None, {}, {"tone": "casual", "nested": [{"a": 1.5}]}],
    "extra": [{}, {"x_color": "red", "enabled_by": None}],
}
REFUSED: dict[str, list[Any]] = {
    "channel": [
        "", "Email", "e-mail", "2email", "_a", "a" * 41, "email\n", "émail", None, 5, ["email"],
    ],
    "label": ["", "x" * 201, "nul \0", "half \ud800", None, 5, ["x"], deep(2000)],
    "enabled": [None, 0, 1, "true", [], 1.0],
    "needs_pdf": [None, 0, 1, "false", {}],
    "variant_count": [0, 4, -1, True, 1.0, "1", None, 10**5000],
    "key": ["", "k" * 41, "a b", "a/b", "s1\n", "é", 1, True],
    "day_offset": [-1, 366, True, 1.0, "1", []],
    "condition": ["", "sometimes", "ALWAYS", True, 0, [], {}],
    "config": [
        "", [], 0, False, "{}", [["a", 1]], {1: "a"}, {"a": object()}, {"a": {1, 2}},
        {"a": float("nan")}, {"a": float("inf")}, {"a": "\0"}, {"\ud800": 1}, {"a": 2**53 + 1},
        {"a": deep(70)}, {"a": deep(100_000)},
    ],
    "extra": [None, "", [], 5, {"label": "again"}, {"step": 1}, {"a": "\0"}, {"a": float("nan")}],
}  # fmt: skip


def cells(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(name, value, id=f"{name}-{index}")
        for name, values in table.items()
        for index, value in enumerate(values)
    ]


def test_the_tables_above_have_every_field_of_a_step() -> None:
    fields = {field.name for field in attrs.fields(Step)}
    assert fields == ACCEPTED.keys() == REFUSED.keys()
    assert {*STEP_FIELDS, "extra"} == {*fields, "step"}


@pytest.mark.parametrize(("name", "value"), cells(ACCEPTED))
def test_a_step_keeps_an_accepted_value(name: str, value: Any) -> None:
    right: dict[str, Any] = {"channel": "email", "label": "Intro"}
    assert thaw(getattr(Step(**{**right, name: value}), name)) == value


@pytest.mark.parametrize(("name", "value"), cells(REFUSED))
def test_a_step_refuses_a_wrong_value_and_names_the_field(name: str, value: Any) -> None:
    right: dict[str, Any] = {"channel": "email", "label": "Intro"}
    with pytest.raises(InvalidDocument) as caught:
        Step(**{**right, name: value})
    (violation,) = caught.value.violations
    assert caught.value.document == "step"
    assert (violation.path, violation.code) == (f"/{name}", "invalid_value")
    assert violation.message.startswith(f"step.{name}: ")
    assert len(violation.message) < 250
    violation.message.encode()  # Every message can be printed.


@given(st.sets(st.sampled_from(sorted(REFUSED)), min_size=1), st.data())
def test_a_step_reports_every_wrong_field(names: set[str], data: st.DataObject) -> None:
    right: dict[str, Any] = {"channel": "email", "label": "Intro"}
    # Draw indexes: Hypothesis prints what is drawn, and some values are too long for that.
    wrong = {
        name: REFUSED[name][data.draw(st.integers(0, len(REFUSED[name]) - 1), name)]
        for name in sorted(names)
    }
    with pytest.raises(InvalidDocument) as caught:
        Step(**{**right, **wrong})
    assert sorted(violation.path for violation in caught.value.violations) == sorted(
        f"/{name}" for name in names
    )


def test_a_condition_may_be_given_as_text() -> None:
    assert email(condition="no_response").condition is Condition.NO_RESPONSE


@given(steps())
def test_steps_are_equal_by_value_and_immutable(step: Step) -> None:
    for copied in [*copies(step), attrs.evolve(step)]:
        assert copied == step
        assert hash(copied) == hash(step)
    assert not hasattr(step, "__dict__")
    for field in attrs.fields(Step):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(step, field.name, None)


@pytest.mark.parametrize("levels", range(55, 66))
def test_a_step_that_would_be_too_deep_in_a_template_is_refused(levels: int) -> None:
    """So every campaign can be saved as a template, in which its steps are one level deeper."""
    for field in ("config", "extra"):
        value = {"x": deep(levels)}
        step = {"config": value} if field == "config" else value
        fits = fault_in({"steps": [step]}) is None
        change: dict[str, Any] = {field: value}
        if fits:
            assert thaw(getattr(email(**change), field)) == value
        else:
            with pytest.raises(InvalidDocument, match=f"step.{field}"):
                email(**change)


def test_a_step_does_not_change_with_the_dict_of_its_config() -> None:
    tones = ["casual"]
    config = {"tones": tones}
    step = email(config=config)
    config["subject"] = []
    tones.append("formal")
    assert step == email(config={"tones": ["casual"]})


# --- Rules between steps ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "days", "positions", "faults"),
    [
        pytest.param([], [], None, [], id="no-steps"),
        pytest.param([None, None], [0, 0], [1, 2], [], id="right"),
        pytest.param(["b", "a"], [None, None], None, [], id="keys-in-any-order"),
        pytest.param([None, None], [3, 3], None, [], id="same-day"),
        pytest.param(["s2", "s1"], [None, None], None, [], id="implicit-names-spelled-out"),
        pytest.param(
            [None, None, None],
            [None] * 3,
            [1, 3, 2],
            [("/1/step", "wrong_position"), ("/2/step", "wrong_position")],
            id="positions-swapped",
        ),
        pytest.param([None], [None], [0], [("/0/step", "wrong_position")], id="count-from-zero"),
        pytest.param(
            [None, None],
            [None] * 2,
            [1, 1],
            [("/1/step", "wrong_position")],
            id="position-twice",
        ),
        pytest.param(
            ["a", "a", "a"],
            [None] * 3,
            None,
            [("/1/key", "duplicate_key"), ("/2/key", "duplicate_key")],
            id="key-thrice",
        ),
        pytest.param(
            ["s2", None],
            [None] * 2,
            None,
            [("/1/key", "duplicate_key")],
            id="key-taken-by-the-implicit-one",
        ),
        pytest.param(
            [None] * 4,
            [5, None, 3, 4],
            None,
            [
                ("/2/day_offset", "decreasing_day_offset"),
                ("/3/day_offset", "decreasing_day_offset"),
            ],
            id="days-decrease-across-a-gap",
        ),
        pytest.param(
            ["a", "a"],
            [2, 1],
            [2, 1],
            [
                ("/0/step", "wrong_position"),
                ("/1/step", "wrong_position"),
                ("/1/key", "duplicate_key"),
                ("/1/day_offset", "decreasing_day_offset"),
            ],
            id="all-at-once",
        ),
    ],
)
def test_every_broken_rule_between_steps_is_listed(
    keys: list[str | None],
    days: list[int | None],
    positions: list[int] | None,
    faults: list[tuple[str, str]],
) -> None:
    found = sequence_faults(keys, days, positions)
    assert [(pointer_to(tokens), code) for tokens, code, _ in found] == faults


def test_a_fault_between_steps_says_what_to_do() -> None:
    ((_, _, message),) = sequence_faults([None, None], [None, None], [1, 3])
    assert message == "3 must be 2; steps count from 1 in order"
    ((_, _, message),) = sequence_faults(["intro", "intro"], [None, None])
    assert message == "'intro' is already the key of steps[0]; use another key"
    ((_, _, message),) = sequence_faults([None, None], [7, 3])
    assert message == "day 3 is before day 7 of an earlier step; use a later day"


def test_a_sequence_that_breaks_the_rules_is_refused() -> None:
    with pytest.raises(InvalidDocument) as caught:
        StepSequence([email(key="a", day_offset=2), email(key="a", day_offset=1)])
    assert caught.value.document == "template_config"
    assert [
        (fault.path, fault.code, fault.message.split()[0]) for fault in caught.value.violations
    ] == [
        ("/1/key", "duplicate_key", "steps[1].key:"),
        ("/1/day_offset", "decreasing_day_offset", "steps[1].day_offset:"),
    ]


def test_a_sequence_has_at_most_twenty_steps() -> None:
    full = StepSequence(email() for _ in range(MAX_STEPS))
    assert len(full) == MAX_STEPS == 20
    makers: list[Callable[[], StepSequence]] = [
        lambda: StepSequence([*full, email()]),
        lambda: full.insert(1, email()),
    ]
    for too_many in makers:
        with pytest.raises(InvalidDocument) as caught:
            too_many()
        (violation,) = caught.value.violations
        assert (violation.path, violation.code) == ("", "too_many_items")
        assert "21 steps" in violation.message


# --- A sequence is a value ----------------------------------------------------------------------


@given(step_sequences())
def test_sequences_are_equal_by_value_and_immutable(sequence: StepSequence) -> None:
    before = StepSequence(sequence.steps)
    known = sequence.fingerprint, sequence.keys, sequence.slots()
    for copied in [*copies(before), *copies(sequence)]:  # Without and with cached properties.
        assert copied == sequence
        assert hash(copied) == hash(sequence)
        assert (copied.fingerprint, copied.keys, copied.slots()) == known
    for name in ("steps", "fingerprint", "keys"):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(sequence, name, ())
    assert not hasattr(sequence, "__dict__")


@given(step_sequences())
def test_a_sequence_behaves_like_the_tuple_of_its_steps(sequence: StepSequence) -> None:
    steps = sequence.steps
    assert type(steps) is tuple
    assert (list(sequence), len(sequence)) == (list(steps), len(steps))
    assert [sequence[index] for index in range(-len(steps), len(steps))] == [*steps, *steps]
    assert sequence[1:] == steps[1:]
    assert list(reversed(sequence)) == list(reversed(steps))
    assert all(step in sequence for step in steps)
    with pytest.raises(IndexError):
        sequence[len(steps)]


@given(step_sequences())
def test_steps_are_found_by_their_effective_keys(sequence: StepSequence) -> None:
    for index, (key, step) in enumerate(zip(sequence.keys, sequence, strict=True)):
        assert sequence.by_key(key) is step
        assert key == (step.key or f"s{index + 1}")
    assert sequence.enabled == tuple(step for step in sequence if step.enabled)


@given(step_sequences())
def test_an_unknown_key_is_refused(sequence: StepSequence) -> None:
    assume("nobody" not in sequence.keys)
    for edit in (
        lambda: sequence.by_key("nobody"),
        lambda: sequence.update("nobody", label="x"),
        lambda: sequence.remove("nobody"),
        lambda: sequence.insert(1, email()).move("nobody", 1),
    ):
        with pytest.raises(InvalidArgument, match="no step has the key 'nobody'") as caught:
            edit()
        assert caught.value.argument == "key"
        assert {*caught.value.allowed} >= {*sequence.keys}


# --- Edits: a step keeps its identity ------------------------------------------------------------


def messages(sequence: StepSequence) -> list[frozenset[UUID]]:
    """Return, for every step, the message ids of all its variants as if it were enabled."""
    everything = StepSequence(
        attrs.evolve(step, key=key, enabled=True, variant_count=3) for key, step in _keyed(sequence)
    )
    slots = everything.slots()
    return [
        frozenset(slot.message_id(CONTACT, 0) for slot in slots if slot.step_key == key)
        for key in sequence.keys
    ]


def _keyed(sequence: StepSequence) -> Iterator[tuple[str, Step]]:
    return zip(sequence.keys, sequence, strict=True)


def rearranged(edit: Edit, before: list[Any], new: Any) -> list[Any]:
    """Apply an edit of steps to a list with one entry per step; ``new`` is for a new step."""
    after = [*before]
    match edit:
        case Move(index, position):
            after.insert(position - 1, after.pop(index))
        case Insert(position):
            after.insert(position - 1, new)
        case Remove(index):
            del after[index]
    return after


@given(edits())
def test_an_edit_changes_only_what_it_says(drawn: Edits) -> None:
    for before, edit, after in drawn.stages():
        check(before, edit, after)


@given(edits())
def test_failure_19_no_edit_orphans_the_messages_of_a_step(drawn: Edits) -> None:
    """The messages of a remaining step keep their ids, and no two steps share an id."""
    names: list[Any] = [*range(len(drawn.start))]
    ids_by_name = dict(zip(names, messages(drawn.start), strict=True))
    for number, (_, edit, after) in enumerate(drawn.stages()):
        names = rearranged(edit, names, f"inserted by edit {number}")
        for name, ids in zip(names, messages(after), strict=True):
            assert ids_by_name.setdefault(name, ids) == ids
    assert len(frozenset().union(*ids_by_name.values())) == 3 * len(ids_by_name)


@given(edits())
def test_failure_20_a_disabled_step_stays_disabled_through_every_edit(drawn: Edits) -> None:
    enabled = [step.enabled for step in drawn.start]
    for _, edit, after in drawn.stages():
        enabled = rearranged(edit, enabled, edit.step.enabled if isinstance(edit, Insert) else None)
        if isinstance(edit, Update) and "enabled" in edit.changes:
            enabled[edit.index] = edit.changes["enabled"]
        assert [step.enabled for step in after] == enabled
        assert {slot.step_key for slot in after.slots()} == {
            key for key, is_enabled in zip(after.keys, enabled, strict=True) if is_enabled
        }


@given(step_sequences(min_size=1), st.integers(0, 19), st.integers(0, 19))
def test_moving_a_step_there_and_back_changes_nothing(
    sequence: StepSequence, one: int, other: int
) -> None:
    sequence = sequence.update(sequence.keys[0])
    key = sequence.keys[one % len(sequence)]
    there = sequence.move(key, other % len(sequence) + 1)
    assert there.move(key, one % len(sequence) + 1) == sequence
    assert sequence.move(key, one % len(sequence) + 1) == sequence


@given(step_sequences(), steps(), st.integers(0, 19))
def test_inserting_and_removing_a_step_changes_nothing(
    sequence: StepSequence, new: Step, index: int
) -> None:
    position = index % (len(sequence) + 1) + 1
    longer = sequence.insert(position, new)
    assert longer.remove(longer.keys[position - 1]).keys == sequence.keys
    kept = sequence.insert(position, attrs.evolve(new, key="mine"))
    assert kept.by_key("mine") == attrs.evolve(new, key="mine")


def test_a_new_step_never_gets_the_key_of_another_step() -> None:
    """Not even the key of a removed step: the new step would take over its messages."""
    sequence = StepSequence([email("one"), email("two")])
    keys = set(sequence.keys)
    for _ in range(50):
        sequence = sequence.remove(sequence.keys[-1]).insert(2, email("new"))
        assert sequence.keys[-1] not in keys
        keys.add(sequence.keys[-1])
    with pytest.raises(InvalidDocument, match="already the key"):
        sequence.insert(1, email(key=sequence.keys[0]))


def test_a_key_cannot_be_updated() -> None:
    sequence = StepSequence([email(key="intro")])
    for key in ("other", "intro", None):
        change: dict[str, Any] = {"key": key}
        with pytest.raises(InvalidArgument, match="never changes"):
            sequence.update("intro", **change)


def test_a_wrong_edit_is_refused_and_changes_nothing() -> None:
    sequence = StepSequence([email(day_offset=0), email(day_offset=3)])
    before = StepSequence(sequence.steps)
    with pytest.raises(InvalidDocument, match="variant_count"):
        sequence.update("s1", variant_count=4)
    with pytest.raises(InvalidDocument, match="day 3 is before day 5"):
        sequence.update("s1", day_offset=5)
    with pytest.raises(InvalidDocument, match="is before"):
        sequence.insert(3, email(day_offset=1))
    assert sequence == before


@pytest.mark.parametrize("position", [0, -1, 3])
def test_a_position_outside_the_sequence_is_refused(position: int) -> None:
    sequence = StepSequence([email("one"), email("two")])
    with pytest.raises(InvalidArgument, match="position is a whole number from 1 to 2"):
        sequence.move("s1", position)
    with pytest.raises(InvalidArgument, match="position is a whole number from 1 to 3"):
        sequence.insert(position + (position > 0), email())
    assert len(sequence.insert(3, email())) == 3


# --- Differences --------------------------------------------------------------------------------


@given(step_sequences(), step_sequences())
def test_a_diff_names_added_removed_changed_and_moved_steps(
    one: StepSequence, other: StepSequence
) -> None:
    diff = one.diff(other)
    back = other.diff(one)
    assert diff.added == back.removed == tuple(key for key in other.keys if key not in one.keys)
    assert diff.removed == back.added == tuple(key for key in one.keys if key not in other.keys)
    common = [key for key in other.keys if key in one.keys]
    assert sorted(diff.changed) == sorted(back.changed)
    for key in common:
        same = attrs.evolve(one.by_key(key), key=None) == attrs.evolve(other.by_key(key), key=None)
        assert (key in diff.changed) == (not same)
    before = [key for key in one.keys if key in common]
    assert diff.moved == tuple(new for old, new in zip(before, common, strict=True) if old != new)


@given(step_sequences())
def test_a_diff_of_equal_sequences_is_empty_even_if_keys_are_written_out(
    sequence: StepSequence,
) -> None:
    assert sequence.diff(sequence) == UNCHANGED
    spelled = StepSequence(attrs.evolve(step, key=key) for key, step in _keyed(sequence))
    assert sequence.diff(spelled) == spelled.diff(sequence) == UNCHANGED


def test_a_diff_of_each_edit_names_that_edit() -> None:
    sequence = StepSequence([email("one"), email("two"), email("three")])
    new = attrs.evolve(UNCHANGED, added=("new",))
    assert sequence.diff(sequence.insert(1, email(key="new"))) == new
    gone = attrs.evolve(UNCHANGED, removed=("s2",))
    assert sequence.diff(sequence.remove("s2")) == gone
    assert sequence.diff(sequence.update("s2", label="2")) == attrs.evolve(
        UNCHANGED, changed=("s2",)
    )
    assert sequence.diff(sequence.move("s3", 2)) == attrs.evolve(UNCHANGED, moved=("s3", "s2"))
    assert sequence.diff(sequence.update("s1", enabled=False)).changed == ("s1",)


# --- Fingerprint --------------------------------------------------------------------------------


@given(step_sequences())
def test_the_fingerprint_does_not_change_if_keys_and_defaults_are_written_out(
    sequence: StepSequence,
) -> None:
    """The messages would be the same."""
    spelled = StepSequence(
        attrs.evolve(
            step,
            key=key,
            condition=step.condition or Condition.ALWAYS,
            config=step.config if step.config is not None else {},
        )
        for key, step in _keyed(sequence)
    )
    assert spelled.fingerprint == sequence.fingerprint
    assert len(sequence.fingerprint) == 64


def test_the_fingerprint_takes_1_and_1_0_as_the_same_number() -> None:
    """PostgreSQL and JavaScript do not distinguish them; ``true`` is not a number."""

    def fingerprint(value: Any) -> str:
        return StepSequence([email(config={"a": value, "b": None})]).fingerprint

    assert fingerprint(1) == fingerprint(1.0)
    assert fingerprint(0) == fingerprint(-0.0)
    assert fingerprint(1) != fingerprint(True)
    assert fingerprint(1) != fingerprint("1")
    other_order = StepSequence([email(config={"b": None, "a": 1})])
    assert other_order.fingerprint == fingerprint(1)


@given(step_sequences(min_size=1), st.integers(0, 19), st.data())
def test_the_fingerprint_changes_with_any_field_of_an_enabled_step(
    sequence: StepSequence, index: int, data: st.DataObject
) -> None:
    key = sequence.keys[index % len(sequence)]
    step = sequence.by_key(key)
    choices: dict[str, Any] = {
        "channel": "call_script" if step.channel == "email" else "email",
        "label": "x" if step.label == "y" else "y",
        "enabled": not step.enabled,
        "needs_pdf": not step.needs_pdf,
        "variant_count": step.variant_count % 3 + 1,
        "condition": (
            Condition.ALWAYS if step.condition is Condition.NO_RESPONSE else Condition.NO_RESPONSE
        ),
        "config": {**(step.config or {}), "tone": "never drawn so"},
        "extra": {**step.extra, "x_more": "never drawn so"},
    }
    name = data.draw(st.sampled_from(sorted(choices)), "the field that changes")
    changed = sequence.update(key, **{name: choices[name]})
    if step.enabled or name == "enabled":
        assert changed.fingerprint != sequence.fingerprint
    else:
        assert changed.fingerprint == sequence.fingerprint


def test_the_fingerprint_changes_with_day_offsets_keys_and_order() -> None:
    sequence = StepSequence([email("one"), email("two")])
    digests = {
        sequence.fingerprint,
        sequence.update("s1", day_offset=1).fingerprint,
        sequence.move("s2", 1).fingerprint,
        sequence.remove("s2").fingerprint,
        sequence.insert(3, email("one")).fingerprint,
        StepSequence([email("one", key="a"), email("two")]).fingerprint,
        StepSequence().fingerprint,
    }
    assert len(digests) == 7


@given(step_sequences(), steps())
def test_the_fingerprint_ignores_disabled_steps(sequence: StepSequence, new: Step) -> None:
    off = attrs.evolve(new, enabled=False)
    for position in range(1, len(sequence) + 2):
        assert sequence.insert(position, off).fingerprint == sequence.fingerprint


def test_the_fingerprint_never_changes_between_releases() -> None:
    """Databases store it: a change would make every generated contact stale."""
    sequence = StepSequence(
        [
            email("Intro", variant_count=2, day_offset=0, config={"tone": "casual", "n": 1.0}),
            Step("linkedin_message", "Ünder", needs_pdf=True, condition=Condition.NO_RESPONSE),
            email("Off", enabled=False),
        ]
    )
    assert sequence.fingerprint == (
        "caa677a855f62cfa79a8f65dceb84a52f95ab37cb8b8955c282bc9f379de6c77"
    )
    assert StepSequence().fingerprint == (
        "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
    )


# --- Slots and message ids ----------------------------------------------------------------------


@given(step_sequences())
def test_there_is_a_slot_for_every_variant_of_every_enabled_step_in_order(
    sequence: StepSequence,
) -> None:
    assert sequence.slots() == tuple(
        MessageSlot(step_key=key, position=index + 1, channel=step.channel, variant=variant)
        for index, (key, step) in enumerate(_keyed(sequence))
        if step.enabled
        for variant in ["a", "b", "c"][: step.variant_count]
    )


@given(step_sequences(), st.lists(st.uuids(), min_size=1, max_size=3, unique=True))
@example(StepSequence(), [CONTACT])
def test_no_two_messages_share_an_id(sequence: StepSequence, contacts: list[UUID]) -> None:
    slots, revisions = sequence.slots(), range(3)
    asked = list(itertools.product(slots, contacts, revisions))
    ids = [slot.message_id(contact, revision) for slot, contact, revision in asked]
    assert len(set(ids)) == len(asked)
    assert ids == [slot.message_id(contact, revision) for slot, contact, revision in asked]


def test_a_message_id_is_the_published_uuid5() -> None:
    """Programs in other languages compute the same ids, and stored messages keep them."""
    slot = MessageSlot(step_key="s1", position=1, channel="email", variant="a")
    assert UUID("6b1f6a0e-3c55-4d0b-9a58-0f2b7d1c9e47") == MESSAGE_NAMESPACE
    assert slot.message_id(CONTACT, 0) == UUID("221453e8-6b4b-570e-8bc4-1235f5618f04")
    assert slot.message_id(CONTACT, 0) == uuid5(MESSAGE_NAMESPACE, f"{CONTACT}/s1/a/0")


def test_a_message_id_does_not_depend_on_position_or_channel() -> None:
    """A step that moves or changes its channel keeps its messages."""
    contact = uuid4()
    slot = MessageSlot("s1", 1, "email", "a")
    moved = MessageSlot("s1", 5, "call_script", "a")
    assert slot.message_id(contact, 1) == moved.message_id(contact, 1)


SMS = Channel("sms", requires=("mobile", "phone"))


@pytest.mark.parametrize(
    ("channels", "vocabulary", "fields"),
    [
        ([], STANDARD, ()),
        (["email", "call_script", "email"], STANDARD, ("email_address", "phone")),
        (["linkedin_message", "linkedin_connect"], STANDARD, ("linkedin_url",)),
        (["-email", "call_script"], STANDARD, ("phone",)),
        (["sms", "email"], STANDARD, ("email_address",)),
        (["call_script", "sms"], STANDARD.with_channel(SMS), ("phone", "mobile")),
    ],
)
def test_the_enabled_steps_require_each_field_of_their_channels_once(
    channels: list[str], vocabulary: Vocabulary, fields: tuple[str, ...]
) -> None:
    sequence = StepSequence(
        Step(channel.removeprefix("-"), "Label", enabled=not channel.startswith("-"))
        for channel in channels
    )
    assert sequence.required_fields(vocabulary) == fields
    assert vocabulary is not STANDARD or sequence.required_fields() == fields


def test_slots_and_diffs_are_equal_by_value_and_immutable() -> None:
    for value in (MessageSlot("s1", 1, "email", "a"), SequenceDiff(("a",), (), ("b",), ())):
        for copied in copies(value):
            assert copied == value
            assert hash(copied) == hash(value)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, attrs.fields(type(value))[0].name, "other")


# --- Edited steps without keys ------------------------------------------------------------------


def test_failure_19_a_step_without_a_key_never_takes_over_the_messages_of_a_removed_step() -> None:
    first = StepSequence(email(label) for label in "abc")
    edited = first.remove("s3")
    back = StepSequence((*edited, email("new")))
    assert back.keys == ("s1", "s2", "s3")
    saved = back.succeeding(edited)
    assert saved.keys[:2] == ("s1", "s2")
    assert saved.keys[2] not in ("s1", "s2", "s3")
    assert [step.label for step in saved] == ["a", "b", "new"]


@given(step_sequences(), step_sequences())
def test_succeeding_gives_every_step_a_key_and_no_step_the_key_of_another(
    previous: StepSequence, new: StepSequence
) -> None:
    saved = new.succeeding(previous)
    if new == previous:
        assert saved == previous
        return
    assert all(step.key is not None for step in saved)
    assert [attrs.evolve(step, key=None) for step in saved] == [
        attrs.evolve(step, key=None) for step in new
    ]
    assert len({*saved.keys}) == len(saved)
    for index, step in enumerate(new):
        key = saved.keys[index]
        if step.key is not None:
            assert key == step.key
        elif key in previous.keys:
            same_place = index < len(previous) and previous.keys[index] == key
            same_content = content(previous.by_key(key)) == content(step)
            assert same_content or (same_place and previous[index].channel == step.channel)
        else:
            assert key not in new.keys
            assert content(step) not in {
                content(old)
                for old_key, old in zip(previous.keys, previous, strict=True)
                if old_key not in saved.keys
            }


def content(step: Step) -> str:
    """The fields that a step takes along when it moves: all but its key and its day offset."""
    fields = attrs.asdict(step, recurse=False) | {
        "key": None,
        "day_offset": None,
        "condition": step.condition or Condition.ALWAYS,
        "config": step.config or {},
    }
    return canonical(fields)


# Few different contents, so that several steps often have the same one.
small_steps = st.lists(
    st.builds(
        Step,
        channel=st.sampled_from(["email", "call_script"]),
        label=st.sampled_from(["a", "b", "c"]),
    ),
    min_size=1,
    max_size=6,
)


def put_back(previous: StepSequence, steps: Iterable[Step]) -> StepSequence:
    """Return ``steps`` without keys, as an edit of ``previous``."""
    return StepSequence(attrs.evolve(step, key=None) for step in steps).succeeding(previous)


@given(steps=small_steps, keyed=st.booleans(), data=st.data())
def test_failure_19_unchanged_steps_without_keys_keep_their_keys_through_one_edit(
    steps: list[Step], *, keyed: bool, data: st.DataObject
) -> None:
    previous = StepSequence(
        attrs.evolve(step, key=f"k{index}" if keyed else None) for index, step in enumerate(steps)
    )
    assert put_back(previous, previous).keys == previous.keys
    index = data.draw(st.integers(0, len(steps) - 1))
    before, after = previous.steps[:index], previous.steps[index + 1 :]
    others = [*previous.keys[:index], *previous.keys[index + 1 :]]

    # One step deleted: each other step keeps its key, or has that of a step with its content.
    deleted = put_back(previous, (*before, *after))
    assert [content(previous.by_key(key)) for key in deleted.keys] == [
        content(step) for step in (*before, *after)
    ]
    # One step inserted: all steps keep their keys, and the new one gets another.
    inserted = put_back(previous, (*before, Step("email", "New"), *previous.steps[index:]))
    assert inserted.keys[index] not in previous.keys
    assert (*inserted.keys[:index], *inserted.keys[index + 1 :]) == previous.keys
    # One step edited: all steps keep their keys, the edited one by its place and channel.
    edited = put_back(previous, (*before, attrs.evolve(previous[index], label="Other"), *after))
    assert edited.keys == previous.keys
    # One step replaced by one of another channel: it is new.
    replaced = put_back(previous, (*before, Step("linkedin_message", "Other"), *after))
    assert replaced.keys[index] not in previous.keys
    assert [*replaced.keys[:index], *replaced.keys[index + 1 :]] == others


@given(small_steps, st.data())
def test_failure_19_reordered_steps_without_keys_keep_their_keys(
    steps: list[Step], data: st.DataObject
) -> None:
    """A step that moves takes its key along. Day offsets stay at their positions."""
    previous = StepSequence(
        attrs.evolve(step, day_offset=index) for index, step in enumerate(steps)
    )
    order = data.draw(st.permutations(previous.steps))
    reordered = put_back(
        previous, (attrs.evolve(step, day_offset=index) for index, step in enumerate(order))
    )
    assert {*reordered.keys} == {*previous.keys}
    for key, step in zip(reordered.keys, reordered, strict=True):
        assert content(previous.by_key(key)) == content(step)


def test_steps_with_the_same_content_are_told_apart_by_their_day_offsets() -> None:
    previous = StepSequence(email("Reminder", day_offset=day) for day in (0, 3, 6))
    assert put_back(previous, previous[1:]).keys == ("s2", "s3")
    assert put_back(previous, (previous[0], previous[2])).keys == ("s1", "s3")


def test_a_default_that_is_written_out_is_no_other_content() -> None:
    previous = StepSequence([email("a"), email("b")])
    written_out = [email("b", condition=Condition.ALWAYS, config={}), email("a")]
    assert put_back(previous, written_out).keys == ("s2", "s1")
