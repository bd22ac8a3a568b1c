"""The circuit breaker: a worker ends if something else than its contacts must be broken.

A revoked API key or a typo in ``generate`` fails every contact. After some equal failures without a
success in between, the worker ends, and the campaign stays generating.
"""

from __future__ import annotations

from collections import Counter

import attrs

from campaign_model.claims import Failed, Generated, Outcome
from campaign_model.worker.host_errors import GENERATE_FAILED, PUSH_FAILED, SAVE_FAILED

MAX_EQUAL_FAILURES = 10
"""A worker ends after so many equal failures in a row, unless it is told otherwise."""


@attrs.define(eq=False)
class CircuitBreaker:
    """Counts failures by code, and equal failures in a row.

    ``is_open`` becomes true after ``max_equal_failures`` of them, or never if that is ``None``.
    """

    max_equal_failures: int | None
    failures: Counter[str] = attrs.field(factory=Counter)
    is_open: bool = False
    _equal_failures: int = 0
    _last_failure: tuple[str, str] | None = None

    def count(self, outcome: Outcome) -> None:
        """Count an outcome that was recorded. Only ``Generated`` ends a row of failures.

        Failures with the same code are equal. Exceptions must have the same types too.
        """
        if isinstance(outcome, Generated):
            self._equal_failures, self._last_failure = 0, None
        elif isinstance(outcome, Failed):
            self.failures[outcome.code] += 1
            is_of_exception = outcome.code in (GENERATE_FAILED, SAVE_FAILED, PUSH_FAILED)
            failure = (outcome.code, outcome.message if is_of_exception else "")
            self._equal_failures = self._equal_failures + 1 if failure == self._last_failure else 1
            self._last_failure = failure
            if self._equal_failures == self.max_equal_failures:
                self.is_open = True
