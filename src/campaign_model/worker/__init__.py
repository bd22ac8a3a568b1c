"""A worker: claims contacts, has messages written for them, records what came of it.

It owns its transactions, all of them short: none is open while messages are written.
"""

from campaign_model.worker.coroutines import run_worker_async
from campaign_model.worker.run import GENERATE_FAILED, SAVE_FAILED, WorkerReport, WorkerStop
from campaign_model.worker.task import AsyncTask, Task
from campaign_model.worker.threads import run_worker

__all__ = [
    "GENERATE_FAILED",
    "SAVE_FAILED",
    "AsyncTask",
    "Task",
    "WorkerReport",
    "WorkerStop",
    "run_worker",
    "run_worker_async",
]
