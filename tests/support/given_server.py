"""The server of ``--campaign-model-url``, which takes the place of the newest PostgreSQL.

Each test process makes databases of its own there, and drops them. In a Citus cluster, it makes
each database on every node and joins the nodes, as Citus demands for a new database; the tables are
distributed with the SQL of ``db.distribute_sql``.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from functools import cached_property
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from campaign_model import db

_SELECT_NODES = """
SELECT nodename, nodeport
FROM pg_dist_node
WHERE isactive AND noderole = 'primary'
ORDER BY groupid
"""


class GivenServer:
    """Makes databases on the server at ``url``, whose role may create databases."""

    def __init__(self, url: sa.URL) -> None:
        if url.get_backend_name() != "postgresql":
            raise pytest.UsageError(
                "--campaign-model-url names a PostgreSQL server for these tests"
            )
        self._url = url.set(drivername="postgresql+psycopg")
        self._made: set[str] = set()

    @cached_property
    def _nodes(self) -> list[sa.URL]:
        """The nodes of a Citus cluster, the coordinator first; of another server, itself."""
        with _connection(self._url) as connection:
            if connection.execute("SELECT to_regclass('pg_dist_node')").fetchone() == (None,):
                return [self._url]
            nodes = connection.execute(_SELECT_NODES).fetchall()
        return [self._url.set(host=host, port=port) for host, port in nodes]

    @property
    def is_citus(self) -> bool:
        """Whether the server is a node of a Citus cluster."""
        return len(self._nodes) > 1

    def describe(self) -> str:
        """Return the version of the server in words."""
        query = "SELECT citus_version()" if self.is_citus else "SELECT version()"
        with _connection(self._url) as connection:
            rows = connection.execute(query.encode()).fetchall()
        return " ".join(str(rows[0][0]).split()[:2])

    def create(self, template: str | None = None) -> str:
        """Make a database; return its URL. In a Citus cluster, no database can be copied.

        There, the copy of a ``template`` is a new database with the schema and host tables.
        """
        name = f"campaign_model_{uuid4().hex}"
        self._made.add(name)
        url = self._url.set(database=name)
        original = "template1"
        if template is not None and not self.is_citus:
            original = str(sa.make_url(template).database)
        self._run_on_each_node(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(original)
            )
        )
        if self.is_citus:
            coordinator, *workers = (node.set(database=name) for node in self._nodes)
            for node in (coordinator, *workers):
                _execute(node, ["CREATE EXTENSION citus"])
            join = [_call("citus_set_coordinator_host", coordinator)]
            _execute(coordinator, [*join, *(_call("citus_add_node", node) for node in workers)])
            if template is not None:
                self.build_schema(url)
        return url.render_as_string(hide_password=False)

    def build_schema(self, url: str | sa.URL) -> None:
        """Build the schema and the host tables. Distribute them in a Citus cluster."""
        coordinator = self._nodes[0].set(database=sa.make_url(url).database)
        engine = sa.create_engine(coordinator, poolclass=sa.NullPool)
        db.init(engine, with_host_tables=True)
        if self.is_citus:
            # One by one, as psql sends them. Each statement is one line.
            lines = db.distribute_sql().splitlines()
            _execute(coordinator, [line for line in lines if line and not line.startswith("--")])

    def drop(self, url: str) -> None:
        """Remove a database that :meth:`create` made."""
        name = str(sa.make_url(url).database)
        self._run_on_each_node(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )
        self._made.remove(name)

    def close(self) -> None:
        """Remove every database that is left."""
        for name in [*self._made]:
            self.drop(self._url.set(database=name).render_as_string(hide_password=False))

    def _run_on_each_node(self, statement: sql.Composed) -> None:
        # A setting decides whether the coordinator passes the statement on: switch that off.
        for node in self._nodes:
            with _connection(node) as connection:
                if self.is_citus:
                    connection.execute("SET citus.enable_create_database_propagation = off")
                connection.execute(statement)


def _call(function: str, node: sa.URL) -> str:
    return f"SELECT {function}('{node.host}', {node.port})"


def _execute(url: sa.URL, statements: Iterable[str]) -> None:
    with _connection(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _connection(url: sa.URL) -> closing[psycopg.Connection]:
    target = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return closing(psycopg.connect(target, autocommit=True))
