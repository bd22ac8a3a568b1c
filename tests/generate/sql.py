"""The CHECK constraints as SQL for people: to review, and to apply by hand where that is done.

No program reads these files: they stand in docs/, and not in schemas/ with what is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from campaign_model.db.checks import checks

_WIDTH = 100

_POSTGRESQL = """\
-- Written by `nox -s generate` from campaign_model.db.checks; do not edit.
--
-- Every CHECK constraint of the schema on PostgreSQL, for review. The migrations add them by
-- themselves; whoever does it by hand can run this, one statement at a time: each ADD holds the
-- table for a moment only, and each VALIDATE reads the rows that are there while others write.
"""
_SQLITE = """\
-- Written by `nox -s generate` from campaign_model.db.checks; do not edit.
--
-- Every CHECK constraint of the schema on SQLite, for review. They stand in CREATE TABLE: SQLite
-- cannot add a constraint to a table. Nor does it allow a subquery in one, which is why what holds
-- of a step is written out for each place that a step may have.
"""


def checks_sql(dialect: str) -> str:
    """Every CHECK constraint on ``dialect``, table by table."""
    return "\n".join(
        [
            _POSTGRESQL if dialect == "postgresql" else _SQLITE,
            *(
                _statement(dialect, table, name, condition)
                for table, conditions in checks(dialect).items()
                for name, condition in conditions.items()
            ),
        ]
    )


def _statement(dialect: str, table: str, name: str, condition: str) -> str:
    constraint = f"ck_{table}_{name}"
    body = "\n".join((f"CONSTRAINT {constraint} CHECK (", *_lines(condition, 4), ")"))
    if dialect == "postgresql":
        return (
            f"ALTER TABLE {table} ADD {body} NOT VALID;\n"
            f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};\n"
        )
    return f"-- on {table}\n{body}\n"


def _lines(text: str, indent: int) -> Iterator[str]:
    """``text``, with line breaks for some of its spaces: in the outermost parentheses first."""
    places = [
        (text.count("(", 0, found.start()) - text.count(")", 0, found.start()), found.start())
        for found in re.finditer(
            r"(?<!BETWEEN \d) (?=(AND|OR|&&|[|]{2}|THEN|WHEN|ELSE|END)( |$))", text
        )
    ]
    if not places or indent + len(text) <= _WIDTH:
        yield " " * indent + text
        return
    outermost, _ = min(places)
    first, *others = [at for depth, at in places if depth == outermost]
    yield from _lines(text[:first], indent)
    for start, end in pairwise((first, *others, len(text))):
        yield from _lines(text[start + 1 : end], indent + 4 * (outermost > 0))
