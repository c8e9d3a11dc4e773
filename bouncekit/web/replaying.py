"""A changed policy on what happened: the events of some days, decided by the policy in force and by the other one."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from bouncekit.desk.office import Office
from bouncekit.history.backtest import Backtest, warm_up
from bouncekit.outside.builtin import classifier_with
from bouncekit.outside.provider import provider_of_host
from bouncekit.policy.policy import Policy
from bouncekit.stores.searching import Search
from bouncekit.web.keeping import Trial

__all__ = ["replay"]

_PAGE = 1000
_MOST = 2_000_000  # events; a minute or two


def replay(office: Office, trial: Trial, new: Policy, now: datetime) -> None:
    """Fill a trial in."""
    old, classify = office.policy, office.classify
    since = now - timedelta(days=trial.days)
    replayed = Backtest(
        (old, classify),
        (new, classifier_with(new.meaning).classify if new.meaning else classify),
        since=since,
        provider_of=provider_of_host,
    )
    for told in _events(office, since - warm_up(old, new), trial):
        replayed.feed(told)
    trial.difference = replayed.difference


def _events(office: Office, since: datetime, trial: Trial) -> Iterator[Mapping[str, Any]]:
    """The events from a time on, in their order."""
    after = 0
    while (page := office.store.search(Search(since=since), after=after, limit=_PAGE)) and trial.read < _MOST:
        yield from (told for _, told in page)
        after = page[-1][0]
        trial.read += len(page)
