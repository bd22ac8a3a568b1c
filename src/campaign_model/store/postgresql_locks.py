"""How the worker loop's statements for PostgreSQL lock the campaign.

Each text below is the beginning of a statement: a WITH that takes the campaign's gate (an advisory
lock, always shared), then locks the campaign row and reads it. ``postgresql.py`` has the statements
that continue them, and ``locking.py`` says which call takes which lock.
"""

from campaign_model.lifecycle import Status

# Take the gate and read the campaign row. Another tenant's campaign has no row here, so its gate
# stays untouched. Each text below adds how the row is locked, and closes the parenthesis.
_CAMPAIGN_BEHIND_GATE = """
WITH gate AS (
    SELECT pg_advisory_xact_lock_shared(:gate)
    FROM campaigns
    WHERE tenant_id = :tenant
      AND id = :campaign
),
campaign AS (
    SELECT status,
           CAST(template_config AS text) AS template_config,
           CAST(generation_config AS text) AS generation_config,
           coalesce(CAST(:now AS timestamptz), clock_timestamp()) AS now
    FROM gate
    CROSS JOIN campaigns
    WHERE tenant_id = :tenant
      AND id = :campaign
"""

# Lock the campaign row, shared.
LOCKED_CAMPAIGN = f"""
{_CAMPAIGN_BEHIND_GATE}
    FOR SHARE OF campaigns
)
"""

# Lock the campaign row, shared, and read it only if the campaign is generating. If its status
# changed while the statement waited for the lock, there is no row, but the lock is held.
LOCKED_GENERATING = f"""
{_CAMPAIGN_BEHIND_GATE}
      AND status = '{Status.GENERATING}'
    FOR SHARE OF campaigns
)
"""

# Lock the campaign row exclusively, for late results: they write the legacy columns.
LOCKED_NOT_GENERATING = f"""
{_CAMPAIGN_BEHIND_GATE}
    FOR NO KEY UPDATE OF campaigns
)
"""

# Lock the campaign row exclusively, but fail at once (SQLSTATE 55P03) if another transaction has
# locked it.
LOCKED_WITHOUT_WAIT = f"""
{_CAMPAIGN_BEHIND_GATE}
    FOR NO KEY UPDATE OF campaigns NOWAIT
)
"""
