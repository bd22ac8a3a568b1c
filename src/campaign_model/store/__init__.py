"""Campaigns in a database, as one tenant and in the caller's transaction."""

from campaign_model.store.asynchronous import transact_async
from campaign_model.store.database_errors import is_retryable
from campaign_model.store.store import CampaignStore, StoreOptions
from campaign_model.store.tables import HostTables
from campaign_model.store.transactions import transact

__all__ = [
    "CampaignStore",
    "HostTables",
    "StoreOptions",
    "is_retryable",
    "transact",
    "transact_async",
]
