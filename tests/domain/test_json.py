from __future__ import annotations

import json
import math
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from campaign_model._json import (
    EMPTY,
    MAX_DEPTH,
    JsonObject,
    canonical,
    fault_in,
    faults_in,
    freeze,
    json_object,
    loads,
    pointer_to,
    quick_loads,
    read,
    same_member,
    thaw,
)
from campaign_model.errors import InvalidDocument, Violation
from campaign_model.testing.strategies import json_objects, json_values
from support.strategies import alike, copies

NAN, INFINITY = float("nan"), float("inf")


def same(one: Any, other: Any) -> bool:
    """JSON's own equality, said a second time: the order of members and 1 or 1.0 don't matter."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return type(one) is type(other) and bool(one == other)


def respelled(value: Any) -> Any:
    """The same JSON value, as another writer might put it."""
    if isinstance(value, dict):
        return {name: respelled(member) for name, member in reversed(value.items())}
    if isinstance(value, list):
        return [respelled(member) for member in value]
    if type(value) is int and abs(value) <= 2**53:
        return float(value)
    if type(value) is float and value.is_integer():
        return int(value)
    return value


def nested(levels: int, *, opening: str = "[", closing: str = "]", core: str = "") -> str:
    return opening * levels + core + closing * levels


# --- JsonObject ---------------------------------------------------------------------------------


def test_a_json_object_cannot_be_changed() -> None:
    found: Any = JsonObject({"a": {"b": [1, {"c": 2}]}})
    for change in (
        lambda: found.__setitem__("a", 1),
        lambda: found["a"].__setitem__("b", 1),
        lambda: found["a"]["b"].append(1),
        lambda: found["a"]["b"][1].update(c=3),
        lambda: setattr(found, "_items", {}),
        lambda: setattr(found, "new", 1),
        lambda: delattr(found, "_items"),
    ):
        with pytest.raises((AttributeError, TypeError)):
            change()
    assert found == JsonObject({"a": {"b": [1, {"c": 2}]}})
    assert not hasattr(found, "__dict__")


def test_a_json_object_shares_nothing_with_the_caller() -> None:
    inner: dict[str, Any] = {"list": [1]}
    outer = {"inner": inner}
    found = JsonObject(outer)
    known = hash(found)
    inner["list"].append(2)
    outer["other"] = {}
    assert found == JsonObject({"inner": {"list": [1]}})
    assert hash(found) == known == hash(JsonObject({"inner": {"list": [1]}}))
    thawed = thaw(found)
    thawed["inner"]["list"].append(3)
    assert found == JsonObject({"inner": {"list": [1]}})


@given(json_objects().map(thaw))
def test_a_json_object_is_a_value(members: dict[str, Any]) -> None:
    found = JsonObject(members)
    for copied in copies(found):
        assert copied == found
        assert hash(copied) == hash(found)
        assert repr(copied) == repr(found)
    assert JsonObject(found) == found
    assert dict(found).keys() == members.keys()
    assert list(found) == list(members)
    assert len(found) == len(members)
    assert ("no such member" in found) is False
    with pytest.raises(KeyError):
        found["no such member"]


@given(alike, alike)
@example(True, 1)
@example([True], [1])
@example(0, False)
@example({"a": 1}, {"a": 1.0})
@example([], {})
@example([["a", 1]], {"a": 1})
@example(None, False)
@example(2**53 + 1, float(2**53))
def test_equality_hash_and_canonical_text_are_those_of_json(one: Any, other: Any) -> None:
    this, that = JsonObject({"value": one}), JsonObject({"value": other})
    assert (this == that) == (that == this) == same(one, other)
    assert (this != that) == (not same(one, other))
    assert (canonical(one) == canonical(other)) == same(one, other)
    if same(one, other):
        assert hash(this) == hash(that)
        assert len({this, that}) == 1


@given(json_values())
def test_another_spelling_is_the_same_value(value: Any) -> None:
    other = respelled(value)
    assert JsonObject({"value": value}) == JsonObject({"value": other})
    assert hash(JsonObject({"value": value})) == hash(JsonObject({"value": other}))
    assert canonical(value) == canonical(other) == canonical(freeze(value))


@given(json_values())
def test_canonical_text_reads_back_as_the_same_value(value: Any) -> None:
    text = canonical(value)
    assert same(json.loads(text), value)
    assert canonical(json.loads(text)) == text


def test_canonical_text_is_pinned() -> None:
    """Fingerprints are stored: the text must never change."""
    value = {"b": [1.0, -0.0, 1.5, 1e22, True, None], "a": 'Ü\u2028"\n', "B": {}}
    assert canonical(value) == (
        '{"B":{},"a":"Ü\u2028\\"\\n","b":[1,0,1.5,10000000000000000000000,true,null]}'
    )


def test_a_json_object_equals_no_dict() -> None:
    """A dict holds True and 1 for the same, so equality with one could not be transitive."""
    assert JsonObject({"a": 1}) != {"a": 1}
    assert JsonObject() == EMPTY
    assert JsonObject(None) == EMPTY
    assert not EMPTY


@given(json_values())
def test_freezing_and_thawing_is_no_change(value: Any) -> None:
    frozen = freeze(value)
    hash(frozen)
    assert repr(thaw(frozen)) == repr(value)
    assert freeze(frozen) == frozen
    assert freeze(thaw(frozen)) == frozen


def test_what_is_not_json_is_not_frozen() -> None:
    wrong: list[Any] = [{1, 2}, b"bytes", object(), 1j, [object()], {"a": {1: 2}}, {None: 1}]
    for value in wrong:
        with pytest.raises(TypeError):
            freeze(value)
    for number in (NAN, INFINITY, -INFINITY):
        with pytest.raises(ValueError, match="JSON has no number"):
            freeze([{"a": number}])
    no_mappings: list[Any] = [[], [("a", 1)], "", 0, 5, "text"]
    for value in no_mappings:
        with pytest.raises(TypeError, match="from a mapping"):
            JsonObject(value)


def test_subclasses_are_frozen_as_the_plain_values_they_stand_for() -> None:
    """An enumeration's member would pickle by its module, and tell in every repr."""

    class Word(StrEnum):
        RED = "red"

    class Number(IntEnum):
        TWO = 2

    class Half(float):
        pass

    frozen = freeze({"a": [Word.RED, Number.TWO, Half(0.5), True]})
    assert [type(member) for member in frozen["a"]] == [str, int, float, bool]
    assert frozen == JsonObject({"a": ["red", 2, 0.5, True]})


def test_json_object_leaves_what_it_cannot_freeze_for_a_check_to_refuse() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    no_objects: list[Any] = [None, 5, [], "", {"a": object()}, {1: 2}, {"a": NAN}, {"a": deep}]
    for value in no_objects:
        assert json_object(value) is value
    assert json_object({}) == json_object(EMPTY) == json_object(MappingProxyType({})) == EMPTY
    assert type(json_object({"a": [1]})) is JsonObject


def test_merged_lays_changes_over() -> None:
    old = JsonObject({"a": 1, "b": {"c": 1}})
    new = old.merged({"b": {"d": [2]}, "e": None})
    assert new == JsonObject({"a": 1, "b": {"d": [2]}, "e": None})
    assert list(new) == ["a", "b", "e"]
    assert old == JsonObject({"a": 1, "b": {"c": 1}})


@given(alike, alike)
def test_same_member_is_equality_of_one_member(one: Any, other: Any) -> None:
    assert same_member(JsonObject({"a": one}), "a", other) == same(one, other)
    assert not same_member(JsonObject({"b": one}), "a", other)
    assert not same_member(JsonObject({"a": one}), "a", object())


def test_repr_reads_like_the_call_that_made_it() -> None:
    assert repr(JsonObject({"a": [1, {"b": None}]})) == "JsonObject({'a': [1, {'b': None}]})"


# --- Faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        pytest.param({"a": [1, 1.5, "x", None, True, {}, []]}, [], id="json"),
        pytest.param((1, JsonObject({"a": ()})), [], id="frozen-json"),
        pytest.param("\0", [("", "invalid_text")], id="nul"),
        pytest.param(["", "a\0b"], [("/1", "invalid_text")], id="nul-inside"),
        pytest.param({"a": "\ud800"}, [("/a", "invalid_text")], id="half-a-pair"),
        pytest.param({"a": "😀"}, [], id="whole-pair"),
        pytest.param({"a": {"\0": 1}}, [("/a", "invalid_text")], id="nul-in-a-name"),
        pytest.param({"a": [{"\udfff": 1}]}, [("/a/0", "invalid_text")], id="half-in-a-name"),
        pytest.param({"a/b": {"m~n": "\0"}}, [("/a~1b/m~0n", "invalid_text")], id="escaped-names"),
        pytest.param({"": {"~1": "\0"}}, [("//~01", "invalid_text")], id="odd-names"),
        pytest.param({"a": {1: 2}}, [("/a", "not_json")], id="name-no-text"),
        pytest.param([NAN], [("/0", "not_json")], id="nan"),
        pytest.param([1, INFINITY], [("/1", "not_json")], id="infinity"),
        pytest.param([-INFINITY], [("/0", "not_json")], id="minus-infinity"),
        pytest.param(b"x", [("", "not_json")], id="bytes"),
        pytest.param({"a": {1, 2}}, [("/a", "not_json")], id="set"),
        pytest.param([object()], [("/0", "not_json")], id="object"),
        pytest.param(2**53, [], id="largest-in-a-row"),
        pytest.param(-(2**53), [], id="smallest-in-a-row"),
        pytest.param(2**53 + 1, [("", "number_too_precise")], id="first-between-two-doubles"),
        pytest.param(-(2**53) - 1, [("", "number_too_precise")], id="last-between-two-doubles"),
        pytest.param(2**53 + 2, [], id="large-but-a-double"),
        pytest.param(2**1023, [], id="huge-but-a-double"),
        pytest.param(2**1024, [("", "number_too_large")], id="beyond-every-double"),
        pytest.param(10**5000, [("", "number_too_large")], id="unprintable"),
        pytest.param(
            {"a": ["\0", NAN], "b": {"c": 2**53 + 1}, "d": object(), "e": "fine"},
            [
                ("/a/0", "invalid_text"),
                ("/a/1", "not_json"),
                ("/b/c", "number_too_precise"),
                ("/d", "not_json"),
            ],
            id="every-one-of-several",
        ),
    ],
)
def test_faults_of_a_value(value: Any, faults: list[tuple[str, str]]) -> None:
    found = list(faults_in(value))
    assert sorted((pointer, code) for pointer, code, _ in found) == faults
    assert fault_in(value) in found if found else fault_in(value) is None
    for _, _, message in found:
        assert message.split()[0] in ("contains", "has", "is")
        message.encode()


def test_a_value_that_contains_itself_is_too_deep() -> None:
    loop: list[Any] = []
    loop.append(loop)
    fault = fault_in(loop)
    assert fault is not None
    assert fault[0] == "/0" * (MAX_DEPTH + 1)
    assert fault[1] == "too_deep"


def test_depth_counts_from_where_the_value_stands() -> None:
    value = json.loads(nested(10))
    assert fault_in(value, MAX_DEPTH - 9) is None
    assert fault_in(value, MAX_DEPTH - 8) is not None
    assert read(nested(10), MAX_DEPTH - 9) == (value, [])
    assert [code for _, code, _ in read(nested(10), MAX_DEPTH - 8)[1]] == ["too_deep"]


@given(json_values())
def test_json_has_no_faults(value: Any) -> None:
    assert list(faults_in(value)) == list(faults_in(freeze(value))) == []


@given(st.lists(st.text(max_size=4) | st.integers(0, 12), max_size=4))
def test_a_pointer_leads_to_its_place(tokens: list[str | int]) -> None:
    document: Any = "here"
    for token in reversed(tokens):
        document = {token: document} if isinstance(token, str) else [None] * token + [document]
    pointer = pointer_to(tokens)
    assert pointer.count("/") == len(tokens)
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        document = document[name] if isinstance(document, dict) else document[int(name)]
    assert document == "here"


# --- Reading ------------------------------------------------------------------------------------


class Pairs(list[tuple[str, Any]]):
    """An object as its text has it, members that stand twice and all."""


def doubled(value: Any) -> Iterator[str]:
    """Of a text read with ``Pairs``: every name that stands twice, said a second time."""
    if isinstance(value, Pairs):
        names = [name for name, _ in value]
        yield from {name for name in names if names.count(name) > 1}
        for _, member in value:
            yield from doubled(member)
    elif isinstance(value, list):
        for member in value:
            yield from doubled(member)


def refusal(text: str) -> tuple[Violation, ...]:
    with pytest.raises(InvalidDocument) as caught:
        loads(text, "template_config")
    assert caught.value.document == "template_config"
    for violation in caught.value.violations:
        assert violation.message.startswith(f"template_config{violation.path}: ")
    return caught.value.violations


@given(json_values(), st.booleans(), st.sampled_from([None, 0, 2]))
def test_loads_reads_whatever_json_writes(
    value: Any,
    ensure_ascii: bool,  # noqa: FBT001 - drawn, not called
    indent: int | None,
) -> None:
    assume(fault_in(value) is None)
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)
    assert repr(loads(text)) == repr(json.loads(text)) == repr(value)
    assert repr(quick_loads(text)) == repr(value)
    assert read(text) == (value, [])


# Put together at random, these are often almost JSON, and sometimes JSON with a fault in it.
FRAGMENTS = r"""
[ ] { } : , " [ ] { } : , " "a" "b": 1 -0 0.1 1.5 1e5 1e999 NaN -Infinity null true [[1]] {"a":1}
{"a":1,"a":2} "\u0000" "\ud83d\ude00" "\ud800" 9007199254740993 é \
"""
fragments = st.lists(st.sampled_from([*FRAGMENTS.split(), " ", "\n"]), max_size=12).map("".join)


@given(fragments | st.text(max_size=10))
@example('{"a":{"b":1,"b":1}}')
@example('[{"\\u0061":1,"a":2}]')
@example('{"a":1}garbage')
@example("\ufeff[]")
@example("9" * 5000)
@example("-" + "9" * 400)
@example("1" + "0" * 400)
@example("01")
@example("1E400")
def test_loads_accepts_exactly_the_faultless_and_agrees_with_json(text: str) -> None:
    try:
        # Python itself reads no integer of more than 4300 digits.
        known = json.loads(text, parse_int=lambda digits: int(digits[:1000]))
        pairs = json.loads(text, object_pairs_hook=Pairs, parse_int=float)
    except json.JSONDecodeError:
        (violation,) = refusal(text)
        assert (violation.path, violation.code) == ("", "not_json")
        assert "line" in violation.message
        return
    if fault_in(known) is None and not list(doubled(pairs)):
        assert repr(loads(text)) == repr(known)
    else:
        for violation in refusal(text):
            assert violation.code in {
                "duplicate_member",
                "invalid_text",
                "not_json",
                "number_too_large",
                "number_too_precise",
            }


@pytest.mark.parametrize(
    ("text", "faults"),
    {
        '{"a": 1, "a": 1}': [("/a", "duplicate_member")],
        '{"b": [{"a": 1, "c": 2, "a": {}}]}': [("/b/0/a", "duplicate_member")],
        '{"a": 1, "\\u0061": 2}': [("/a", "duplicate_member")],
        "NaN": [("", "not_json")],
        "[1, -Infinity]": [("/1", "not_json")],
        '{"a": Infinity}': [("/a", "not_json")],
        "9007199254740993": [("", "number_too_precise")],
        "-9007199254740993": [("", "number_too_precise")],
        "[12345678901234567890]": [("/0", "number_too_precise")],
        "1e400": [("", "number_too_large")],
        "[-1e309]": [("/0", "number_too_large")],
        "1" + "0" * 308 + "1": [("", "number_too_large")],
        "9" * 4400: [("", "number_too_large")],
        '"\\u0000"': [("", "invalid_text")],
        '{"a": "\\ud800 alone"}': [("/a", "invalid_text")],
        '{"\\udc00": 1}': [("", "invalid_text")],
        "": [("", "not_json")],
        "{": [("", "not_json")],
        "[1,]": [("", "not_json")],
        "{'a': 1}": [("", "not_json")],
        '{"a": 1} {"b": 2}': [("", "not_json")],
        '"tab\tinside"': [("", "not_json")],
        "\ufeff{}": [("", "not_json")],
        '[{"a": NaN, "b": 1e999, "b": 1}, "\\u0000"]': [
            ("/0/a", "not_json"),
            ("/0/b", "duplicate_member"),
            ("/1", "invalid_text"),
        ],
    }.items(),
    ids=lambda value: ascii(value)[:40] if isinstance(value, str) else "",
)
def test_loads_refuses(text: str, faults: list[tuple[str, str]]) -> None:
    assert sorted((violation.path, violation.code) for violation in refusal(text)) == faults
    with pytest.raises(InvalidDocument):
        loads(text)


def test_a_refusal_says_where_and_what() -> None:
    (violation,) = refusal('{"a": 1,\n "b": }')
    assert violation.message == (
        "template_config: this is not JSON: Expecting value (line 2, column 7)"
    )
    (violation,) = refusal('{"a": [0, 1, 1e999]}')
    assert "template_config/a/2: " in violation.message
    assert "double" in violation.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740992", 2**53),
        ("-9007199254740992", -(2**53)),
        ("1e308", 1e308),
        ("1.0", 1.0),
        ("-0", 0),
        ('"\\ud83d\\ude00"', "😀"),
        ('{"a": 1, "A": 2}', {"a": 1, "A": 2}),
        ('{"a": {"a": {"a": 1}}}', {"a": {"a": {"a": 1}}}),
        (str(2**1023), 2**1023),
        (" [ ] ", []),
        ('"[[[["', "[[[["),
    ],
)
def test_loads_accepts(text: str, value: Any) -> None:
    assert repr(loads(text)) == repr(value)


@pytest.mark.parametrize(
    ("opening", "closing", "core"),
    [
        pytest.param("[", "]", "", id="arrays"),
        pytest.param("[", "]", "1", id="arrays-with-a-number"),
        pytest.param('{"a":', "}", "{}", id="objects"),
        pytest.param('{"a":', "}", "1", id="objects-with-a-number"),
        pytest.param('[{"a":', "}]", "0", id="by-turns"),
    ],
)
def test_loads_and_fault_in_agree_on_what_is_too_deep(
    opening: str, closing: str, core: str
) -> None:
    limits = set()
    for levels in range(MAX_DEPTH // 2 - 2, MAX_DEPTH + 4):
        text = nested(levels, opening=opening, closing=closing, core=core)
        value = json.loads(text)
        fault = fault_in(value)
        if fault is None:
            assert loads(text) == value
        else:
            assert fault[1] == "too_deep"
            (violation,) = refusal(text)
            assert (violation.path, violation.code) == (fault[0], "too_deep")
            limits.add(levels)
    assert MAX_DEPTH + 3 in limits
    assert MAX_DEPTH // 2 - 2 not in limits


@pytest.mark.parametrize("levels", [200, 900, 1100, 5000, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["arrays", "objects"]
)
def test_a_deep_document_is_refused_whatever_the_stack_would_bear(
    levels: int, opening: str, closing: str
) -> None:
    text = nested(levels, opening=opening, closing=closing, core="1")
    (violation,) = refusal(text)
    assert violation.code == "too_deep"
    assert "64 levels" in violation.message


def test_a_wide_document_is_not_a_deep_one() -> None:
    text = json.dumps([[], {}] * 200 + ["[[[[{{{{" * 50])
    assert loads(text) == json.loads(text)


def test_a_doubled_name_among_many_is_found_at_once() -> None:
    names = [f'"{number}": 0' for number in range(50_000)]
    (violation,) = refusal("{" + ", ".join([*names, '"49999": 1']) + "}")
    assert (violation.path, violation.code) == ("/49999", "duplicate_member")


def test_quick_loads_looks_for_what_cannot_be_seen_afterwards() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which it was, read() tells
        quick_loads('{"a": [{"b": 1, "b": 2}]}')
    assert math.isnan(quick_loads("NaN"))  # faults_in tells.


def test_read_gives_the_value_beside_its_faults() -> None:
    value, faults = read('{"a": 1, "a": 2, "b": "\\u0000"}')
    assert value == {"a": 2, "b": "\0"}
    assert type(value) is dict
    assert sorted(code for _, code, _ in faults) == ["duplicate_member", "invalid_text"]
    assert read("nonsense")[0] is None
    assert read(nested(100_000))[0] is None


@given(fragments)
@example('{"\\ud800": 1, "\\ud800": 2}')
def test_a_refusal_can_be_printed_and_sent(text: str) -> None:
    try:
        loads(text)
    except InvalidDocument as error:
        str(error).encode()
        json.dumps(error.to_dict(), ensure_ascii=False).encode()
