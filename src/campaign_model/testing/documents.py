"""Documents to draw: in order, one change away from it, and noise."""

from __future__ import annotations

import copy
import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

from campaign_model._values import MONEY_PATTERN
from campaign_model.generation import LANGUAGE_PATTERN, MAX_INSTRUCTIONS
from campaign_model.steps import MAX_DAY_OFFSET, MAX_LABEL, MAX_STEPS
from campaign_model.testing.strategies import json_objects, json_values, texts
from campaign_model.vocabulary import MAX_TONE, STANDARD, Condition

__all__ = ["KINDS", "NAMES", "STRANGE", "any_document", "changed", "text_of", "valid"]

KINDS = ("template_config", "generation_config", "campaign_template")

Document = Any
Documents = st.SearchStrategy[Document]

_CHANNELS = [channel.name for channel in STANDARD.channels]

_labels = texts(min_size=1) | st.just("é" * MAX_LABEL)
_extras = st.dictionaries(texts().map("x_".__add__), json_values(), max_size=2)
_variants = st.integers(1, 3)
_days = st.integers(0, MAX_DAY_OFFSET)
_unknown_fields = st.dictionaries(
    st.sampled_from(["owner", "x_crm", "a/b~c", "", "Label", "steps"]), json_values(), max_size=2
)


def _objects(required: dict[str, Documents], optional: dict[str, Documents]) -> Documents:
    return st.fixed_dictionaries(required, optional=optional)


def _merged(*parts: Documents) -> Documents:
    """Objects that have the members of all ``parts``, the first part's before the others'."""

    def merge(drawn: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        whole: dict[str, Any] = {}
        for part in drawn:
            whole |= {name: value for name, value in part.items() if name not in whole}
        return whole

    return st.tuples(*parts).map(merge)


def _step(form: str) -> Documents:
    known = {
        "label": _labels,
        "enabled": st.booleans(),
        "needs_pdf": st.booleans(),
        "variant_count": _variants,
    }
    optional: dict[str, Documents] = {
        "condition": st.sampled_from([condition.value for condition in Condition]),
        "config": json_objects(),
    }
    if form == "submitted":
        return _merged(
            _objects({"channel": st.sampled_from(_CHANNELS), **known}, optional), _extras
        )
    channel = st.sampled_from([*_CHANNELS, "fax", "a" * 40])
    return _merged(
        _objects({"channel": channel}, {"step": st.integers(1, 99), **known, **optional}),
        _unknown_fields,
    )


@st.composite
def _template_configs(draw: st.DrawFn, form: str, max_size: int = 4) -> Document:
    least = 1 if form == "submitted" else 0
    steps = draw(st.lists(_step(form), min_size=least, max_size=max_size))
    if steps and draw(st.integers(0, 30)) == 0:
        steps = [copy.deepcopy(steps[0]) for _ in range(MAX_STEPS)]
    offsets = sorted(draw(st.lists(_days, min_size=len(steps), max_size=len(steps))))
    for index, (step, offset) in enumerate(zip(steps, offsets, strict=True)):
        if form == "submitted":
            step["step"] = index + 1
        if draw(st.booleans()):
            step["key"] = f"key-{index}" if index else "K" * 40
        if draw(st.booleans()):
            step["day_offset"] = offset
    return steps


def _generation_configs(form: str) -> Documents:
    tones = st.sampled_from(STANDARD.tones)
    known: dict[str, Documents] = {
        "tone": tones if form == "submitted" else tones | st.sampled_from(["?", "t" * MAX_TONE]),
        "language": st.sampled_from(["en", "pt-BR"])
        | st.from_regex(LANGUAGE_PATTERN, fullmatch=True),
        "custom_instructions": texts() | st.just("i" * MAX_INSTRUCTIONS),
        "default_variant_count": _variants,
        "budget": st.sampled_from(["0", "25.00"]) | st.from_regex(MONEY_PATTERN, fullmatch=True),
    }
    return _merged(_objects({}, known), _extras if form == "submitted" else _unknown_fields)


def _campaign_templates(form: str) -> Documents:
    required: dict[str, Documents] = {
        "id": st.uuids().map(str),
        "name": texts().filter(str.strip),
        "steps": _template_configs(form, max_size=2),
    }
    optional: dict[str, Documents] = {"description": texts()}
    config = {"generation_config": _generation_configs(form)}
    if form == "submitted":
        return _objects(required | config, optional)
    return _objects(required, optional | config)


def valid(kind: str, form: str = "submitted") -> Documents:
    """Documents in order, of one kind and form."""
    match kind:
        case "template_config":
            return _template_configs(form)
        case "generation_config":
            return _generation_configs(form)
        case _:
            return _campaign_templates(form)


# What a member may be replaced by: near misses of every type and limit.
STRANGE: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, 4, -1, 1.0, 0.5, 20, 21, 365, 366, 2**53, 2**53 + 1, 10**400),
    *("", "5", "1", "true", " ", "\n", "x", "email", "emial", "EMAIL", "email\n", "a b", "s2", "é"),
    *("always", "no response", "casual", "cassual", "en", "en\n", "e", "en_US", "1.5", "-1", "1e3"),
    *("01", "1.0000000001", "1000000000", "9" * 400, "NaN", "\0", "\ud800", "[]", "{}", "null"),
    *("k" * 40, "k" * 41, "l" * 200, "l" * 201, "n" * 500, "n" * 501, "i" * 10_000, "i" * 10_001),
    *("a0000000-0000-0000-0000-000000000001", "A0000000-0000-0000-0000-000000000001"),
    *(
        [],
        {},
        [[]],
        [{}],
        {"x_a": 1},
        {"step": 1},
        {"channel": "email"},
        float("nan"),
        float("inf"),
    ),
]
NAMES = [
    *("step", "channel", "label", "enabled", "needs_pdf", "variant_count", "key", "day_offset"),
    *("condition", "config", "tone", "language", "custom_instructions", "default_variant_count"),
    *(
        "budget",
        "id",
        "name",
        "description",
        "steps",
        "generation_config",
        "x_",
        "X_",
        "lable",
        "\0",
    ),
]


class _Place(NamedTuple):
    parent: Any
    token: Any


def _places(document: Document) -> list[_Place]:
    """Where something stands within ``document``, outermost first."""
    found: list[_Place] = []
    queue = [document]
    for value in queue:
        tokens = (
            value
            if isinstance(value, dict)
            else range(len(value) if isinstance(value, list) else 0)
        )
        found += (_Place(value, token) for token in tokens)
        queue += (value[token] for token in tokens)
    return found


@st.composite
def changed(draw: st.DrawFn, documents: Documents) -> Document:
    """Documents with one thing replaced, taken out, put in, said twice or moved."""
    document = copy.deepcopy(draw(documents))
    found = _places(document)
    if not found:
        return draw(st.sampled_from(STRANGE))
    parent, token = draw(st.sampled_from(found))
    change = draw(st.sampled_from(["replace", "replace", "remove", "add", "double", "move"]))
    if change == "replace":
        parent[token] = copy.deepcopy(draw(st.sampled_from(STRANGE) | json_values()))
    elif change == "remove":
        del parent[token]
    elif isinstance(parent, dict):
        name = draw(st.sampled_from(NAMES) | texts())
        parent[name] = copy.deepcopy(draw(st.sampled_from(STRANGE) | json_values()))
    elif change == "double":
        parent += copy.deepcopy([parent[token]] * draw(st.sampled_from([1, 2, 25])))
    else:
        parent.insert(0, parent.pop(token))
    return document


def any_document(kind: str) -> Documents:
    """Documents of a kind: in order, one or two changes away from it in either form, and noise."""
    either = valid(kind, "submitted") | valid(kind, "stored")
    return st.one_of(
        valid(kind, "submitted"),
        valid(kind, "stored"),
        changed(valid(kind, "submitted")),
        changed(valid(kind, "stored")),
        changed(changed(either)),
        json_values(),
        st.sampled_from(STRANGE),
    )


def text_of(document: Document) -> str:
    """As JSON text; what JSON has no word for as Python writes it."""
    return json.dumps(document)
