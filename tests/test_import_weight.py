from __future__ import annotations

import subprocess
import sys

import campaign_model

HEAVY = {"alembic", "hypothesis", "jsonschema", "rich", "sqlalchemy", "typer"}

FRESH = """
import sys
before = set(sys.modules)
import campaign_model
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_importing_the_package_loads_nothing_heavy() -> None:
    fresh = subprocess.run(
        [sys.executable, "-c", FRESH], check=True, stdout=subprocess.PIPE, text=True
    )
    loaded = set(fresh.stdout.split())
    assert "attr" in loaded
    assert not loaded & HEAVY, f"import campaign_model loaded {fresh.stdout}"


def test_every_public_name_exists() -> None:
    names = campaign_model.__all__
    assert len(names) == len(set(names))
    missing = [name for name in names if not hasattr(campaign_model, name)]
    assert not missing
