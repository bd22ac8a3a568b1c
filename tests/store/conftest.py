from __future__ import annotations

from collections.abc import Iterator

import pytest

from campaign_model.store import assignment, connection, contact_moves, contacts
from support.sharding import StoreStatements


@pytest.fixture(autouse=True)
def judged_statements() -> Iterator[None]:
    """Check that every statement of the store in every test keeps the rules of sharding."""
    with StoreStatements() as statements:
        yield
    assert statements.broken == []


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every list of ids take several chunks."""
    monkeypatch.setattr(assignment, "_CHUNK", 3)
    monkeypatch.setattr(contacts, "_EXPORT_PAGE", 2)
    for module in (contact_moves, contacts):
        monkeypatch.setattr(module, "chunks", lambda values: connection.chunks(values, 3))
