"""Generated files are up to date, and ``generate --check`` names those that are not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa

import generate
from campaign_model import lifecycle
from campaign_model.db.checks import checks
from campaign_model.store.tables import HostTables, metadata
from generate import diagrams
from generate.sql import checks_sql
from support.paths import ROOT
from support.transactions import on_postgresql


def test_every_generated_file_is_up_to_date() -> None:
    differing = [str(path.relative_to(ROOT)) for path in generate.differing(ROOT)]
    assert differing == [], "run nox -s generate"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with a copy of every generated file."""
    for name in generate.FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def read_all(root: Path) -> dict[str, str]:
    return {name: (root / name).read_text(encoding="utf-8") for name in generate.FILES}


def test_check_names_changed_files_and_generate_restores_them(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = read_all(root)
    for name, text in original.items():
        # Change the last generated part of a page, or the end of a file without such parts.
        before, comment, after = text.rpartition("<!-- end -->")
        (root / name).write_text(f"{before}wrong\n{comment}{after}", encoding="utf-8")
    changed = read_all(root)
    assert generate.main(["--check"], root) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{name}: differs; run nox -s generate" for name in generate.FILES]
    assert read_all(root) == changed
    assert generate.main([], root) == 0
    assert capsys.readouterr().out.splitlines() == [f"{name}: written" for name in generate.FILES]
    assert read_all(root) == original
    assert generate.main(["--check"], root) == 0
    assert capsys.readouterr().out == ""


def test_check_fails_and_generate_restores_a_missing_file(root: Path) -> None:
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


def test_a_generated_part_replaces_only_the_text_between_its_comments() -> None:
    written = generate.with_parts(PAGE, PARTS)
    assert written.replace("\n\n", "\n") == PAGE.replace("old", "new").replace(
        "diagram -->\n", "diagram -->\ndrawn\n"
    )
    assert generate.with_parts(written, PARTS) == written


@pytest.mark.parametrize(
    "page",
    ["", PAGE * 2, PAGE.replace("a table", "another table"), PAGE.replace("<!-- end -->", "", 1)],
    ids=["missing", "twice", "unknown", "without an end"],
)
def test_a_page_must_contain_every_part_exactly_once(page: str) -> None:
    with pytest.raises(ValueError, match="each of a table, a diagram once"):
        generate.with_parts(page, PARTS)


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_a_published_check_differs_from_the_code_only_in_line_breaks(dialect: str) -> None:
    published = " ".join(checks_sql(dialect).split())
    for conditions in checks(dialect).values():
        for condition in conditions.values():
            assert f"CHECK ( {condition} )" in published


DEFINITIONS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'c' AND connamespace = current_schema()::regnamespace
"""


@on_postgresql
def test_the_published_checks_create_the_constraints_of_the_migrations(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        migrated = {row[:2]: row[2] for row in connection.exec_driver_sql(DEFINITIONS)}
        assert {table for table, _ in migrated} <= set(metadata.tables)
        for table, name in migrated:
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        assert list(connection.exec_driver_sql(DEFINITIONS)) == []
        connection.exec_driver_sql(checks_sql("postgresql"))
        published = {row[:2]: row[2] for row in connection.exec_driver_sql(DEFINITIONS)}
        connection.rollback()
    assert published == migrated


def test_the_pictures_show_every_status_action_and_table() -> None:
    tables = lifecycle.to_dict()
    campaign, contact, library = (
        {*re.findall(r">([\w ()]+)</text>", draw())}
        for draw in (
            diagrams.campaign_lifecycle,
            diagrams.contact_lifecycle,
            diagrams.library_tables,
        )
    )
    assert campaign - {"delete (inactive)"} | {"delete"} == {
        *tables["statuses"],
        *tables["actions"],
    }
    assert contact >= {*tables["contact_statuses"], *tables["contact_actions"]}
    assert library >= {*metadata.tables, *attrs.astuple(HostTables())}


def test_a_move_without_a_place_in_the_picture_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = {key: route for key, route in diagrams.CONTACT_ROUTES.items() if key[0] != "retry"}
    monkeypatch.setattr(diagrams, "CONTACT_ROUTES", routes)
    with pytest.raises(ValueError, match="retry"):
        diagrams.contact_lifecycle()
