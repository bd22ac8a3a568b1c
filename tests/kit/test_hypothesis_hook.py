"""``st.from_type`` draws every public type, and no other project ever notices how."""

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

ANY_OUTCOME: Any = Outcome  # A union is no type, say type checkers.
PUBLIC: list[Any] = [
    found
    for name in campaign_model.__all__
    if isinstance(found := getattr(campaign_model, name), type)
]


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    # As the entry point does where the package is installed.
    _campaign_model_hypothesis.register()


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.__name__)
def test_every_public_type_is_drawn_by_name(public: Any) -> None:
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
def test_unions_and_enumerations_need_no_help(outcome: Outcome, status: Status) -> None:
    assert isinstance(outcome, Outcome)
    assert isinstance(status, Status)


@settings(max_examples=20)
@given(st.from_type(Page[Campaign]), st.from_type(Recovered[StepSequence]), st.from_type(Page[int]))
def test_what_stands_in_the_brackets_is_drawn(
    campaigns: Page[Campaign], steps: Recovered[StepSequence], numbers: Page[int]
) -> None:
    assert {type(one) for one in campaigns.items} <= {Campaign}
    assert type(steps.value) is StepSequence
    assert {type(one) for one in numbers.items} <= {int}


def test_every_error_is_public() -> None:
    assert {*CampaignModelError.__subclasses__()} <= {*PUBLIC}


# --- In a process of its own, as any project of the environment has it --------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory of packages that says of ours what an installed one says."""
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    info = tmp_path / "campaign_model-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: campaign-model\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in entry_points["hypothesis"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[hypothesis]", *lines]))
    return tmp_path


def fresh(installed: Path, code: str, **environment: str) -> str:
    """What ``code`` prints in a new process."""
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
print(*ours if len(ours) < 9 else [*ours[:1], len(ours)], "attr" in sys.modules)
"""


def test_importing_hypothesis_imports_the_hook_and_nothing_else_of_ours(installed: Path) -> None:
    found = fresh(installed, LOADED.format(first="hypothesis.strategies"))
    assert found == "_campaign_model_hypothesis False"


RESOLVED = """
import sys
import {first}, {second}
from hypothesis import Phase, find, settings, strategies as st
assert not any(name.startswith("campaign_model.testing") for name in sys.modules)
quick = settings(phases=[Phase.generate])
# By itself Hypothesis draws no time with a zone, and cannot make one of these.
print(find(st.from_type(campaign_model.Renewal), lambda _: True, settings=quick).expires_at.year)
"""


@pytest.mark.parametrize(
    ("first", "second"), [("hypothesis", "campaign_model"), ("campaign_model", "hypothesis")]
)
def test_types_are_known_whichever_is_imported_first(
    installed: Path, first: str, second: str
) -> None:
    assert fresh(installed, RESOLVED.format(first=first, second=second)) == "2026"


def test_a_broken_install_of_ours_breaks_nobody_else(installed: Path) -> None:
    (installed / "attrs.py").write_text("raise ImportError('half installed')")
    code = """
from hypothesis import find, strategies as st
try:
    import campaign_model
except ImportError as error:
    print(error, find(st.from_type(int), lambda n: n > 5))
import hypothesis.strategies
"""
    assert fresh(installed, code) == "half installed 6"


def test_who_wants_no_plugins_gets_none(installed: Path) -> None:
    code = (
        "import sys, hypothesis, campaign_model; print('_campaign_model_hypothesis' in sys.modules)"
    )
    assert fresh(installed, code, HYPOTHESIS_NO_PLUGINS="1") == "False"


def test_production_loads_neither_hypothesis_nor_the_hook(installed: Path) -> None:
    code = "import sys, campaign_model; print([m for m in sys.modules if 'hypothesis' in m])"
    assert fresh(installed, code) == "[]"
