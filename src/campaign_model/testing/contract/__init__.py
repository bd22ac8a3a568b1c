"""The store contract: what a database has to keep, so that the library's promises hold on it.

A service runs it against its own database, made by its own migrations and reached through its own
role and pooler: ``pytest -p campaign_model.testing.plugin --pyargs campaign_model.testing.contract
--campaign-model-url URL``. A test's docstring says which promise is broken when it fails, and
where to look.
"""
