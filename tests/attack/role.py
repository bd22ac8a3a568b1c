"""The attacker's role under row-level security: it has the rights of a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import sqlalchemy as sa

from campaign_model import db
from support.tenants import HOST


@contextmanager
def service_role(engine: sa.Engine) -> Iterator[sa.Engine]:
    """Install row-level security, and connect as a role with the privileges of ``db grants``."""
    db.install_row_security(engine)
    role = f"service_{uuid4().hex}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
        for grant in (*db.grants(role), f"GRANT SELECT ON {HOST.messages.name} TO {role}"):
            connection.exec_driver_sql(grant)
    service = sa.create_engine(engine.url.set(username=role))
    yield service
    service.dispose()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {role}")
        connection.exec_driver_sql(f"DROP ROLE {role}")
