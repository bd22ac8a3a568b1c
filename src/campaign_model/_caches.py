"""The caches of this process that keep documents of tenants, each bounded in bytes.

A cache saves the second reading of a document if its text has not changed. No cache is needed for a
right answer: :func:`clear_caches` may be called at any time, from any thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakSet

K = TypeVar("K")
V = TypeVar("V")

_caches: WeakSet[BoundedCache[object, object]] = WeakSet()
_caches_lock = Lock()


class BoundedCache(Generic[K, V]):
    """Keeps values by key. If their sizes are more than ``max_bytes``, it removes the oldest.

    ``get(key)`` returns a value or ``None``. It is the method of a ``dict``, because the library
    calls it each time that it reads a document.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size: int = 0
        # An OrderedDict finds its oldest key at once, a dict only after all keys removed before.
        self._values: OrderedDict[K, V] = OrderedDict()
        self._sizes: dict[K, int] = {}
        self._lock = Lock()
        self.get: Callable[[K], V | None] = self._values.get
        with _caches_lock:
            _caches.add(self)  # type: ignore[arg-type]

    def keep(self, key: K, value: V, size: int) -> None:
        """Keep a value of that many bytes. A value that is larger than the cache is not kept."""
        with self._lock:
            if self._values.pop(key, None) is not None:
                self.size -= self._sizes.pop(key)
            if size > self.max_bytes:
                return
            self._values[key], self._sizes[key] = value, size
            self.size += size
            while self.size > self.max_bytes:
                oldest, _ = self._values.popitem(last=False)
                self.size -= self._sizes.pop(oldest)

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._values.clear()
            self._sizes.clear()
            self.size = 0


def clear_caches() -> None:
    """Forget every document that this process keeps in memory.

    Call it if a document must not stay in memory, for example after you erased a tenant, or to
    free memory. ``docs/documents.md`` lists the caches and their sizes.
    """
    with _caches_lock:
        caches = list(_caches)
    for cache in caches:
        cache.clear()
