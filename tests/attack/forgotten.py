"""Plants leaks: statements of the store that have forgotten the tenant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from attack.attack import Attack

_OF_TENANT = re.compile(
    r"(?:\w+\.)?tenant_id = "
    r"(%\(\w+\)s(?:::\w+)?|\?|\(SELECT (?:%\(\w+\)s(?:::\w+)?|\?|CAST\(\? AS \w+\))(?: AS \w+)?\))"
)
"""The condition that keeps a statement within the tenant, as SQLAlchemy compiles it."""


@contextmanager
def forgotten_tenant(attack: Attack, *, first_only: bool = False) -> Iterator[None]:
    """While the block runs, the statements of the attacked methods have no condition on the tenant.

    With ``first_only``, only the first statement of each call that has such a condition lacks it.
    """
    engine, answer = attack.attacker_engine, attack._answer
    is_armed = False

    def forget(*arguments: Any) -> tuple[str, Any]:
        nonlocal is_armed
        _, _, statement, parameters, _, _ = arguments
        if is_armed and _OF_TENANT.search(statement):
            is_armed = not first_only
            statement = _OF_TENANT.sub(r"(\1 IS NOT NULL)", statement)
        return statement, parameters

    def answer_forgetfully(*call: Any) -> str:
        nonlocal is_armed
        is_armed = True
        try:
            return answer(*call)
        finally:
            is_armed = False

    setattr(attack, "_answer", answer_forgetfully)  # noqa: B010 - not an assignment for mypy
    sa.event.listen(engine, "before_cursor_execute", forget, retval=True)
    try:
        yield
    finally:
        sa.event.remove(engine, "before_cursor_execute", forget)
