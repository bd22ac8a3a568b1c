"""The documents of the test kit: in order, with one known fault, as older services left them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from campaign_model import STANDARD, Channel, Codec, Condition, InvalidDocument, Vocabulary
from campaign_model.steps import MAX_DAY_OFFSET, MAX_LABEL, MAX_STEPS
from campaign_model.testing import documents
from campaign_model.testing.documents import KINDS, Invalid
from kit_rates import FORMS, draw_values
from support import corpus

DEFAULT = Codec()
OWN = Vocabulary((Channel("fax"), Channel("emial")), ("gruff", "cassual"))

both_forms = pytest.mark.parametrize("form", FORMS)
every_kind = pytest.mark.parametrize("kind", KINDS)
few = settings(max_examples=15)


def faults(source: Any, kind: str, form: str, codec: Codec = DEFAULT) -> list[tuple[str, str]]:
    judge = codec.violations if form == "submitted" else codec.stored_violations
    return [(one.path, one.code) for one in judge(source, kind)]


def read(source: Any, kind: str, form: str, codec: Codec = DEFAULT) -> Any:
    return getattr(codec, f"{'parse' if form == 'submitted' else 'recover'}_{kind}")(source)


@every_kind
@both_forms
@few
@given(data=st.data())
def test_valid_documents_are_accepted(kind: str, form: str, data: st.DataObject) -> None:
    document = data.draw(documents.valid(kind, form))
    assert faults(document, kind, form) == []
    read(document, kind, form)
    own = data.draw(documents.valid(kind, form, vocabulary=OWN))
    assert faults(own, kind, form, Codec(OWN)) == []


@every_kind
@both_forms
@few
@given(data=st.data())
def test_invalid_documents_have_the_fault_they_say(
    kind: str, form: str, data: st.DataObject
) -> None:
    vocabulary = data.draw(st.sampled_from([STANDARD, OWN]))
    document, path, code = data.draw(documents.invalid(kind, form, vocabulary=vocabulary))
    codec = Codec(vocabulary)
    assert faults(document, kind, form, codec) == [(path, code)]
    with pytest.raises(InvalidDocument) as refused:
        read(document, kind, form, codec)
    assert [(one.path, one.code) for one in refused.value.violations] == [(path, code)]


@every_kind
@both_forms
def test_every_fault_is_the_only_one_of_its_document(kind: str, form: str) -> None:
    """Not only those that are drawn: all of them, in the plainest document and in another one."""
    words = documents._words(form, STANDARD)
    for document in draw_values(documents._VALID[kind](words, 1), 2):
        for code, of_code in documents._faults(kind, words).items():
            for number, fault in enumerate(of_code):
                wrong, path = fault.put(copy.deepcopy(document), number)
                found = faults(documents._finished(wrong), kind, form)
                assert found == [(path, code)], (code, number)


@both_forms
def test_there_is_a_fault_for_every_published_code(form: str) -> None:
    words = documents._words(form, STANDARD)
    known = {kind: documents._faults(kind, words).keys() for kind in KINDS}
    published: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for fixture in corpus.fixtures("invalid"):
        if fixture.form == form:
            published[fixture.kind] |= {code for _, code in fixture.violations}
    for kind in KINDS:
        assert known[kind] >= published[kind]
    assert known["campaign_template"] == set().union(*published.values())


@both_forms
def test_every_code_is_drawn(form: str) -> None:
    codes = documents._faults("campaign_template", documents._words(form, STANDARD)).keys()
    found = draw_values(documents.invalid("campaign_template", form), 160)
    assert {one.code for one in found} == codes


# What has to be among the members of steps, in some hundred documents.
REACHED: dict[str, set[Any]] = {
    "label": {1, MAX_LABEL},
    "variant_count": {1, 2, 3},
    "enabled": {True, False},
    "needs_pdf": {True, False},
    "condition": {str(condition) for condition in Condition},
    "day_offset": {0, MAX_DAY_OFFSET},
    "key": {1, 40},
}


@both_forms
def test_documents_of_steps_reach_every_word_and_limit(form: str) -> None:
    found = draw_values(documents.valid("template_config", form), 200)
    assert {len(steps) for steps in found} >= {1, 2, 3, 4, MAX_STEPS}
    assert ([] in found) is (form == "stored")
    steps = [step for steps in found for step in steps]
    for name, wanted in REACHED.items():
        values = {step[name] for step in steps if name in step}
        if name in {"label", "key"}:
            values = {len(value) for value in values} | {1}
        assert values >= wanted, name
        assert (name in {"condition", "day_offset", "key"} or form == "stored") is any(
            name not in step for step in steps
        )
    channels = {step["channel"] for step in steps}
    if form == "submitted":
        assert channels == {channel.name for channel in STANDARD.channels}
    else:
        assert {len(channel) for channel in channels} >= {1, 40}
        assert any(step.get("step") != index + 1 for one in found for index, step in enumerate(one))
    assert any(name[:2] == "x_" for step in steps for name in step)


def test_legacy_documents_need_every_repair_and_keep_what_was_theirs() -> None:
    repairs, kept = set(), set()
    for document in draw_values(documents.legacy("template_config"), 160):
        recovered = DEFAULT.recover_template_config(json.dumps(document))
        repairs |= {repair.code for repair in recovered.repairs}
        kept |= {name for step in recovered.value for name in step.extra}
    assert repairs == {"defaulted", "double_encoded", "renumbered"}
    assert kept >= {"order", "delay_days", "ai_model", "x_crm", "Label", "a/b~c", ""}


@every_kind
@few
@given(data=st.data())
def test_legacy_documents_are_recovered(kind: str, data: st.DataObject) -> None:
    document = data.draw(documents.legacy(kind))
    encoded = json.dumps(document)
    recovered = read(encoded, kind, "stored")
    is_text = isinstance(document, str)
    assert ("double_encoded" in {repair.code for repair in recovered.repairs}) is is_text


@every_kind
def test_any_document_is_accepted_and_refused_by_either(kind: str) -> None:
    verdicts = {
        tuple(not faults(document, kind, form) for form in FORMS)
        for document in draw_values(documents.any_document(kind), 120)
    }
    # What is submitted is stored; else nobody could read back what was accepted.
    assert verdicts == {(True, True), (False, True), (False, False)}


def test_changed_documents_are_mostly_out_of_order() -> None:
    kind = "template_config"
    found = draw_values(documents.changed(documents.valid(kind)), 160)
    refused = [document for document in found if faults(document, kind, "submitted")]
    assert 80 < len(refused) < 160


@both_forms
def test_a_kind_or_form_that_is_none_is_refused(form: str) -> None:
    with pytest.raises(KeyError):
        documents.valid("steps", form)
    with pytest.raises(KeyError):
        documents.invalid(KINDS[0], form.title())


@every_kind
@both_forms
@few
@given(data=st.data())
def test_documents_are_fresh(kind: str, form: str, data: st.DataObject) -> None:
    """Whoever changes one changes no other: neither the next one drawn nor another part of it."""
    strategy = data.draw(st.sampled_from([documents.valid(kind, form), documents.legacy(kind)]))
    seen: set[int] = set()
    held = [data.draw(strategy), data.draw(strategy)]
    for value in (part for document in held for part in parts(document)):
        assert id(value) not in seen
        seen.add(id(value))


def parts(document: Any) -> list[Any]:
    """Everything within that can be changed."""
    found = [document] if isinstance(document, dict | list) else []
    for value in found:
        inner = value.values() if isinstance(value, dict) else value
        found += [one for one in inner if isinstance(one, dict | list)]
    return found


STEP = {
    "step": 1,
    "channel": "email",
    "label": "Intro",
    "enabled": True,
    "needs_pdf": False,
    "variant_count": 1,
}
TEMPLATE = {
    "id": "00000000-0000-0000-0000-000000000001",
    "name": "Three e-mails",
    "steps": [STEP],
    "generation_config": {},
}

PLAINEST: dict[str, tuple[Any, Any, Any]] = {
    "steps": (documents.valid("template_config"), lambda _: True, [STEP]),
    "stored steps": (
        documents.valid("template_config", "stored"),
        lambda steps: len(steps) > 1,
        [{"channel": "email"}, {"channel": "email"}],
    ),
    "a second step": (
        documents.valid("template_config"),
        lambda steps: len(steps) > 1 and not steps[1]["enabled"],
        [STEP, STEP | {"step": 2, "enabled": False}],
    ),
    "settings": (documents.valid("generation_config"), lambda _: True, {}),
    "a language": (
        documents.valid("generation_config"),
        lambda config: "language" in config,
        {"language": "en"},
    ),
    "a template": (documents.valid("campaign_template"), lambda _: True, TEMPLATE),
    "a doubled key": (
        documents.invalid("template_config"),
        lambda found: found.code == "duplicate_key",
        Invalid([STEP, STEP | {"step": 2, "key": "s1"}], "/1/key", "duplicate_key"),
    ),
    "a word nobody knows": (
        documents.invalid("template_config"),
        lambda found: found.code == "unknown_value" and "condition" in found.path,
        Invalid([STEP | {"condition": "never"}], "/0/condition", "unknown_value"),
    ),
    "text in a string": (
        documents.legacy("generation_config"),
        lambda document: isinstance(document, str),
        "{}",
    ),
}


@pytest.mark.parametrize("name", PLAINEST)
def test_a_failing_example_is_what_a_person_would_write(name: str) -> None:
    strategy, holds, plainest = PLAINEST[name]
    quick = settings(
        max_examples=2000, database=None, phases=[Phase.generate, Phase.shrink], derandomize=True
    )
    assert find(strategy, holds, settings=quick) == plainest
