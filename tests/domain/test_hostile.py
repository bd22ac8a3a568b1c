"""Hostile documents and values: each is refused soon, with little memory and a short list.

Time is counted in calls of functions and memory in bytes, because seconds differ between machines.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import product
from typing import Any, cast

import pytest

from campaign_model import (
    STANDARD,
    Campaign,
    CampaignTemplate,
    Channel,
    Codec,
    Cursor,
    Failed,
    Generated,
    GenerationConfig,
    InvalidArgument,
    InvalidDocument,
    JsonObject,
    NotReady,
    Step,
    StepSequence,
    Unfinished,
    Violation,
    Vocabulary,
    effective_config,
)
from campaign_model._caches import BoundedCache, clear_caches
from campaign_model._json import MAX_DEPTH, MAX_MEMBERS
from campaign_model.errors import MAX_VIOLATIONS, short_repr
from campaign_model.generation_config import GENERATION_FIELDS
from campaign_model.steps import MAX_STEPS, STEP_FIELDS
from campaign_model.testing.documents import KINDS
from campaign_model.wire import DEFAULT
from support.sample_documents import a_step, a_template

LONGEST_POINTER = 1_000
LONGEST_MESSAGE = 1_500
MEGABYTE = 1_000_000

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Load cattrs and jsonschema and compile the schemas, so that no test counts that."""
    DEFAULT.converter.structure([a_step()], StepSequence)
    for kind in KINDS:
        DEFAULT.violations(None, kind)
        DEFAULT.stored_violations(None, kind)


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions of Python and C ``work`` calls."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def peak_bytes_of(work: Callable[[], object]) -> int:
    """Return the most memory that ``work`` uses at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- Large documents -----------------------------------------------------------------------------


def extra(text: str) -> str:
    """Return the text of a submitted step that has an unknown member with this JSON text."""
    return f'[{json.dumps(a_step())[:-1]}, "x_a": {text}}}]'


def nested(opening: str, levels: int, core: str, closing: str) -> str:
    return opening * levels + core + closing * levels


def many(item: str, size: int) -> str:
    """Return ``item`` as often as it fits into a list of this size."""
    return ", ".join([item] * (size // (len(item) + 2)))


def names(size: int) -> str:
    return ", ".join(f'"member {index}": 1' for index in range(size // 19))


HOSTILE: dict[str, Callable[[int], str]] = {
    "faults below one long name": lambda size: extra(
        f'{{"{"n" * (size // 2)}": [{many("1e999", size // 2)}]}}'
    ),
    "faults below many long names": lambda size: extra(
        nested(f'{{"{"n" * (size // 24)}": ', 10, f"[{many('1e999', size // 2)}]", "}")
    ),
    "unknown fields": lambda size: f"[{{{names(size)}}}]",
    "long unknown fields": lambda size: f'[{{"{"n" * (size // 2)}": 1, "{"m" * (size // 3)}": 1}}]',
    "repeated members": lambda size: "[{" + many('"a": 1', size) + "}]",
    "repeated members in many objects": lambda size: extra(
        "[" + many('{"a": 1, "a": 1}', size) + "]"
    ),
    "too many steps": lambda size: "[" + many('{"a": 1}', size) + "]",
    "too many members": lambda size: f"[{many('0', size)}]",
    "deep arrays": lambda size: "[" * size,
    "deep objects": lambda size: nested('{"a":', size // 6, "1", "}"),
    "one long text": lambda size: f'[{{"channel": "{"c" * size}"}}]',
    "one long escaped text": lambda size: '[{"channel": "' + r"\ud800" * (size // 6) + '"}]',
    "one long number": lambda size: extra("9" * size),
    "texts with NUL": lambda size: extra("[" + many(r'"\u0000"', size) + "]"),
    "no JSON": lambda size: f"[{many('1', size)},]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_twice_the_document_takes_at_most_twice_the_work_and_memory(name: str) -> None:
    small, large = (HOSTILE[name](size) for size in (25_000, 50_000))
    work, twice = (calls_of(partial(DEFAULT.violations, text)) for text in (small, large))
    assert twice <= 2.2 * work + 1_000
    memory, twice = (peak_bytes_of(partial(DEFAULT.violations, text)) for text in (small, large))
    assert twice <= 3 * memory + 300_000  # A set grows in large steps.


@pytest.mark.parametrize("name", HOSTILE)
def test_a_refused_document_takes_little_memory_and_its_violations_are_short(name: str) -> None:
    text = HOSTILE[name](MEGABYTE // 4)
    refusals: list[tuple[Violation, ...]] = []
    assert peak_bytes_of(lambda: refusals.append(DEFAULT.violations(text))) <= 60 * len(text)
    (violations,) = refusals
    assert 0 < len(violations) <= MAX_VIOLATIONS + 1
    for violation in violations:
        assert len(violation.path) <= LONGEST_POINTER
        assert len(violation.message) <= LONGEST_MESSAGE


@every_kind
def test_a_submitted_document_may_have_a_million_bytes_and_no_more(kind: str) -> None:
    def of_size(size: int) -> str:
        member = '"x_a": "%s"'
        document = {
            "template_config": f"[{json.dumps(a_step())[:-1]}, {member}}}]",
            "generation_config": f"{{{member}}}",
            "campaign_template": json.dumps(a_template(generation_config={}))[:-2] + member + "}}",
        }[kind]
        text = document % ("é" * ((size - len(document) + 2) // 2))
        return text + " " * (size - len(text.encode()))

    parse = getattr(DEFAULT, f"parse_{kind}")
    assert len(of_size(MEGABYTE).encode()) == MEGABYTE
    parse(of_size(MEGABYTE))
    with pytest.raises(InvalidDocument) as refused:
        parse(of_size(MEGABYTE + 1))
    (violation,) = refused.value.violations
    assert (violation.path, violation.code) == ("", "too_many_bytes")
    assert "has more than 1,000,000 bytes" in violation.message
    assert DEFAULT.violations(of_size(MEGABYTE + 1), kind) == (violation,)
    # The limit is a parameter, and applies to what callers send, not to what a database contains.
    getattr(Codec(max_bytes=2 * MEGABYTE), f"parse_{kind}")(of_size(MEGABYTE + 1))
    getattr(DEFAULT, f"recover_{kind}")(of_size(MEGABYTE + 1))


def test_of_a_json_value_the_characters_of_texts_and_names_count() -> None:
    codec = Codec(max_bytes=1_000)
    used = sum(map(len, ("x_a", "x_b")))
    for text, code in (("t" * (1_000 - used), None), ("t" * (1_001 - used), "too_many_bytes")):
        for settings in ({"x_a": text, "x_b": 1}, {"x_a": [text], "x_b": 1}):
            violations = codec.violations(settings, "generation_config")
            assert [violation.code for violation in violations] == [code] * (code is not None)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_bytes_is_positive(limit: int) -> None:
    with pytest.raises(ValueError, match="from 1 to"):
        Codec(max_bytes=limit)


def test_codecs_with_different_limits_have_caches_of_their_own() -> None:
    text = json.dumps([a_step()])
    DEFAULT.parse_template_config(text)
    with pytest.raises(InvalidDocument):
        Codec(max_bytes=10).parse_template_config(text)


@every_kind
def test_all_objects_and_lists_of_a_document_have_at_most_ten_thousand_members(kind: str) -> None:
    def with_members(number: int) -> Any:
        settings: dict[str, Any] = {"x_a": [{}] * (number - 1)}
        if kind == "generation_config":
            return settings
        step = a_step(x_a=[[]] * (number - len(a_step()) - 2))
        if kind == "template_config":
            return [step]
        used = len(a_template()) + 1 + len(a_step())
        return a_template(steps=[a_step()], generation_config={"x_a": [0] * (number - used - 1)})

    for form, read in product(("parse", "recover"), (json.dumps, lambda document: document)):
        reader = getattr(DEFAULT, f"{form}_{kind}")
        value = reader(read(with_members(MAX_MEMBERS)))
        with pytest.raises(InvalidDocument) as refused:
            reader(read(with_members(MAX_MEMBERS + 1)))
        (violation,) = refused.value.violations
        assert (violation.path, violation.code) == ("", "too_many_members")
        getattr(DEFAULT, f"dump_{kind}")(value if form == "parse" else value.value)


def test_a_value_that_could_not_be_read_again_is_not_dumped() -> None:
    config = JsonObject({"a": [0] * (MAX_MEMBERS // 2)})
    steps = StepSequence(Step("email", "E-mail", config=config) for _ in range(2))
    with pytest.raises(InvalidDocument) as refused:
        DEFAULT.dump_template_config(steps)
    (violation,) = refused.value.violations
    assert (violation.path, violation.code) == ("", "too_many_members")


def test_a_hundred_violations_are_listed_and_the_others_are_counted() -> None:
    settings = {"x_a": ["\0"] * 1_234}
    violations = DEFAULT.violations(settings, "generation_config")
    assert [violation.path for violation in violations] == [
        *(f"/x_a/{index}" for index in range(MAX_VIOLATIONS)),
        "",
    ]
    assert violations[-1] == Violation(
        "", "more_violations", "generation_config: and 1,134 more violations"
    )
    with pytest.raises(InvalidDocument) as refused:
        DEFAULT.parse_generation_config(settings)
    assert refused.value.violations == violations
    sentence = str(refused.value)
    assert sentence.endswith("; and 80 more; generation_config: and 1,134 more violations")
    assert sentence.count("remove it") == 20
    settings["x_a"] = ["\0"] * MAX_VIOLATIONS
    assert len(DEFAULT.violations(settings, "generation_config")) == MAX_VIOLATIONS


def test_too_many_steps_are_the_only_violation_of_the_steps() -> None:
    steps = [{"channel": 5, "label": "\0", "x_a": [float("nan")]}] * (MAX_STEPS + 1)
    template = a_template(steps=steps, generation_config={"budget": 5})
    for form, list_violations in (
        ("submitted", DEFAULT.violations),
        ("stored", DEFAULT.stored_violations),
    ):
        for source in (steps, json.dumps(steps)):
            found = list_violations(source)
            assert [(one.path, one.code) for one in found] == [("", "too_many_items")], form
        assert [(one.path, one.code) for one in list_violations(template, "campaign_template")] == [
            ("/steps", "too_many_items"),
            ("/generation_config/budget", "wrong_type"),
        ]


def test_a_value_below_a_long_name_has_the_pointer_of_an_object_around_it() -> None:
    longest = "n" * (LONGEST_POINTER - len("/0/config//a"))
    pointers = {longest: f"/0/config/{longest}/a", f"{longest}n": f"/0/config/{longest}n"}
    for name, pointer in pointers.items():
        (violation,) = DEFAULT.violations([a_step(config={name: {"a": "\0"}})])
        assert violation.path == pointer
    (violation,) = DEFAULT.violations([a_step(config={"n" * 2_000: {"a": "\0"}})])
    assert violation.path == "/0/config"
    assert violation.message.startswith("steps[0].config['nnn")
    assert "].a: contains a NUL" in violation.message


@every_kind
@pytest.mark.parametrize("name", ["\ud800", "a\udfff", "\0"])
def test_a_name_that_is_no_text_gives_a_violation_that_utf_8_can_encode(
    kind: str, name: str
) -> None:
    document: Any = {
        "template_config": [{**a_step(), name: {"\ud800": "\ud800"}, "config": {name: 1}}],
        "generation_config": {name: {"\ud800": [1, "\ud800"]}},
        "campaign_template": a_template(**{name: 1}),
    }[kind]
    for source in (document, json.dumps(document)):
        for list_violations in (DEFAULT.violations, DEFAULT.stored_violations):
            violations = list_violations(source, kind)
            assert {violation.code for violation in violations} == {"invalid_text"}
            for violation in violations:
                json.dumps(violation.to_dict(), ensure_ascii=False).encode()


# --- Hostile Python values -----------------------------------------------------------------------


def in_itself(empty: Any) -> Any:
    if isinstance(empty, list):
        empty.append(empty)
    else:
        empty["a"] = empty
    return empty


def wrapped(value: Any, times: int, wrap: Callable[[Any], Any]) -> Any:
    for _ in range(times):
        value = wrap(value)
    return value


def shared_objects() -> JsonObject:
    """Return the largest object that contains one object twice, again and again."""
    value = JsonObject({"a": 1})
    while True:
        try:
            value = JsonObject({"a": value, "b": value})
        except InvalidDocument:
            return value


VALUES: dict[str, Any] = {
    "a list in itself": in_itself([]),
    "an object in itself": in_itself({}),
    "a deep list": wrapped(0, 10_000, lambda value: [value]),
    "a deep tuple": wrapped(0, 10_000, lambda value: (value,)),
    "a deep object": wrapped(0, 10_000, lambda value: {"a": value}),
    "a list twice, 40 times": wrapped(0, 40, lambda value: [value, value]),
    "a tuple twice, 40 times": wrapped(0, 40, lambda value: (value, value)),
    "an object twice, 40 times": wrapped(0, 40, lambda value: {"a": value, "b": value}),
    "shared immutable objects": shared_objects(),
    "a long list": [0] * 1_000_000,
    "a huge integer": 10**100_000,
    "a negative integer": -(10**400),
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a decimal NaN": Decimal("sNaN"),
    "a huge decimal": Decimal("1e999999"),
    "half a surrogate pair": "\ud800",
    "NUL": "\0",
    "a long text": "x" * 200_000,
    "many digits": "9" * 100_000,
    "deep text": "[" * 100_000,
    "a name that is no text": {"\ud800": 1},
    "a name that is a number": {10**5000: 1},
    "bytes": b"\xff",
    "an object of Python": object(),
    "null": None,
}


def argument(
    name: str, make: Callable[..., object], others: dict[str, Any]
) -> Callable[[Any], object]:
    """Return a function that calls ``make`` with its value as the argument ``name``."""
    return lambda value: make(**{**others, name: value})


def parse_step(**members: Any) -> object:
    return DEFAULT.parse_template_config([{**a_step(), **members}])


def recover_step(**members: Any) -> object:
    return DEFAULT.recover_template_config([{"channel": "email", **members}])


def parse_settings(**members: Any) -> object:
    return DEFAULT.parse_generation_config(members)


def parse_template(**members: Any) -> object:
    return DEFAULT.parse_campaign_template({**a_template(), **members})


_CAMPAIGN = ("name", "steps", "generation_config", "description", "id", "created_at")
ARGUMENTS: dict[str, tuple[Callable[..., object], tuple[str, ...], dict[str, Any]]] = {
    "parse a step": (parse_step, (*STEP_FIELDS, "x_a", "owner"), {}),
    "recover a step": (recover_step, (*STEP_FIELDS, "owner"), {}),
    "parse settings": (parse_settings, (*GENERATION_FIELDS, "x_a", "owner"), {}),
    "parse a template": (parse_template, ("id", "name", "steps", "generation_config", "x_a"), {}),
    "Step": (Step, (*[*STEP_FIELDS][1:], "extra"), {"channel": "email", "label": "A"}),
    "GenerationConfig": (GenerationConfig, (*GENERATION_FIELDS, "extra"), {}),
    "Campaign": (Campaign, _CAMPAIGN, {"name": "A"}),
    "CampaignTemplate": (CampaignTemplate, _CAMPAIGN, {"name": "A", "steps": StepSequence()}),
}
"""By words: a function, the names of its arguments, and its other arguments."""

FUNCTIONS: dict[str, Callable[[Any], object]] = {
    **{
        f"{word}_{kind}": getattr(DEFAULT, f"{word}_{kind}")
        for word, kind in product(("parse", "recover", "dump"), KINDS)
    },
    **{f"violations of a {kind}": partial(DEFAULT.violations, name=kind) for kind in KINDS},
    **{
        f"violations of a stored {kind}": partial(DEFAULT.stored_violations, name=kind)
        for kind in KINDS
    },
    **{
        f"{words}: {name}": argument(name, make, others)
        for words, (make, names, others) in ARGUMENTS.items()
        for name in names
    },
    "parse with previous": lambda value: DEFAULT.parse_template_config(
        [{**a_step(owner=value), "key": "s1"}],
        previous=StepSequence([Step("email", "A", extra=JsonObject({"owner": 1}))]),
    ),
    "cattrs": lambda value: DEFAULT.converter.structure(value, StepSequence),
    "JsonObject": JsonObject,
    "JsonObject's member": lambda value: JsonObject({"a": value}),
    "StepSequence": StepSequence,
    "StepSequence's step": lambda value: StepSequence([value]),
    "Step's config's member": lambda value: Step("email", "A", config=cast("Any", {"a": value})),
    "effective_config": lambda value: effective_config(
        GenerationConfig(), Step("email", "A"), {"a": value}
    ),
}
FUNCTIONS_OF_SERVICES: dict[str, Callable[[Any], object]] = {
    "Campaign's status": lambda value: Campaign("A", status=value),
    "Channel": Channel,
    "Vocabulary's channels": lambda value: Vocabulary(value, STANDARD.tones),
    "Vocabulary's tones": lambda value: Vocabulary(STANDARD.channels, value),
    "Codec": lambda value: Codec(max_bytes=value),
    "Cursor": Cursor,
    "Generated": Generated,
    "Failed's code": lambda value: Failed(value, "message", None),
    "Failed's cost": lambda value: Failed("code", "message", value),
    "NotReady": NotReady,
    "Unfinished": Unfinished,
    "Unfinished's cost": lambda value: Unfinished(timedelta(0), value),
}
"""Constructors that a service calls with its own values."""


@pytest.mark.long
@pytest.mark.parametrize("name", FUNCTIONS | FUNCTIONS_OF_SERVICES)
def test_no_value_takes_long_or_raises_another_error(name: str) -> None:
    errors = (InvalidArgument, InvalidDocument, TypeError)
    function = (FUNCTIONS | FUNCTIONS_OF_SERVICES)[name]
    for what, value in VALUES.items():
        sentences = []

        def work() -> None:
            try:
                function(value)  # noqa: B023 - called at once
            except errors as error:
                sentences.append(str(error))  # noqa: B023

        assert calls_of(work) <= 1_000_000, what
        for sentence in sentences:
            sentence.encode()
            assert len(sentence) <= 25_000 or name in FUNCTIONS_OF_SERVICES, what


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_the_short_text_of_any_value_is_short(value: Any) -> None:
    assert len(short_repr(value)) <= 80
    assert calls_of(lambda: short_repr(value)) <= 10 * MAX_MEMBERS


def test_immutable_objects_have_the_limits_of_documents() -> None:
    deepest = wrapped(1, MAX_DEPTH, lambda value: JsonObject({"a": value}))
    hash(deepest)
    for too_large in (deepest, [0] * MAX_MEMBERS):
        with pytest.raises(InvalidDocument, match="JsonObject"):
            JsonObject({"a": too_large})
    assert len(JsonObject({"a": [0] * (MAX_MEMBERS - 1)})["a"]) == MAX_MEMBERS - 1


# --- Caches --------------------------------------------------------------------------------------


def test_a_cache_removes_the_oldest_values_and_keeps_none_that_is_larger_than_itself() -> None:
    cache: BoundedCache[int, str] = BoundedCache(max_bytes=10)
    for key in range(5):
        cache.keep(key, "value", 3)
    assert [cache.get(key) for key in range(5)] == [None, None, "value", "value", "value"]
    assert cache.size == 9
    cache.keep(2, "new", 4)  # The newest now, so another one goes.
    assert [cache.get(key) for key in range(5)] == [None, None, "new", "value", "value"]
    cache.keep(3, "too large", 11)
    assert cache.get(3) is None
    assert cache.size == 7
    clear_caches()
    assert [cache.get(key) for key in range(5)] == [None] * 5
    assert cache.size == 0
