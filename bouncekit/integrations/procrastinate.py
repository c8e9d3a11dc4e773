"""procrastinate sends what is due: one small periodic task on the PostgreSQL that you have, not a job for each message.

The queue stays in our store, with its leases; procrastinate only says when to look. So a job that is lost, or runs
twice, changes nothing.
"""

import asyncio
from typing import Any

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.words.errors import MissingExtra

try:
    from procrastinate import App, JobContext
    from procrastinate.jobs import Status
    from procrastinate.tasks import Task
except ImportError as error:
    raise MissingExtra("procrastinate", error.name or "procrastinate", "ticks of procrastinate") from error

__all__ = ["tick"]

_NAME = "bouncekit.run_due"


def tick(
    app: App,
    postmaster: Postmaster,
    *,
    cron: str = "* * * * * */30",
    seconds: float = 30.0,
    queue: str = "default",
) -> Task[..., Any, Any]:
    """A periodic task of `app` that sends what is due; run a worker of yours as ever.

    One waits at the most (queueing lock), so that a worker which was away for a day has one to do and not thousands.
    Several may run at once: each takes messages of its own. One whose worker was killed is finished as failed by the
    next: nothing else waits for it, and what it was at comes free when its lease ends.

    Args:
        cron: when, as procrastinate has it: the sixth field is seconds.
        seconds: after so many it takes no more messages, and finishes its batch of twenty.
        queue: of procrastinate's, in which the task waits.

    Returns:
        The task, `bouncekit.run_due`. Its `.defer(timestamp=0)` looks at once, after a `client.submit()` for instance;
        procrastinate raises AlreadyEnqueued where one waits already.

    Raises:
        ConfigurationError: the postmaster has no relay that a worker could send through.
    """
    worker = postmaster.worker()

    @app.periodic(cron=cron)
    @app.task(name=_NAME, queue=queue, queueing_lock=_NAME, pass_context=True)
    async def run_due(context: JobContext, timestamp: int) -> int:
        await _bury_the_dead(context.app)
        return await asyncio.to_thread(worker.run_due, seconds=seconds)

    return run_due


async def _bury_the_dead(app: App) -> None:
    """Finish the jobs of this task whose worker is gone; procrastinate leaves them `doing` for ever."""
    for job in await app.job_manager.get_stalled_jobs(task_name=_NAME):
        await app.job_manager.finish_job(job, status=Status.FAILED, delete_job=False)
