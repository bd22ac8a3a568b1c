from __future__ import annotations

import pytest

from campaign_model.store import contacts, scope


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every list of ids take several chunks."""
    monkeypatch.setattr(contacts, "_ASSIGN_CHUNK", 3)
    monkeypatch.setattr(contacts, "_EXPORT_PAGE", 2)
    monkeypatch.setattr(contacts, "chunks", lambda values, size=3: scope.chunks(values, size))
