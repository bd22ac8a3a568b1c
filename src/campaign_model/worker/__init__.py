"""A worker claims contacts, has their messages generated, and records the outcomes.

``run_worker`` calls a function in threads, ``run_worker_async`` a coroutine function in an event
loop. A worker makes its own transactions. All of them are short, and none is open while messages
are generated. ``run.py`` describes the worker loop step by step.
"""

from campaign_model.worker.host_errors import GENERATE_FAILED, SAVE_FAILED, TASK_TIMED_OUT
from campaign_model.worker.run import WorkerReport, WorkerStop
from campaign_model.worker.runners import run_worker, run_worker_async
from campaign_model.worker.task import AsyncTask, Task

__all__ = [
    "GENERATE_FAILED",
    "SAVE_FAILED",
    "TASK_TIMED_OUT",
    "AsyncTask",
    "Task",
    "WorkerReport",
    "WorkerStop",
    "run_worker",
    "run_worker_async",
]
