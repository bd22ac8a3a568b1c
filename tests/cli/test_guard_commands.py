"""The commands ``db guard``."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_model import db
from support.commands import Command


def test_the_guard_is_installed_examined_and_removed(
    command: Command, own_database: sa.Engine
) -> None:
    answer = command("db", "guard", "status", "--json")
    before = answer.json
    assert (answer.code, before["installed"]) == (1, [])
    answer = command("db", "guard", "status")
    assert answer.code == 1
    assert f"missing: {before['missing'][0]}" in answer.out
    assert "campaign-model db guard install" in answer.out

    answer = command("db", "guard", "install", "--json")
    assert (answer.code, answer.json) == (0, {"installed": before["missing"], "missing": []})
    assert command("db", "guard", "install").code == 0
    answer = command("db", "guard", "status")
    assert answer.code == 0
    assert f"{len(before['missing'])} triggers in place" in answer.out
    with own_database.begin() as connection:
        assert not db.read_guard(connection).missing

    answer = command("db", "guard", "remove", "--json")
    assert (answer.code, answer.json) == (0, before)
    answer = command("db", "guard", "remove")
    assert (answer.code, answer.out) == (0, "the guard is removed\n")
    assert command("db", "guard", "status").code == 1
