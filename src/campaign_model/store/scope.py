"""The scope: what all parts of one store share, such as the connection and the tenant."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model._values import checked_id, optional_text, utc
from campaign_model.campaign import MAX_ACTOR
from campaign_model.claims import MAX_DURATION
from campaign_model.errors import InvalidArgument
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import StepSequence
from campaign_model.store.connection import Clock, database_time
from campaign_model.store.tables import HostTables, campaigns
from campaign_model.store.tenant_setting import choose_tenant
from campaign_model.store.types import FIRST_MOMENT, LAST_MOMENT
from campaign_model.wire import DEFAULT, Codec

SHARDS = 8
"""The number of rows ("shards") that hold the totals of a running campaign.

Each call of a worker changes one of them, so that workers do not wait for the lock of one row.
"""

_LATEST = LAST_MOMENT - MAX_DURATION


def _actor(value: Any) -> str | None:
    return optional_text(value, "actor", MAX_ACTOR)


@attrs.frozen
class Scope:
    """What all parts of one store share, for one transaction. Most are arguments of the store.

    ``shard`` is the row of totals that the workers' calls of this store change.
    """

    _connection: sa.Connection
    tenant_id: UUID
    actor: str | None = attrs.field(default=None, converter=_actor)
    clock: Clock = database_time
    codec: Codec = DEFAULT
    host: HostTables = attrs.field(factory=HostTables)
    # Uses `random`, which Hypothesis seeds, so that shard collisions are reproducible.
    shard: int = attrs.field(factory=lambda: random.randrange(SHARDS))  # noqa: S311 - no secret

    @property
    def connection(self) -> sa.Connection:
        """The connection. Its next statement runs with the setting of this store's tenant."""
        choose_tenant(self._connection, self.tenant_id)
        return self._connection

    @property
    def on_postgresql(self) -> bool:
        """Whether the database is PostgreSQL, and not SQLite."""
        return self._connection.dialect.name == "postgresql"

    def now(self) -> datetime:
        """Return the time by the store's clock, in UTC.

        Raises :class:`InvalidArgument` if the database could not store the end of a lease from then
        on.
        """
        moment = utc(self.clock(self.connection))
        if not FIRST_MOMENT <= moment <= _LATEST:
            message = f"the clock is from {FIRST_MOMENT} to {_LATEST}, not {moment}"
            raise InvalidArgument("clock", message)
        return moment

    def time_of_clock(self) -> datetime | None:
        """Return the time if a test set a clock; None if statements use the database's clock."""
        return None if self.clock is database_time else self.now()

    def of_tenant(self, table: Any) -> sa.ColumnElement[bool]:
        """Build the condition that keeps a statement within the tenant."""
        condition: sa.ColumnElement[bool] = table.c.tenant_id == self.tenant_id
        return condition

    def of_campaign(self, table: Any, campaign_id: UUID) -> sa.ColumnElement[bool]:
        """Build the condition that keeps a statement within one campaign of the tenant."""
        column = table.c.id if table is campaigns else table.c.campaign_id
        return sa.and_(self.of_tenant(table), column == checked_id(campaign_id, "campaign_id"))

    def steps(self, campaign_row: Any) -> StepSequence:
        """Read the steps in a row of campaigns."""
        return self.codec.recover_template_config(campaign_row.template_config).value

    def config(self, campaign_row: Any) -> GenerationConfig:
        """Read the generation settings in a row of campaigns."""
        return self.codec.recover_generation_config(campaign_row.generation_config).value
