"""The store contract: tests of what a database must do so that the store's promises hold on it.

A service runs the tests against its own database, which its own migrations built, with its own role
and through its own pooler: ``pytest -p campaign_model.testing.plugin --pyargs
campaign_model.testing.contract --campaign-model-url URL``.

The docstring of each test has two parts, and the report of a failure repeats it. The first part is
the promise to users that the test checks. The second part begins with "If this fails" and names the
likely causes in the database, the pooler, or other programs that write to the tables.
"""
