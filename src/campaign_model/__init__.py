"""What an outreach campaign is, what may happen to it, and how its documents are read."""
