"""The totals of a campaign, counted from its contacts.

``TOTALS`` is the rule: what each total is, as a list of aggregates over contacts. The audit, the
repair and ``SELECT_DRIFTED`` all use it. Totals are only written while no worker of this library
runs, so they all go into shard 0.
"""

from __future__ import annotations

from campaign_model.lifecycle import ContactStatus

__all__ = ["SELECT_DRIFTED", "TOTALS", "TOTAL_COLUMNS", "write_totals"]

TOTAL_COLUMNS = (*(status.value for status in ContactStatus), "cost", "unknown_costs")
"""The columns of ``campaign_totals`` that follow from the contacts."""

# Aggregates over rows with status, generation_cost and unknown_costs, named as in campaign_totals.
TOTALS = ",\n        ".join(
    (
        *(f"count(*) FILTER (WHERE status = '{status}') AS {status}" for status in ContactStatus),
        "sum(generation_cost) AS cost",
        "sum(unknown_costs) AS unknown_costs",
    )
)

_SUMS = ",\n        ".join(f"sum({name}) AS {name}" for name in TOTAL_COLUMNS)
_DIFFER = "\n    OR ".join(
    f"coalesce(counted.{name}, 0) <> coalesce(recorded.{name}, 0)" for name in TOTAL_COLUMNS
)

# The first thousand campaigns whose totals are not those of their contacts.
SELECT_DRIFTED = f"""
SELECT campaign_id
FROM (
    SELECT
        campaign_id,
        {TOTALS}
    FROM campaign_contacts
    GROUP BY campaign_id
) AS counted
FULL JOIN (
    SELECT
        campaign_id,
        {_SUMS}
    FROM campaign_totals
    GROUP BY campaign_id
) AS recorded USING (campaign_id)
WHERE
    {_DIFFER}
ORDER BY campaign_id
LIMIT 1000"""


def write_totals(*, recount: bool) -> str:
    """Write a CTE that writes the totals of a batch, from the CTEs ``campaign`` and ``total``.

    A campaign gets a row if it has contacts, or has a row already.
    """
    columns = ", ".join(TOTAL_COLUMNS)
    values = ",\n        ".join(f"coalesce(total.{name}, 0)" for name in TOTAL_COLUMNS)
    changes = ",\n        ".join(f"{name} = excluded.{name}" for name in TOTAL_COLUMNS)
    return f"""
written_total AS (
    INSERT INTO campaign_totals (tenant_id, campaign_id, shard, {columns})
    SELECT
        campaign.tenant_id, campaign.id, 0,
        {values}
    FROM campaign
    LEFT JOIN total ON total.campaign_id = campaign.id
    WHERE {"true" if recount else "false"}
        AND (
            total.campaign_id IS NOT NULL
            OR EXISTS (
                SELECT
                FROM campaign_totals AS recorded
                WHERE recorded.tenant_id = campaign.tenant_id AND recorded.campaign_id = campaign.id
            )
        )
    ON CONFLICT (tenant_id, campaign_id, shard) DO UPDATE
    SET
        {changes},
        low_watermark = NULL
)"""
