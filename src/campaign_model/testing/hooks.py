"""Hooks with which a service describes its own database to the store contract.

Implement those whose defaults do not fit, in the ``conftest.py`` of the directory where you start
pytest or in a plugin. An implementation may leave out arguments. The fixtures ``campaign_store``
and ``campaign_tenant`` call none of them, because they have a database of their own.
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
    """Return the engine for ``--campaign-model-url``, made in the same way as the service's own.

    Use the same driver, pool, arguments and event listeners, so that the contract tests what the
    service uses. The contract opens at most nine connections at the same time. The default is
    ``db.prepare_engine(sa.create_engine(url))``.
    """


@pytest.hookspec(firstresult=True)
def pytest_campaign_model_host_tables() -> HostTables | None:
    """Return the names of the host tables. The default is ``HostTables()``."""


@pytest.hookspec(firstresult=True)
def pytest_campaign_model_host_rows(
    connection: sa.Connection, host: HostTables, contacts: int
) -> tuple[UUID, Sequence[UUID]] | None:
    """Insert a tenant and ``contacts`` contacts of it; return the tenant's id and the contact ids.

    The contract calls this twice in a run, in a transaction that it commits. The default inserts
    rows for the minimal host tables: an id, the tenant's id, and a name for the tenant.
    """


@pytest.hookspec(firstresult=True)
def pytest_campaign_model_remove_host_rows(
    connection: sa.Connection, host: HostTables, tenant_id: UUID, contact_ids: Sequence[UUID]
) -> bool | None:
    """Delete the rows that ``pytest_campaign_model_host_rows`` inserted, and return ``True``.

    The contract calls this at the end of the run, after it has deleted the library's rows. The
    default deletes the rows by their ids.
    """
