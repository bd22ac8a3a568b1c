"""The names inside the store that the test kit uses. It imports them through this module only."""

from campaign_model.store.assignment import POSITIONS
from campaign_model.store.campaign_rows import campaign_from_row
from campaign_model.store.connection import database_time, sqlstate
from campaign_model.store.deleting import deleting
from campaign_model.store.generation import OnLost
from campaign_model.store.scope import SHARDS
from campaign_model.store.statements import ATTEMPTS_EXHAUSTED
from campaign_model.store.templates import template_from_row
from campaign_model.store.tenant_setting import choose_tenant
from campaign_model.store.types import database_clock

__all__ = [
    "ATTEMPTS_EXHAUSTED",
    "POSITIONS",
    "SHARDS",
    "OnLost",
    "campaign_from_row",
    "choose_tenant",
    "database_clock",
    "database_time",
    "deleting",
    "sqlstate",
    "template_from_row",
]
