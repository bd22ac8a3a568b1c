"""``generating``: list the campaigns that need a worker, across all tenants.

The function is for operators of a pool of workers. It needs the rights of the schema's owner.
"""

from __future__ import annotations

from contextlib import nullcontext
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.db.setup import require_all_rows, require_usable_options
from campaign_model.lifecycle import ContactStatus
from campaign_model.store.tables import campaign_totals, campaigns, is_running
from campaign_model.store.totals import Totals, join_totals, sum_columns


@attrs.frozen
class Generating:
    """A campaign that needs a worker.

    ``waiting`` contacts can be claimed now, or after their pause. ``in_flight`` contacts are with
    workers, and can be claimed when their lease expires. If both are 0, the last worker died
    before it completed the generation, and the next worker completes it.
    """

    tenant_id: UUID
    campaign_id: UUID
    waiting: int
    in_flight: int


# The counts of every campaign that is generating, the longest running first. Money is left out:
# a sum that one campaign cannot have would hide the campaigns of all tenants.
_COUNTS = [column for column in sum_columns() if column.name in {*ContactStatus}]
_SELECT_GENERATING = (
    join_totals(sa.select(campaigns.c.tenant_id, campaigns.c.id, *_COUNTS), campaigns)
    .where(is_running)
    .group_by(campaigns.c.tenant_id, campaigns.c.id)
    .order_by(campaigns.c.generation_started_at, campaigns.c.id)
)


def generating(bind: sa.Engine | sa.Connection) -> tuple[Generating, ...]:
    """List every campaign of every tenant that is generating, the longest running first.

    ``bind`` is an engine, or a connection, such as the one that ``AsyncConnection.run_sync`` passes
    to a function. Raises :class:`SetupError` if row-level security hides rows from the role.
    """
    require_usable_options(bind)
    with nullcontext(bind) if isinstance(bind, sa.Connection) else bind.begin() as connection:
        require_all_rows(connection, (campaigns.name, campaign_totals.name))
        rows = connection.execute(_SELECT_GENERATING).mappings().all()
    totals = [(row, Totals.from_columns(row)) for row in rows]
    return tuple(
        Generating(
            row["tenant_id"], row["id"], total.waiting, total.counts[ContactStatus.GENERATING]
        )
        for row, total in totals
    )
