"""Campaigns in a database, as one tenant and in the caller's transaction."""

from campaign_model.store.store import CampaignStore, is_retryable, transact
from campaign_model.store.tables import HostTables

__all__ = ["CampaignStore", "HostTables", "is_retryable", "transact"]
