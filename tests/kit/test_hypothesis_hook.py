"""``st.from_type`` draws every public type, and the hook disturbs no other project."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import _campaign_model_hypothesis
import campaign_model
from campaign_model import (
    Campaign,
    CampaignModelError,
    Outcome,
    Page,
    Recovered,
    Status,
    StepSequence,
)
from support.paths import ROOT

ANY_OUTCOME: Any = Outcome  # For type checkers, a union is not a type.
PUBLIC_TYPES: list[Any] = [
    member
    for name in campaign_model.__all__
    if isinstance(member := getattr(campaign_model, name), type)
]


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    # Where the package is installed, the entry point does this.
    _campaign_model_hypothesis.register()


@pytest.mark.parametrize("public", PUBLIC_TYPES, ids=lambda public: public.__name__)
def test_every_public_type_is_drawn(public: Any) -> None:
    drawn: set[Any] = set()

    @settings(max_examples=10, database=None)
    @given(st.from_type(public))
    def draw(value: Any) -> None:
        assert isinstance(value, public)
        drawn.add(value)

    draw()
    assert len(drawn) > 1


@settings(max_examples=10)
@given(st.from_type(ANY_OUTCOME), st.from_type(Status))
def test_unions_and_enumerations_are_drawn(outcome: Outcome, status: Status) -> None:
    assert isinstance(outcome, Outcome)
    assert isinstance(status, Status)


@settings(max_examples=20)
@given(st.from_type(Page[Campaign]), st.from_type(Recovered[StepSequence]), st.from_type(Page[int]))
def test_arguments_of_generic_types_are_drawn(
    campaigns: Page[Campaign], steps: Recovered[StepSequence], numbers: Page[int]
) -> None:
    assert {type(one) for one in campaigns.items} <= {Campaign}
    assert type(steps.value) is StepSequence
    assert {type(one) for one in numbers.items} <= {int}


def test_every_error_is_public() -> None:
    assert {*CampaignModelError.__subclasses__()} <= {*PUBLIC_TYPES}


# In new processes, as other projects in the environment run.


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory of packages with the metadata of an installed campaign-model."""
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    info = tmp_path / "campaign_model-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: campaign-model\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in entry_points["hypothesis"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[hypothesis]", *lines]))
    return tmp_path


def run_code(installed: Path, code: str, **environment: str) -> str:
    """Run ``code`` in a new process and return what it prints."""
    path = os.pathsep.join([str(installed), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=installed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOADED = """
import sys, {first}
ours = sorted(name for name in sys.modules if "campaign_model" in name)
print(*ours if len(ours) < 9 else [*ours[:1], len(ours)])
"""


def test_importing_hypothesis_loads_the_hook_and_nothing_else(installed: Path) -> None:
    loaded = run_code(installed, LOADED.format(first="hypothesis.strategies"))
    assert loaded == "_campaign_model_hypothesis"


RESOLVED = """
import sys
import {first}, {second}
from hypothesis import Phase, find, settings, strategies as st
assert not any(name.startswith("campaign_model.testing") for name in sys.modules)
quick = settings(phases=[Phase.generate])
# Without the hook, Hypothesis draws no times with a zone, so it cannot make a Renewal.
print(find(st.from_type(campaign_model.Renewal), lambda _: True, settings=quick).expires_at.year)
"""


@pytest.mark.parametrize(
    ("first", "second"), [("hypothesis", "campaign_model"), ("campaign_model", "hypothesis")]
)
def test_types_are_registered_in_either_order_of_imports(
    installed: Path, first: str, second: str
) -> None:
    assert run_code(installed, RESOLVED.format(first=first, second=second)) == "2026"


def test_a_broken_installation_does_not_break_hypothesis(installed: Path) -> None:
    (installed / "attrs.py").write_text("raise ImportError('half installed')")
    code = """
from hypothesis import find, strategies as st
try:
    import campaign_model
except ImportError as error:
    print(error, find(st.from_type(int), lambda n: n > 5))
import hypothesis.strategies
"""
    assert run_code(installed, code) == "half installed 6"


def test_the_hook_is_not_loaded_without_plugins(installed: Path) -> None:
    code = (
        "import sys, hypothesis, campaign_model; print('_campaign_model_hypothesis' in sys.modules)"
    )
    assert run_code(installed, code, HYPOTHESIS_NO_PLUGINS="1") == "False"


def test_the_library_alone_loads_neither_hypothesis_nor_the_hook(installed: Path) -> None:
    code = "import sys, campaign_model; print([m for m in sys.modules if 'hypothesis' in m])"
    assert run_code(installed, code) == "[]"
