"""The store contract: tests of what a database must do so that the store's promises hold on it.

A service runs them against its own database, which its own migrations built, with its own role and
through its own pooler: ``pytest -p campaign_model.testing.plugin --pyargs
campaign_model.testing.contract --campaign-model-url URL``. The docstring of each test says which
promise to users is broken when the test fails, and where to look.
"""
