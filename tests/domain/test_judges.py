"""The judges of documents agree, except for the known differences."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from campaign_model.testing.documents import KINDS
from campaign_model.validation import load_schema
from judges import FORMS, Judges, all_judges, judge_drawn, judged
from support import servers
from support.corpus import fixtures
from support.differences import DIFFERENCES, Difference, Document

EXPECTED_JUDGES = {
    ("submitted", False): {"values", "ajv"},
    ("submitted", True): {"values", "ajv"},
    ("stored", False): {"values", "ajv"},
    ("stored", True): {"values", "ajv", *servers.available()},
}
"""The judges beside the violations, by form and by whether the kind is a column of a campaign."""


@pytest.fixture(scope="module")
def judges(databases: servers.Databases) -> Iterator[Judges]:
    with all_judges(databases) as judges:
        yield judges


def test_each_kind_and_form_has_its_judges(judges: Judges) -> None:
    for form, kind in product(FORMS, KINDS):
        (verdict,) = judged(judges, form, [Document(kind, "{}")])
        assert verdict.accepted.keys() == EXPECTED_JUDGES[form, kind != "campaign_template"]


def test_the_judges_agree_on_drawn_documents(judges: Judges) -> None:
    result = judge_drawn(judges, 480)
    assert not result.disagreements, "\n".join(map(str, result.disagreements))
    for form, kind, word in product(FORMS, KINDS, ("accepted", "refused")):
        assert result.tally[f"{form} {kind}: {word}"] > 0, result.tally
    assert result.tally["known differences"] > 0, result.tally


def test_the_judges_agree_on_the_published_fixtures(judges: Judges) -> None:
    for folder in ("valid", "invalid"):
        for fixture in fixtures(folder):
            # The library reads only the newest version of a schema.
            if fixture.schema == load_schema(f"{fixture.kind}.{fixture.form}")["$id"]:
                document = Document(fixture.kind, fixture.text)
                (verdict,) = judged(judges, fixture.form, [document])
                assert not verdict.disagreeing, f"{fixture.name}\n{verdict}"
                assert bool(verdict.violations) == (folder == "invalid"), fixture.name


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.what[:60])
def test_exactly_the_named_judges_differ_on_the_examples_of_a_difference(
    judges: Judges, difference: Difference
) -> None:
    """Otherwise the list would excuse more than it names."""
    for document, form in product(difference.examples, FORMS):
        (verdict,) = judged(judges, form, [document])
        expected = set(difference.judges) if form in difference.forms else set()
        assert verdict.differing == {
            name for name in verdict.accepted if name.partition("-")[0] in expected
        }, verdict
        if expected:
            assert bool(verdict.violations) == difference.refused_by_library, verdict
            assert all(
                difference.covers(document, violation)
                for violation in verdict.violations or (None,)
            ), verdict


STEPS = '[{"step": 1, "channel": "email", "label": "A", "enabled": true, "needs_pdf": false, '
GOOD = Document("template_config", STEPS + '"variant_count": 1}]')
BAD = [
    Document("template_config", STEPS + more)
    for more in (
        '"variant_count": 4}]',
        # A known difference, beside a violation that no judge may accept.
        '"variant_count": 1.0, "label": 5}]',
        '"variant_count": 1, "x_": 9007199254740993, "config": []}]',
        '"variant_count": 1, "day_offset": "0", "day_offset": 1.5}]',
        '"variant_count": 1',
    )
]


@pytest.mark.parametrize("name", ["values", "ajv", "postgresql-18", "sqlite"])
def test_a_judge_that_always_gives_the_same_answer_disagrees(name: str) -> None:
    def always(answer: bool) -> Judges:  # noqa: FBT001 - the only argument
        return {name: lambda _form, _kind, texts: [answer] * len(texts)}

    for form in FORMS:
        assert [verdict.disagreeing for verdict in judged(always(False), form, [GOOD, *BAD])] == [
            {name},
            *[set()] * len(BAD),
        ]
        assert [verdict.disagreeing for verdict in judged(always(True), form, [GOOD, *BAD])] == [
            set(),
            *[{name}] * len(BAD),
        ]
