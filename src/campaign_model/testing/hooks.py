"""Hooks by which a service tells the store contract about its own database.

Implement in the ``conftest.py`` of the directory where pytest is started, or in a plugin, those
that the defaults don't fit. They may leave out arguments. None of them is called for the fixtures
``campaign_store`` and ``campaign_tenant``, which bring a database along.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
import sqlalchemy as sa

from campaign_model.store import HostTables

__all__ = [
    "pytest_campaign_model_engine",
    "pytest_campaign_model_host_rows",
    "pytest_campaign_model_host_tables",
    "pytest_campaign_model_remove_host_rows",
]


@pytest.hookspec(firstresult=True)
def pytest_campaign_model_engine(url: sa.URL) -> sa.Engine | None:
    """The engine for the database of ``--campaign-model-url``, made as the service makes its own.

    With the same driver, pooling, arguments and event listeners, so that the contract meets what
    the service meets. The contract has at most nine connections open at once. By default
    ``db.prepare_engine(sa.create_engine(url))``.
    """


@pytest.hookspec(firstresult=True)
def pytest_campaign_model_host_tables() -> HostTables | None:
    """What the service calls the tables that the library refers to; ``HostTables()`` by default."""


@pytest.hookspec(firstresult=True)
def pytest_campaign_model_host_rows(
    connection: sa.Connection, host: HostTables, contacts: int
) -> tuple[UUID, Sequence[UUID]] | None:
    """Make a new tenant with so many ``contacts`` of its own: the tenant's id, and theirs.

    Called twice in a run, in a transaction that the contract commits. By default rows with an id,
    a tenant and nothing else (but a name for the tenant), as the minimal host tables take them.
    """


@pytest.hookspec(firstresult=True)
def pytest_campaign_model_remove_host_rows(
    connection: sa.Connection, host: HostTables, tenant_id: UUID, contact_ids: Sequence[UUID]
) -> bool | None:
    """Remove what ``pytest_campaign_model_host_rows`` made, at the end of the run; return ``True``.

    By then no row of the library's refers to them. By default they are deleted by their ids.
    """
