from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.cli import main
from campaign_model.testing.sample_campaigns import Tenant
from support.commands import Answer, Command
from support.tenants import new_tenant


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """A function that runs the command in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: bytes = b"") -> Answer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def own_database(
    engine_name: str, schema: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[sa.Engine]:
    """A database with the schema for one test. The commands use it without the option --url."""
    url = schema(engine_name)
    monkeypatch.setenv("CAMPAIGN_MODEL_URL", url)
    engine = db.prepare_engine(sa.create_engine(url))
    yield engine
    engine.dispose()


@pytest.fixture
def operated_tenant(own_database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Tenant:
    """A tenant of ``own_database``. The commands use it without the option --tenant."""
    tenant = new_tenant(own_database)
    monkeypatch.setenv("CAMPAIGN_MODEL_TENANT", str(tenant.id))
    return tenant
