"""The CHECK constraints as SQL files, for people who review them or apply them by hand.

No program reads these files. So they are in docs/, and not in schemas/, which is installed.
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
-- Every CHECK constraint of the schema on PostgreSQL, for review. The migrations add them. To add
-- them by hand, run one statement at a time: each ADD locks the table only briefly, and each
-- VALIDATE reads the existing rows while other sessions write.
"""
_SQLITE = """\
-- Written by `nox -s generate` from campaign_model.db.checks; do not edit.
--
-- Every CHECK constraint of the schema on SQLite, for review. They are part of CREATE TABLE: SQLite
-- cannot add a constraint to a table. It also allows no subquery in a constraint, so the condition
-- on a step is repeated for every position.
"""


def checks_sql(dialect: str) -> str:
    """Return every CHECK constraint on ``dialect``, table by table."""
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
    """Return the SQL that adds a constraint, or for SQLite only the constraint."""
    constraint = f"ck_{table}_{name}"
    body = "\n".join((f"CONSTRAINT {constraint} CHECK (", *_lines(condition, 4), ")"))
    if dialect == "postgresql":
        return (
            f"ALTER TABLE {table} ADD {body} NOT VALID;\n"
            f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};\n"
        )
    return f"-- on {table}\n{body}\n"


def _lines(text: str, indent: int) -> Iterator[str]:
    """Break a long text at its operators, the ones in the outermost parentheses first."""
    # (depth of parentheses, index) of every space before an operator.
    places = [
        (text.count("(", 0, space.start()) - text.count(")", 0, space.start()), space.start())
        for space in re.finditer(
            r"(?<!BETWEEN \d) (?=(AND|OR|&&|[|]{2}|THEN|WHEN|ELSE|END)( |$))", text
        )
    ]
    if not places or indent + len(text) <= _WIDTH:
        yield " " * indent + text
        return
    outermost, _ = min(places)
    first, *others = [index for depth, index in places if depth == outermost]
    yield from _lines(text[:first], indent)
    for start, end in pairwise((first, *others, len(text))):
        yield from _lines(text[start + 1 : end], indent + 4 * (outermost > 0))
