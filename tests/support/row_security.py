"""A database with row-level security, and engines for the roles that use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model.db.adoption.legacy_database import CREATE_QUARANTINE
from campaign_model.db.adoption.tolerance import CREATE_TOLERATED_WRITES

HOST_TABLES = ("tenants", "owners", "contacts", "messages")


@attrs.frozen
class SecuredDatabase:
    """Engines of the superuser, and of roles that the policies bind or that bypass them.

    ``service`` has the privileges of ``db.grants`` and may write into the host's tables. ``owner``
    owns the tables. ``operator`` is the owner too, and has BYPASSRLS.
    """

    superuser: sa.Engine
    service: sa.Engine
    owner: sa.Engine
    operator: sa.Engine

    @property
    def service_role(self) -> str:
        """The name of the service's role."""
        return str(self.service.url.username)


@contextmanager
def secured_database(url: str) -> Iterator[SecuredDatabase]:
    """Add every table that the library can have to a database, and install row-level security."""
    names = [f"{use}_{uuid4().hex}" for use in ("service", "owner", "operator")]
    service, owner, operator = names
    superuser = db.prepare_engine(sa.create_engine(url))
    with superuser.begin() as connection:
        db.create_outbox(connection)
        for statement in (CREATE_QUARANTINE, CREATE_TOLERATED_WRITES):
            connection.exec_driver_sql(statement)
        statements = [f"CREATE ROLE {name} LOGIN" for name in names]
        statements += [f"ALTER ROLE {operator} BYPASSRLS", f"GRANT {owner} TO {operator}"]
        statements += [f"GRANT ALL ON SCHEMA public TO {owner}"]
        statements += [f"ALTER TABLE {name} OWNER TO {owner}" for name in table_names(connection)]
        # The function of the outbox runs with the rights of its owner.
        statements += [f"ALTER FUNCTION campaign_model_fill_outbox OWNER TO {owner}"]
        statements += db.grants(service)
        statements += [f"GRANT SELECT, INSERT ON {name} TO {service}" for name in HOST_TABLES]
        for statement in statements:
            connection.exec_driver_sql(statement)
    engines = [
        sa.create_engine(sa.make_url(url).set(username=name), pool_size=20) for name in names
    ]
    db.install_row_security(engines[1])
    yield SecuredDatabase(superuser, *engines)
    for engine in (superuser, *engines):
        engine.dispose()


def table_names(connection: sa.Connection) -> list[str]:
    """Return the names of all tables of the database."""
    return sa.inspect(connection).get_table_names()
