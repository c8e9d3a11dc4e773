"""Celery sends what is due: one small periodic task, never a countdown for each message.

A task with a countdown stays unacknowledged with a worker until its time has come, and a broker that waits no longer
than an hour for the acknowledgement hands it to the next one: seen with Celery 5.7 on Valkey, each of five such tasks
ran seven times. So the queue stays in our store, and Celery only says when to look.
"""

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.words.errors import MissingExtra

try:
    from celery import Celery, Task
except ImportError as error:
    raise MissingExtra("celery", error.name or "celery", "ticks of Celery") from error

__all__ = ["tick"]

_NAME = "bouncekit.run_due"


def tick(app: Celery, postmaster: Postmaster, *, every: float = 30.0) -> Task:
    """A periodic task of `app` that sends what is due; run a worker and a beat of yours as ever.

    One that comes late is dropped, since the next one does the same. Several may run at once: each takes messages of
    its own. After `every` seconds it takes no more, and finishes its batch of twenty; one that is ended in between, by
    a `time_limit` for instance, leaves the message that it is at as *unknown*.

    Args:
        every: seconds from one to the next.

    Returns:
        The task, `bouncekit.run_due`. Its `.delay()` looks at once, after a `client.submit()` for instance; a queue of
        its own is the business of `task_routes`.

    Raises:
        ConfigurationError: the postmaster has no relay that a worker could send through.
    """
    worker = postmaster.worker()

    @app.task(name=_NAME, shared=False, ignore_result=True, expires=every)
    def run_due() -> int:
        return worker.run_due(seconds=every)

    app.add_periodic_task(every, run_due.signature(), name=_NAME, expires=every)
    return run_due
