"""docs/database-errors.md has the table of the store, line by line."""

from __future__ import annotations

import re

from campaign_model.store.database_errors import REMEDIES
from support.paths import DOCS


def test_the_page_has_the_table_of_the_store() -> None:
    page = (DOCS / "database-errors.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (\w+) \| ([\w ]+) \| (.+) \|$", page, re.MULTILINE)
    assert lines == [(state, str(remedy), reason) for state, (remedy, reason) in REMEDIES.items()]
