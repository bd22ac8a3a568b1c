"""No generated file differs from what it is generated from, and if one does, the check tells."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

import generate
from campaign_model.db.checks import checks
from campaign_model.store.tables import metadata
from generate.sql import checks_sql
from support.paths import ROOT
from support.transactions import on_postgresql


def test_no_generated_file_differs() -> None:
    differing = [str(path.relative_to(ROOT)) for path in generate.differing(ROOT)]
    assert differing == [], "run nox -s generate"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of all generated files."""
    for name in generate.FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def contents(root: Path) -> dict[str, str]:
    return {name: (root / name).read_text(encoding="utf-8") for name in generate.FILES}


@pytest.mark.parametrize("name", generate.FILES)
def test_a_file_that_differs_is_named_by_the_check_and_mended_without_it(
    name: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = contents(root)
    # In what is generated of a page, or anywhere in a file that has no such parts.
    before, comment, after = good[name].rpartition("<!-- end -->")
    (root / name).write_text(f"{before}wrong\n{comment}{after}", encoding="utf-8")
    wrong = contents(root)
    assert wrong != good
    assert generate.main(["--check"], root) == 1
    assert capsys.readouterr().out == f"{name}: differs; run nox -s generate\n"
    assert contents(root) == wrong
    assert generate.main([], root) == 0
    assert capsys.readouterr().out == f"{name}: written\n"
    assert contents(root) == good
    assert generate.main(["--check"], root) == 0
    assert capsys.readouterr().out == ""


def test_a_missing_file_differs(root: Path) -> None:
    (root / "schemas" / "lifecycle.json").unlink()
    assert generate.main(["--check"], root) == 1
    assert generate.main([], root) == 0
    assert generate.differing(root) == {}


PAGE = """\
Before.
<!-- generated: a table -->
old
<!-- end -->
Between.
<!-- generated: a diagram -->
<!-- end -->
After.
"""
PARTS = {"a table": lambda: "new", "a diagram": lambda: "drawn"}


def test_a_part_is_written_in_its_place_and_nowhere_else() -> None:
    written = generate.with_parts(PAGE, PARTS)
    assert written.replace("\n\n", "\n") == PAGE.replace("old", "new").replace(
        "diagram -->\n", "diagram -->\ndrawn\n"
    )
    assert generate.with_parts(written, PARTS) == written


@pytest.mark.parametrize(
    "page",
    ["", PAGE * 2, PAGE.replace("a table", "another table"), PAGE.replace("<!-- end -->", "", 1)],
    ids=["none", "two", "unknown", "endless"],
)
def test_every_part_has_one_place(page: str) -> None:
    with pytest.raises(ValueError, match="each of a table, a diagram once"):
        generate.with_parts(page, PARTS)


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_a_published_check_differs_from_the_real_one_by_line_breaks_only(dialect: str) -> None:
    published = " ".join(checks_sql(dialect).split())
    for conditions in checks(dialect).values():
        for condition in conditions.values():
            assert f"CHECK ( {condition} )" in published


DEFINITIONS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'c' AND connamespace = current_schema()::regnamespace
"""


@on_postgresql
def test_the_published_checks_build_what_the_migrations_build(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        built = {row[:2]: row[2] for row in connection.exec_driver_sql(DEFINITIONS)}
        assert {table for table, _ in built} <= set(metadata.tables)
        for table, name in built:
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        assert list(connection.exec_driver_sql(DEFINITIONS)) == []
        connection.exec_driver_sql(checks_sql("postgresql"))
        found = {row[:2]: row[2] for row in connection.exec_driver_sql(DEFINITIONS)}
        connection.rollback()
    assert found == built
