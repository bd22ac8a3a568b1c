"""The loggers of the library. They are silent unless the program configures logging.

``docs/workers.md`` lists the records and their fields. No record has the data of a contact or the
parameters of a statement. Ids in ``extra`` are texts, so that a record can be written as JSON.
"""

from __future__ import annotations

import logging

_root = logging.getLogger("campaign_model")
_root.addHandler(logging.NullHandler())

store_log = _root.getChild("store")
"""Transitions, takeovers, and attempts at transactions."""

setup_log = _root.getChild("setup")
"""The wait of ``db.init`` and ``db.adopt`` for another of them."""

worker_log = _root.getChild("worker")
"""Exceptions of the host's functions, and workers that stop early."""
