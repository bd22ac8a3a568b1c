from __future__ import annotations

import pytest

from campaign_model.store import assignment, connection, contact_moves, contacts


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every list of ids take several chunks."""
    monkeypatch.setattr(assignment, "_CHUNK", 3)
    monkeypatch.setattr(contacts, "_EXPORT_PAGE", 2)
    for module in (contact_moves, contacts):
        monkeypatch.setattr(module, "chunks", lambda values: connection.chunks(values, 3))
