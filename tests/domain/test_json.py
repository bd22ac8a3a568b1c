from __future__ import annotations

import json
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
    MAX_MEMBERS,
    Fault,
    JsonObject,
    RepeatedMembers,
    canonical,
    decode,
    fault_in,
    faults_in,
    freeze,
    json_object,
    pointer_to,
    same_member,
    thaw,
)
from campaign_model.errors import InvalidDocument
from campaign_model.testing.strategies import json_objects, json_values
from support.strategies import alike, copies

NAN, INFINITY = float("nan"), float("inf")


def same(one: Any, other: Any) -> bool:
    """Compare as JSON does, independently of the library: 1 equals 1.0, members have no order."""
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
    """Return the same JSON value as another program might write it."""
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
    members: Any = JsonObject({"a": {"b": [1, {"c": 2}]}})
    for change in (
        lambda: members.__setitem__("a", 1),
        lambda: members["a"].__setitem__("b", 1),
        lambda: members["a"]["b"].append(1),
        lambda: members["a"]["b"][1].update(c=3),
        lambda: setattr(members, "_items", {}),
        lambda: setattr(members, "new", 1),
        lambda: delattr(members, "_items"),
    ):
        with pytest.raises((AttributeError, TypeError)):
            change()
    assert members == JsonObject({"a": {"b": [1, {"c": 2}]}})
    assert not hasattr(members, "__dict__")


def test_a_json_object_does_not_change_with_the_dict_it_was_made_from() -> None:
    inner: dict[str, Any] = {"list": [1]}
    outer = {"inner": inner}
    frozen = JsonObject(outer)
    hash_before = hash(frozen)
    inner["list"].append(2)
    outer["other"] = {}
    assert frozen == JsonObject({"inner": {"list": [1]}})
    assert hash(frozen) == hash_before == hash(JsonObject({"inner": {"list": [1]}}))
    thawed = thaw(frozen)
    thawed["inner"]["list"].append(3)
    assert frozen == JsonObject({"inner": {"list": [1]}})


@given(json_objects().map(thaw))
def test_copies_of_a_json_object_are_equal(members: dict[str, Any]) -> None:
    frozen = JsonObject(members)
    for copied in copies(frozen):
        assert copied == frozen
        assert hash(copied) == hash(frozen)
        assert repr(copied) == repr(frozen)
    assert JsonObject(frozen) == frozen
    assert dict(frozen).keys() == members.keys()
    assert list(frozen) == list(members)
    assert len(frozen) == len(members)
    assert ("no such member" in frozen) is False
    with pytest.raises(KeyError):
        frozen["no such member"]


@given(alike, alike)
@example(True, 1)
@example([True], [1])
@example(0, False)
@example({"a": 1}, {"a": 1.0})
@example([], {})
@example([["a", 1]], {"a": 1})
@example(None, False)
@example(2**53 + 1, float(2**53))
def test_equality_hash_and_canonical_text_follow_json(one: Any, other: Any) -> None:
    this, that = JsonObject({"value": one}), JsonObject({"value": other})
    assert (this == that) == (that == this) == same(one, other)
    assert (this != that) == (not same(one, other))
    assert (canonical(one) == canonical(other)) == same(one, other)
    if same(one, other):
        assert hash(this) == hash(that)
        assert len({this, that}) == 1


@given(json_values())
def test_another_spelling_of_a_value_is_equal(value: Any) -> None:
    other = respelled(value)
    assert JsonObject({"value": value}) == JsonObject({"value": other})
    assert hash(JsonObject({"value": value})) == hash(JsonObject({"value": other}))
    assert canonical(value) == canonical(other) == canonical(freeze(value))


@given(json_values())
def test_canonical_text_reads_back_as_the_same_value(value: Any) -> None:
    text = canonical(value)
    assert same(json.loads(text), value)
    assert canonical(json.loads(text)) == text


def test_canonical_text_never_changes_between_releases() -> None:
    """Databases store fingerprints, which are digests of this text."""
    value = {"b": [1.0, -0.0, 1.5, 1e22, True, None], "a": 'Ü\u2028"\n', "B": {}}
    assert canonical(value) == (
        '{"B":{},"a":"Ü\u2028\\"\\n","b":[1,0,1.5,10000000000000000000000,true,null]}'
    )


def test_a_json_object_is_not_equal_to_a_dict() -> None:
    """In a dict, True equals 1, so equality with a dict would not be transitive."""
    assert JsonObject({"a": 1}) != {"a": 1}
    assert JsonObject() == EMPTY
    assert JsonObject(None) == EMPTY
    assert not EMPTY


@given(json_values())
def test_freezing_and_thawing_changes_nothing(value: Any) -> None:
    frozen = freeze(value)
    hash(frozen)
    assert repr(thaw(frozen)) == repr(value)
    assert freeze(frozen) == frozen
    assert freeze(thaw(frozen)) == frozen


def test_values_that_json_does_not_have_are_not_frozen() -> None:
    wrong: list[Any] = [{1, 2}, b"bytes", object(), 1j, [object()], {"a": {1: 2}}, {None: 1}]
    for value in wrong:
        with pytest.raises(TypeError):
            freeze(value)
    for number in (NAN, INFINITY, -INFINITY):
        with pytest.raises(InvalidDocument, match="which JSON does not have"):
            freeze([{"a": number}])
    not_mappings: list[Any] = [[], [("a", 1)], "", 0, 5, "text"]
    for value in not_mappings:
        with pytest.raises(TypeError, match="not a mapping"):
            JsonObject(value)


def test_subclasses_of_str_int_and_float_are_frozen_as_plain_values() -> None:
    """The member of an enumeration would be pickled with its module, and shown in every repr."""

    class Word(StrEnum):
        RED = "red"

    class Number(IntEnum):
        TWO = 2

    class Half(float):
        pass

    frozen = freeze({"a": [Word.RED, Number.TWO, Half(0.5), True]})
    assert [type(member) for member in frozen["a"]] == [str, int, float, bool]
    assert frozen == JsonObject({"a": ["red", 2, 0.5, True]})


def test_json_object_returns_unchanged_what_it_cannot_freeze() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    not_objects: list[Any] = [None, 5, [], "", {"a": object()}, {1: 2}, {"a": NAN}, {"a": deep}]
    for value in not_objects:
        assert json_object(value) is value
    assert json_object({}) == json_object(EMPTY) == json_object(MappingProxyType({})) == EMPTY
    assert type(json_object({"a": [1]})) is JsonObject


@given(alike, alike)
def test_same_member_compares_one_member(one: Any, other: Any) -> None:
    assert same_member(JsonObject({"a": one}), "a", other) == same(one, other)
    assert not same_member(JsonObject({"b": one}), "a", other)
    assert not same_member(JsonObject({"a": one}), "a", object())


def test_the_repr_of_a_json_object_is_a_call() -> None:
    assert repr(JsonObject({"a": [1, {"b": None}]})) == "JsonObject({'a': [1, {'b': None}]})"


# --- Faults -------------------------------------------------------------------------------------


def pointers(faults: list[Fault]) -> list[tuple[str, str]]:
    """Return the JSON Pointer and code of each fault, sorted."""
    return sorted((pointer_to(tokens), code) for tokens, code, _ in faults)


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
def test_every_fault_of_a_value_is_listed(value: Any, faults: list[tuple[str, str]]) -> None:
    found = list(faults_in(value))
    assert pointers(found) == faults
    assert fault_in(value) == (found[0] if found else None)
    for _, _, message in found:
        assert message.split()[0] in ("contains", "has", "is")
        message.encode()


def test_a_value_that_contains_itself_is_too_deep() -> None:
    loop: list[Any] = []
    loop.append(loop)
    fault = fault_in(loop)
    assert fault is not None
    assert fault[0] == (0,) * (MAX_DEPTH + 1)
    assert fault[1] == "too_deep"


def test_depth_counts_from_the_root_of_the_document() -> None:
    value = json.loads(nested(10))
    assert fault_in(value, MAX_DEPTH - 9) is None
    assert fault_in(value, MAX_DEPTH - 8) is not None


@given(json_values())
def test_a_json_value_has_no_faults(value: Any) -> None:
    assert [*faults_in(value), *faults_in(freeze(value))] == []


@given(st.lists(st.text(max_size=4) | st.integers(0, 12), max_size=4))
def test_a_pointer_leads_to_the_place_of_its_tokens(tokens: list[str | int]) -> None:
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
    """An object as its text spells it, with repeated members."""


def repeated_names(value: Any) -> Iterator[str]:
    """Yield every repeated name in a text that was read with ``Pairs``."""
    if isinstance(value, Pairs):
        names = [name for name, _ in value]
        yield from {name for name in names if names.count(name) > 1}
        for _, member in value:
            yield from repeated_names(member)
    elif isinstance(value, list):
        for member in value:
            yield from repeated_names(member)


def read(text: str) -> tuple[Any, list[Fault]]:
    """Decode a text as the library does, and list everything that is wrong with it."""
    value, faults = decode(text)
    return value, faults or list(faults_in(value))


@given(json_values(), st.booleans(), st.sampled_from([None, 0, 2]))
def test_text_that_json_dumps_writes_is_read_exactly(
    value: Any,
    ensure_ascii: bool,  # noqa: FBT001 - drawn, not called
    indent: int | None,
) -> None:
    assume(fault_in(value) is None)
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)
    decoded, faults = read(text)
    assert repr(decoded) == repr(json.loads(text)) == repr(value)
    assert faults == []


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
def test_a_text_is_read_without_faults_exactly_if_python_reads_it_and_it_has_none(
    text: str,
) -> None:
    value, faults = read(text)
    try:
        # Python itself converts no integer of more than 4300 digits.
        expected = json.loads(text, parse_int=lambda digits: int(digits[:1000]))
        pairs = json.loads(text, object_pairs_hook=Pairs, parse_int=float)
    except json.JSONDecodeError:
        ((tokens, code, message),) = faults
        assert (value, tokens, code) == (None, (), "not_json")
        assert "line" in message
        return
    if fault_in(expected) is None and not list(repeated_names(pairs)):
        assert repr(value) == repr(expected)
        assert faults == []
    else:
        assert faults
        assert {code for _, code, _ in faults} <= {
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
        '{"a": 1, "a": ' + "9" * 4400 + "}": [
            ("/a", "duplicate_member"),
            ("/a", "number_too_large"),
        ],
        "[" + "9" * 4400 + ",]": [("", "not_json")],
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
def test_every_fault_of_a_text_is_found(text: str, faults: list[tuple[str, str]]) -> None:
    assert pointers(read(text)[1]) == faults


def test_a_text_that_is_not_json_is_refused_with_its_line_and_column() -> None:
    assert decode('{"a": 1,\n "b": }') == (
        None,
        [((), "not_json", "this is not JSON: Expecting value (line 2, column 7)")],
    )
    assert decode(" \n")[1][0][2].startswith("this is not JSON: there is nothing in it")


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
def test_a_text_without_faults_is_read(text: str, value: Any) -> None:
    decoded, faults = read(text)
    assert (repr(decoded), faults) == (repr(value), [])


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
def test_nesting_is_too_deep_beyond_64_levels(opening: str, closing: str, core: str) -> None:
    containers = opening.count("[") + opening.count("{")
    for levels in range(MAX_DEPTH // 2 - 2, MAX_DEPTH + 4):
        value, faults = read(nested(levels, opening=opening, closing=closing, core=core))
        deepest_level = levels * containers - (core == "")
        assert [code for _, code, _ in faults] == ["too_deep"] * (deepest_level > MAX_DEPTH)
        assert value is not None


@pytest.mark.parametrize("levels", [200, 900, 1100, 5000, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["arrays", "objects"]
)
def test_a_very_deep_text_is_refused_and_raises_no_recursion_error(
    levels: int, opening: str, closing: str
) -> None:
    ((_, code, message),) = read(nested(levels, opening=opening, closing=closing, core="1"))[1]
    assert code == "too_deep"
    assert "64 levels" in message


def test_a_wide_document_is_not_too_deep() -> None:
    text = json.dumps([[], {}] * 200 + ["[[[[{{{{" * 50])
    assert read(text) == (json.loads(text), [])


def test_a_repeated_name_among_many_is_found_in_linear_time() -> None:
    names = [f'"{number}": 0' for number in range(MAX_MEMBERS)]
    (fault,) = read("{" + ", ".join([*names, '"9999": 1']) + "}")[1]
    assert fault[:2] == (("9999",), "duplicate_member")


def test_an_object_with_repeated_members_is_marked_and_cannot_be_frozen() -> None:
    value, _ = decode('[{"a": 1, "b": 0, "a": 2}]')
    assert value == [{"a": 2, "b": 0}]
    assert type(value[0]) is RepeatedMembers
    assert value[0].repeated == ("a",)
    for frozen in (JsonObject, freeze):
        with pytest.raises(InvalidDocument, match="has members twice, such as 'a'"):
            frozen(value[0])
    assert json_object(value[0]) is value[0]


@given(fragments)
@example('{"\\ud800": 1, "\\ud800": 2}')
def test_faults_can_be_printed(text: str) -> None:
    for tokens, code, message in read(text)[1]:
        f"{pointer_to(tokens)} {code} {message}".encode()
