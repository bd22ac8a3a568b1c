"""Hooks with which a service describes its own database to the contract tests.

Implement the hooks whose defaults do not fit: in a plugin, or in the ``conftest.py`` of the
directory where you start pytest. An implementation may leave out arguments. The fixtures
``campaign_store`` and ``campaign_tenant`` call no hook, because they have a database of their own.
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

    Use the same driver, pool, arguments and event listeners, so that the tests use what the service
    uses. They open at most nine connections at the same time. The default is
    ``db.prepare_engine(sa.create_engine(url))``. If the driver is asynchronous, it is the
    ``sync_engine`` of an ``AsyncEngine`` without a pool.
    """


@pytest.hookspec(firstresult=True)
def pytest_campaign_model_host_tables() -> HostTables | None:
    """Return the names of the host tables. The default is ``HostTables()``."""


@pytest.hookspec(firstresult=True)
def pytest_campaign_model_host_rows(
    connection: sa.Connection, host: HostTables, contacts: int
) -> tuple[UUID, Sequence[UUID]] | None:
    """Insert a tenant with ``contacts`` contacts; return the tenant's id and the contact ids.

    A run of the contract tests calls this hook twice, in one transaction, and commits. The default
    fills the columns of the minimal host tables: ids, the tenant's id in each contact, and a name
    for the tenant.
    """


@pytest.hookspec(firstresult=True)
def pytest_campaign_model_remove_host_rows(
    connection: sa.Connection, host: HostTables, tenant_id: UUID, contact_ids: Sequence[UUID]
) -> bool | None:
    """Delete the rows that ``pytest_campaign_model_host_rows`` inserted, and return ``True``.

    A run of the contract tests calls this hook at its end, after it has deleted the library's rows.
    The default deletes the tenant and the contacts by their ids.
    """
