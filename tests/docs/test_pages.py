"""The code in the pages of the documentation runs. ``support.pages`` says how."""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.testing.sample_campaigns import Tenant
from support import servers
from support.pages import Block, PageRun, list_pages, read_blocks
from support.paths import DOCS, ROOT
from support.tenants import new_tenant

BLOCKS = {page: read_blocks(page) for page in list_pages()}
CONTINUED = {
    page.parent / block.value
    for page, blocks in BLOCKS.items()
    for block in blocks
    if block.mark == "continues"
}
WITH_CODE = [
    page
    for page, blocks in BLOCKS.items()
    if page not in CONTINUED and any(block.runs for block in blocks)
]


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Undo what a page does to the loggers: later tests read their records."""
    loggers = [logging.getLogger(name) for name in (None, "campaign_model")]
    before = [(logger, logger.level, [*logger.handlers]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def page_tenant(schema: Callable[[str], str]) -> Iterator[Tenant]:
    """Make a tenant in a database of its own."""
    engine = db.prepare_engine(sa.create_engine(schema("sqlite")))
    yield new_tenant(engine)
    engine.dispose()


LONG = {DOCS / "tutorial" / "postgresql.md"}
"""Pages whose code takes more than three seconds."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.long] if page in LONG else []) for page in WITH_CODE],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_code_of_a_page_runs(
    page: Path, page_tenant: Tenant, new_database: Callable[..., str], tmp_path: Path
) -> None:
    names = {"tenant": page_tenant, "engine": page_tenant.engine, "tenant_id": page_tenant.id}
    newest = servers.postgresql()[-1:]
    url = new_database(*newest) if newest and page.parent.name in {"tutorial", "how-to"} else ""
    variables = {
        "CAMPAIGN_MODEL_URL": page_tenant.engine.url.render_as_string(hide_password=False),
        "CAMPAIGN_MODEL_TENANT": str(page_tenant.id),
    }
    run = PageRun(tmp_path, {"__name__": page.stem, **names}, variables, url)
    run.run(BLOCKS[page])
    for value in run.names.values():
        if isinstance(value, sa.Engine):
            value.dispose()


def marked(mark: str) -> list[Block]:
    return [block for blocks in BLOCKS.values() for block in blocks if block.mark == mark]


@pytest.mark.parametrize("block", marked("run by"), ids=str)
def test_a_block_that_another_test_runs_names_a_test(block: Block) -> None:
    path, _, name = block.value.partition("::")
    module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}


def test_few_blocks_do_not_run() -> None:
    assert [str(block) for block in marked("not run") if block.language == "python"] == []
    assert len(marked("not run")) <= 5


def test_a_failure_names_the_page_and_the_line(tmp_path: Path) -> None:
    page = DOCS / "sample.md"
    blocks = [Block(page, 7, "python", "x = 1\n\n1 / 0\n")]
    with pytest.raises(ZeroDivisionError) as caught:
        PageRun(tmp_path, {}, {}, "").run(blocks)
    place = caught.traceback[-1]
    assert (str(place.path), place.lineno + 1) == (str(page), 10)
    assert caught.value.__notes__ == ["in the block at docs/sample.md:7"]
