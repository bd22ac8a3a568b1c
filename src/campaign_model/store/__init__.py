"""Campaigns in a database, as one tenant and in the caller's transaction."""

from campaign_model.store.store import CampaignStore
from campaign_model.store.tables import HostTables
from campaign_model.store.transactions import is_retryable, transact

__all__ = ["CampaignStore", "HostTables", "is_retryable", "transact"]
