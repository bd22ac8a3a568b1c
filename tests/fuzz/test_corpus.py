"""What the fuzz session has kept still holds. ``nox -s fuzz`` looks for more."""

from __future__ import annotations

import json

import pytest

from campaign_model import wire
from fuzz import CORPUS, seeds
from fuzz.mutations import mutate_document
from fuzz.targets import TARGETS, check, check_document

INPUTS = sorted(CORPUS.iterdir())


@pytest.mark.long
def test_every_kept_input_passes() -> None:
    targets = set()
    for path in INPUTS:
        data = path.read_bytes()
        targets.add(data[0] % len(TARGETS))
        try:
            check(data)
        except Exception:
            print(f"input {path.name}: {data!r}")  # noqa: T201
            raise
    assert targets == {*range(len(TARGETS))}
    assert sum(path.stat().st_size for path in INPUTS) < 200_000


def test_the_seeds_pass() -> None:
    for data in [*seeds.inputs()][::23]:
        check(data)


def test_a_target_finds_a_reader_that_accepts_what_has_violations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire.Codec, "violations", lambda *_arguments, **_options: ())
    with pytest.raises((AssertionError, RuntimeError)):
        check_document("template_config", b"[]")


def test_a_mutation_keeps_a_document_json() -> None:
    document = b'0[{"channel": "email", "label": "A"}]'
    mutated = {mutate_document(document, seed) for seed in range(50)}
    assert len(mutated) > 25
    for each in mutated:
        assert each is not None
        json.loads(each[1:])
    assert mutate_document(b"0[", 1) is None
