"""A worker claims contacts, has their messages generated, and records the outcomes.

``run_worker`` calls a function in threads, ``run_worker_async`` a coroutine function in an event
loop. ``run_export`` and ``run_export_async`` do the same with a function that pushes the messages
of an approved campaign. All of them make their own, short transactions, and none is open while the
function runs. ``run.py`` describes the worker loop step by step.
"""

from campaign_model.worker.export import ExportReport, run_export, run_export_async
from campaign_model.worker.host_errors import (
    GENERATE_FAILED,
    PUSH_FAILED,
    SAVE_FAILED,
    TASK_TIMED_OUT,
)
from campaign_model.worker.run import WorkerReport, WorkerStop
from campaign_model.worker.runners import run_worker, run_worker_async
from campaign_model.worker.task import AsyncTask, ExportTask, Task

__all__ = [
    "GENERATE_FAILED",
    "PUSH_FAILED",
    "SAVE_FAILED",
    "TASK_TIMED_OUT",
    "AsyncTask",
    "ExportReport",
    "ExportTask",
    "Task",
    "WorkerReport",
    "WorkerStop",
    "run_export",
    "run_export_async",
    "run_worker",
    "run_worker_async",
]
