"""Test kit for developers of services (extra ``testing``).

``strategies`` draws the library's values with Hypothesis, and ``documents`` draws the JSON
documents of these values. ``store_machine`` and ``lifecycle_machine`` are state machines,
``plugin`` has the pytest fixtures, and ``contract`` has tests of a service's own database.
Importing this package alone loads no test library.
"""
