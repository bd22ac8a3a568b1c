"""Documents to draw: in order, one change away from it, and noise."""

from __future__ import annotations

import copy
import json
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from campaign_model._values import MONEY_PATTERN
from campaign_model.generation import LANGUAGE_PATTERN, MAX_INSTRUCTIONS
from campaign_model.steps import MAX_DAY_OFFSET, MAX_LABEL, MAX_STEPS
from campaign_model.vocabulary import MAX_TONE, STANDARD, Condition
from strategies import json_objects, json_values, words

KINDS = ("template_config", "generation_config", "campaign_template")

Document = Any
Documents = st.SearchStrategy[Document]

CHANNELS = [channel.name for channel in STANDARD.channels]

labels = words.filter(bool) | st.just("é" * MAX_LABEL)
extras = st.dictionaries(words.map("x_".__add__), json_values, max_size=2)
variants = st.integers(1, 3)
days = st.integers(0, MAX_DAY_OFFSET)
unknown_fields = st.dictionaries(
    st.sampled_from(["owner", "x_crm", "a/b~c", "", "Label", "steps"]), json_values, max_size=2
)


def objects(required: dict[str, Documents], optional: dict[str, Documents]) -> Documents:
    return st.fixed_dictionaries(required, optional=optional)


def merged(*parts: Documents) -> Documents:
    """Objects that have the members of all ``parts``, the first part's before the others'."""

    def merge(drawn: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        whole: dict[str, Any] = {}
        for part in drawn:
            whole |= {name: value for name, value in part.items() if name not in whole}
        return whole

    return st.tuples(*parts).map(merge)


def _step(form: str) -> Documents:
    known = {
        "label": labels,
        "enabled": st.booleans(),
        "needs_pdf": st.booleans(),
        "variant_count": variants,
    }
    optional: dict[str, Documents] = {
        "condition": st.sampled_from([condition.value for condition in Condition]),
        "config": json_objects,
    }
    if form == "submitted":
        return merged(objects({"channel": st.sampled_from(CHANNELS), **known}, optional), extras)
    channel = st.sampled_from([*CHANNELS, "fax", "a" * 40])
    return merged(
        objects({"channel": channel}, {"step": st.integers(1, 99), **known, **optional}),
        unknown_fields,
    )


@st.composite
def template_configs(draw: st.DrawFn, form: str, max_size: int = 4) -> Document:
    least = 1 if form == "submitted" else 0
    steps = draw(st.lists(_step(form), min_size=least, max_size=max_size))
    if steps and draw(st.integers(0, 30)) == 0:
        steps = [copy.deepcopy(steps[0]) for _ in range(MAX_STEPS)]
    offsets = sorted(draw(st.lists(days, min_size=len(steps), max_size=len(steps))))
    for index, (step, offset) in enumerate(zip(steps, offsets, strict=True)):
        if form == "submitted":
            step["step"] = index + 1
        if draw(st.booleans()):
            step["key"] = f"key-{index}" if index else "K" * 40
        if draw(st.booleans()):
            step["day_offset"] = offset
    return steps


def generation_configs(form: str) -> Documents:
    tones = st.sampled_from(STANDARD.tones)
    known: dict[str, Documents] = {
        "tone": tones if form == "submitted" else tones | st.sampled_from(["?", "t" * MAX_TONE]),
        "language": st.sampled_from(["en", "pt-BR"])
        | st.from_regex(LANGUAGE_PATTERN, fullmatch=True),
        "custom_instructions": words | st.just("i" * MAX_INSTRUCTIONS),
        "default_variant_count": variants,
        "budget": st.sampled_from(["0", "25.00"]) | st.from_regex(MONEY_PATTERN, fullmatch=True),
    }
    return merged(objects({}, known), extras if form == "submitted" else unknown_fields)


def campaign_templates(form: str) -> Documents:
    required: dict[str, Documents] = {
        "id": st.uuids().map(str),
        "name": words.filter(str.strip),
        "steps": template_configs(form, max_size=2),
    }
    optional: dict[str, Documents] = {"description": words}
    config = {"generation_config": generation_configs(form)}
    if form == "submitted":
        return objects(required | config, optional)
    return objects(required, optional | config)


def valid(kind: str, form: str) -> Documents:
    """Documents in order, of one kind and form."""
    match kind:
        case "template_config":
            return template_configs(form)
        case "generation_config":
            return generation_configs(form)
        case _:
            return campaign_templates(form)


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


class Place(NamedTuple):
    parent: Any
    token: Any


def places(document: Document) -> list[Place]:
    """Where something stands within ``document``, outermost first."""
    found: list[Place] = []
    queue = [document]
    for value in queue:
        tokens = (
            value
            if isinstance(value, dict)
            else range(len(value) if isinstance(value, list) else 0)
        )
        found += (Place(value, token) for token in tokens)
        queue += (value[token] for token in tokens)
    return found


@st.composite
def changed(draw: st.DrawFn, documents: Documents) -> Document:
    """Documents with one thing replaced, taken out, put in, said twice or moved."""
    document = copy.deepcopy(draw(documents))
    found = places(document)
    if not found:
        return draw(st.sampled_from(STRANGE))
    parent, token = draw(st.sampled_from(found))
    change = draw(st.sampled_from(["replace", "replace", "remove", "add", "double", "move"]))
    if change == "replace":
        parent[token] = copy.deepcopy(draw(st.sampled_from(STRANGE) | json_values))
    elif change == "remove":
        del parent[token]
    elif isinstance(parent, dict):
        name = draw(st.sampled_from(NAMES) | words)
        parent[name] = copy.deepcopy(draw(st.sampled_from(STRANGE) | json_values))
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
        json_values,
        st.sampled_from(STRANGE),
    )


def text_of(document: Document) -> str:
    """As JSON text; what JSON has no word for as Python writes it."""
    return json.dumps(document)


PRESET_ID = str(UUID("a0000000-0000-0000-0000-000000000001"))


def a_step(position: int = 1, **members: Any) -> dict[str, Any]:
    """A submitted step."""
    return {
        "step": position,
        "channel": "email",
        "label": f"Email {position}",
        "enabled": True,
        "needs_pdf": False,
        "variant_count": 1,
        **members,
    }


def a_template(**members: Any) -> dict[str, Any]:
    """A submitted campaign_template."""
    return {
        "id": PRESET_ID,
        "name": "Three e-mails",
        "steps": [a_step(1), a_step(2, enabled=False)],
        "generation_config": {"tone": "casual"},
        **members,
    }
