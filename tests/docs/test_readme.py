"""What the README shows works as it stands there."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from subprocess import check_output, run
from typing import Any

import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Generated, Outcome
from campaign_model.lifecycle import Status
from campaign_model.testing.parallel import wait_until
from campaign_model.worker import AsyncTask
from support.paths import ROOT
from support.tenants import contact_rows, new_tenant


def blocks(language: str, page: str = "README.md") -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_example_runs_and_says_what_it_promises(tmp_path: Path) -> None:
    (example,) = blocks("python")
    done = run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"# (\S+)$", example, re.MULTILINE)
    assert float(done.stdout) == float(example.rpartition("# ")[2])


def test_the_example_about_the_lifecycle_says_what_it_promises() -> None:
    (example,) = blocks("python", "docs/lifecycle.md")
    said = check_output([sys.executable, "-c", example], text=True)
    assert said == "".join(re.findall(r"^# (.*\n)", example, re.MULTILINE))


def test_the_pool_in_the_guide_serves_every_tenant_until_sigterm(
    engine_name: str, schema: Callable[[str], str]
) -> None:
    (example,) = blocks("python", "docs/workers.md")
    guide: dict[str, Any] = {}
    exec(example, guide)  # noqa: S102
    engine = db.prepare_engine(sa.create_engine(schema(engine_name), pool_size=20))
    worlds = [new_tenant(engine) for _ in range(3)]
    campaigns = [
        (tenant, tenant.campaign(Status.GENERATING, budget=budget).id)
        for tenant in worlds
        for budget in (None, Decimal(1))
    ]

    async def generate(task: AsyncTask) -> Outcome:
        await task.checkpoint(Decimal("0.01"))
        return Generated(Decimal(0))

    async def main() -> None:
        pool = asyncio.create_task(guide["pool"](engine, generate, reserve=Decimal("0.01")))
        await asyncio.to_thread(wait_until, lambda: not db.generating(engine), "all is generated")
        os.kill(os.getpid(), signal.SIGTERM)
        await pool

    asyncio.run(main())
    for tenant, id_ in campaigns:
        assert {row.status for row in contact_rows(tenant, id_).values()} == {"generated"}
        tenant.check_totals(id_)
    engine.dispose()


def test_the_example_is_short() -> None:
    (example,) = blocks("python")
    code = [line for line in example.splitlines() if line.strip()]
    assert len(code) - sum(line.startswith(("import ", "from ")) for line in code) <= 20


def test_the_commands_are_single_lines() -> None:
    demo, tests = blocks("sh")[:2]
    assert demo.count("\n") == tests.count("\n") == 1
    assert demo.rstrip().endswith("campaign-model demo")
    assert tests.rstrip().endswith("nox -s tests")
