"""The examples in the README and the guides run and print what they promise."""

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

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from campaign_model import db, iter_violations
from campaign_model.claims import Generated, Outcome
from campaign_model.lifecycle import Status
from campaign_model.store.tables import campaigns as campaigns_table
from campaign_model.testing.parallel import wait_until
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from campaign_model.worker import AsyncTask
from support.drivers import ASYNC_DRIVERS
from support.paths import ROOT
from support.tenants import contact_rows, new_tenant, update_row


def code_blocks(language: str, page: str = "README.md") -> list[str]:
    """Return the fenced code blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_readme_example_prints_what_its_comment_says(tmp_path: Path) -> None:
    (example,) = code_blocks("python")
    completed = run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout == example.rpartition("# ")[2]


def test_the_lifecycle_example_prints_what_its_comments_say() -> None:
    (example,) = code_blocks("python", "docs/lifecycle.md")
    output = check_output([sys.executable, "-c", example], text=True)
    assert output == "".join(re.findall(r"^# (.*\n)", example, re.MULTILINE))


def test_the_document_in_the_guide_has_no_violation() -> None:
    document, settings = code_blocks("json", "docs/documents.md")
    assert iter_violations(settings, "generation_config") == ()
    assert list(iter_violations(document, "campaign_template")) == []


def test_the_code_in_the_message_engine_guide_is_an_excerpt_of_the_engine() -> None:
    engine = (ROOT / "docs/message_engine/engine.py").read_text(encoding="utf-8")
    excerpts = code_blocks("python", "docs/message_engine/README.md")
    assert excerpts
    for excerpt in excerpts:
        assert remove_indents(excerpt) in remove_indents(engine)


def remove_indents(code: str) -> str:
    return re.sub(r"^ +", "", code, flags=re.MULTILINE)


def test_the_worker_pool_example_generates_for_every_tenant_until_sigterm(
    engine_name: str, schema: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    (example,) = code_blocks("python", "docs/workers.md")
    guide: dict[str, Any] = {}
    exec(example, guide)  # noqa: S102
    engine = db.prepare_engine(sa.create_engine(schema(engine_name), pool_size=20))
    worlds = [new_tenant(engine) for _ in range(3)]
    campaigns = [
        (tenant, tenant.campaign(Status.GENERATING, budget=budget).id)
        for tenant in worlds
        for budget in (None, Decimal(1))
    ]
    # Another program has written a number that no double holds.
    unreadable = worlds[0].campaign(Status.GENERATING)
    steps = '[{"channel": "email", "words": 9007199254740993}]'
    update_row(worlds[0], campaigns_table, unreadable.id, template_config=steps)

    def nothing_else_is_left() -> bool:
        return {one.campaign_id for one in db.generating(engine)} == {unreadable.id}

    async def generate(task: AsyncTask) -> Outcome:
        await task.checkpoint(Decimal("0.01"))
        return Generated(Decimal(0))

    async def main() -> None:
        pool = asyncio.create_task(guide["pool"](engine, generate, reserve=Decimal("0.01")))
        await asyncio.to_thread(wait_until, nothing_else_is_left, "all is generated")
        os.kill(os.getpid(), signal.SIGTERM)
        await pool

    asyncio.run(main())
    # The log names the campaign that is set aside, once for each visitor at most.
    logged = [record.getMessage() for record in caplog.records if record.name == "root"]
    expected = f"campaign {unreadable.id} of tenant {worlds[0].id} is set aside"
    assert {*logged} == {expected}
    assert len(logged) <= 4
    for tenant, id_ in campaigns:
        assert {row.status for row in contact_rows(tenant, id_).values()} == {"generated"}
        tenant.check_totals(id_)
    engine.dispose()


def test_the_example_of_an_asynchronous_service_works(tenant: Tenant) -> None:
    guide: dict[str, Any] = {}
    for example in code_blocks("python", "docs/drivers.md"):
        exec(example, guide)  # noqa: S102
    url = tenant.engine.url
    url = url.set(drivername=ASYNC_DRIVERS[url.get_backend_name()])

    async def main() -> None:
        engine = guide["make_engine"](url.render_as_string(hide_password=False))
        assert await guide["set_up"](engine) is not None
        await guide["add_campaign"](engine, tenant.id, "Spring", STEPS)
        async with AsyncSession(engine) as session:
            (campaign,) = (await guide["list_campaigns"](session, tenant.id)).items
        assert campaign.name == "Spring"
        await engine.dispose()

    asyncio.run(main())


def test_the_readme_example_has_at_most_20_lines() -> None:
    (example,) = code_blocks("python")
    lines = [line for line in example.splitlines() if line.strip()]
    assert sum(not line.startswith(("import ", "from ")) for line in lines) <= 20


def test_the_readme_begins_with_one_line_commands_for_the_demo_and_the_tests() -> None:
    demo, tests = code_blocks("sh")[:2]
    assert demo.count("\n") == tests.count("\n") == 1
    assert demo.rstrip().endswith("campaign-model demo")
    assert tests.rstrip().endswith("nox -s tests")
