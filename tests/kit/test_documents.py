"""The documents of the test kit: valid ones, ones with one known fault, and legacy ones."""

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
from campaign_model.testing._document_faults import document_faults, finished
from campaign_model.testing.documents import KINDS, Invalid
from kit_rates import FORMS, draw_values
from support import corpus
from support.sample_documents import a_step, a_template

DEFAULT = Codec()
OWN = Vocabulary((Channel("fax"), Channel("emial")), ("gruff", "cassual"))

both_forms = pytest.mark.parametrize("form", FORMS)
every_kind = pytest.mark.parametrize("kind", KINDS)
few = settings(max_examples=15)


def violations(source: Any, kind: str, form: str, codec: Codec = DEFAULT) -> list[tuple[str, str]]:
    find = codec.violations if form == "submitted" else codec.stored_violations
    return [(violation.path, violation.code) for violation in find(source, kind)]


def read(source: Any, kind: str, form: str, codec: Codec = DEFAULT) -> Any:
    return getattr(codec, f"{'parse' if form == 'submitted' else 'recover'}_{kind}")(source)


@every_kind
@both_forms
@few
@given(data=st.data())
def test_valid_documents_are_accepted(kind: str, form: str, data: st.DataObject) -> None:
    document = data.draw(documents.valid(kind, form))
    assert violations(document, kind, form) == []
    read(document, kind, form)
    own = data.draw(documents.valid(kind, form, vocabulary=OWN))
    assert violations(own, kind, form, Codec(OWN)) == []


@every_kind
@both_forms
@few
@given(data=st.data())
def test_invalid_documents_have_exactly_the_given_fault(
    kind: str, form: str, data: st.DataObject
) -> None:
    vocabulary = data.draw(st.sampled_from([STANDARD, OWN]))
    document, path, code = data.draw(documents.invalid(kind, form, vocabulary=vocabulary))
    codec = Codec(vocabulary)
    assert violations(document, kind, form, codec) == [(path, code)]
    with pytest.raises(InvalidDocument) as refused:
        read(document, kind, form, codec)
    refusals = [(violation.path, violation.code) for violation in refused.value.violations]
    assert refusals == [(path, code)]


@every_kind
@both_forms
def test_every_fault_is_the_only_violation_of_its_document(kind: str, form: str) -> None:
    # Hypothesis draws some faults rarely, so this test puts each fault into two documents itself.
    vocabulary = documents._vocabulary_of(form, STANDARD)
    for document in draw_values(documents._VALID[kind](vocabulary, 1), 2):
        for code, faults in document_faults(kind, vocabulary).items():
            for number, fault in enumerate(faults):
                invalid, path = fault.put(copy.deepcopy(document), number)
                assert violations(finished(invalid), kind, form) == [(path, code)], (code, number)


@both_forms
def test_there_is_a_fault_for_every_published_code(form: str) -> None:
    vocabulary = documents._vocabulary_of(form, STANDARD)
    known = {kind: document_faults(kind, vocabulary).keys() for kind in KINDS}
    published: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for fixture in corpus.fixtures("invalid"):
        if fixture.form == form:
            published[fixture.kind] |= {code for _, code in fixture.violations}
    for kind in KINDS:
        assert known[kind] >= published[kind]
    assert known["campaign_template"] == set().union(*published.values())


@both_forms
def test_every_code_is_drawn(form: str) -> None:
    vocabulary = documents._vocabulary_of(form, STANDARD)
    codes = document_faults("campaign_template", vocabulary).keys()
    invalid = draw_values(documents.invalid("campaign_template", form), 160)
    assert {document.code for document in invalid} == codes


# Values that must occur in the members of steps, in some hundred documents.
EXPECTED_VALUES: dict[str, set[Any]] = {
    "label": {1, MAX_LABEL},
    "variant_count": {1, 2, 3},
    "enabled": {True, False},
    "needs_pdf": {True, False},
    "condition": {str(condition) for condition in Condition},
    "day_offset": {0, MAX_DAY_OFFSET},
    "key": {1, 40},
}


@both_forms
def test_steps_have_every_word_and_limit(form: str) -> None:
    configs = draw_values(documents.valid("template_config", form), 200)
    assert {len(steps) for steps in configs} >= {1, 2, 3, 4, MAX_STEPS}
    assert ([] in configs) is (form == "stored")
    steps = [step for steps in configs for step in steps]
    for name, expected in EXPECTED_VALUES.items():
        values = {step[name] for step in steps if step.get(name) is not None}
        if name in {"label", "key"}:
            values = {len(value) for value in values} | {1}
        assert values >= expected, name
        assert (name in {"condition", "day_offset", "key"} or form == "stored") is any(
            name not in step for step in steps
        )
    channels = {step["channel"] for step in steps}
    if form == "submitted":
        assert channels == {channel.name for channel in STANDARD.channels}
    else:
        assert {len(channel) for channel in channels} >= {1, 40}
        assert any(
            step.get("step") != index + 1 for config in configs for index, step in enumerate(config)
        )
    assert any(name[:2] == "x_" for step in steps for name in step)


def test_legacy_documents_need_every_repair_and_keep_unknown_fields() -> None:
    repairs, kept = set(), set()
    for document in draw_values(documents.legacy("template_config"), 160):
        recovered = DEFAULT.recover_template_config(json.dumps(document))
        repairs |= {repair.code for repair in recovered.repairs}
        kept |= {name for step in recovered.value for name in step.extra}
    assert repairs == {
        *("defaulted", "double_encoded", "empty_removed", "null_removed", "renumbered"),
        "shortened",
    }
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
def test_any_document_includes_accepted_and_refused_ones(kind: str) -> None:
    verdicts = {
        tuple(not violations(document, kind, form) for form in FORMS)
        for document in draw_values(documents.any_document(kind), 120)
    }
    # Every document that is accepted as submitted is also accepted as stored.
    assert verdicts == {(True, True), (False, True), (False, False)}


def test_most_changed_documents_are_invalid() -> None:
    kind = "template_config"
    changed = draw_values(documents.changed(documents.valid(kind)), 160)
    refused = [document for document in changed if violations(document, kind, "submitted")]
    assert 80 < len(refused) < 160


@both_forms
def test_an_unknown_kind_or_form_is_refused(form: str) -> None:
    with pytest.raises(KeyError):
        documents.valid("steps", form)
    with pytest.raises(KeyError):
        documents.invalid(KINDS[0], form.title())


@every_kind
@both_forms
@few
@given(data=st.data())
def test_no_two_documents_share_a_part(kind: str, form: str, data: st.DataObject) -> None:
    strategy = data.draw(st.sampled_from([documents.valid(kind, form), documents.legacy(kind)]))
    seen: set[int] = set()
    both = [data.draw(strategy), data.draw(strategy)]
    for value in (part for document in both for part in mutable_parts(document)):
        assert id(value) not in seen
        seen.add(id(value))


def mutable_parts(document: Any) -> list[Any]:
    """Every object and array within the document."""
    parts = [document] if isinstance(document, dict | list) else []
    for part in parts:
        values = part.values() if isinstance(part, dict) else part
        parts += [value for value in values if isinstance(value, dict | list)]
    return parts


STEP = a_step(label="Intro")
TEMPLATE = a_template(id="00000000-0000-0000-0000-000000000001", steps=[STEP], generation_config={})

SIMPLEST: dict[str, tuple[Any, Any, Any]] = {
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
    "a duplicate key": (
        documents.invalid("template_config"),
        lambda invalid: invalid.code == "duplicate_key",
        Invalid([STEP, STEP | {"step": 2, "key": "s1"}], "/1/key", "duplicate_key"),
    ),
    "an unknown word": (
        documents.invalid("template_config"),
        lambda invalid: invalid.code == "unknown_value" and "condition" in invalid.path,
        Invalid([STEP | {"condition": "never"}], "/0/condition", "unknown_value"),
    ),
    "text in a string": (
        documents.legacy("generation_config"),
        lambda document: isinstance(document, str),
        "{}",
    ),
}


@pytest.mark.parametrize("name", SIMPLEST)
def test_a_failing_example_shrinks_to_the_simplest_document(name: str) -> None:
    strategy, holds, simplest = SIMPLEST[name]
    quick = settings(
        max_examples=2000, database=None, phases=[Phase.generate, Phase.shrink], derandomize=True
    )
    assert find(strategy, holds, settings=quick) == simplest
