"""The postmaster: the role that RFC 5321 4.5.1 gives to handling bounces, holding policy, store and events."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from bouncekit.clients.client import Client, ClientOptions
from bouncekit.clients.smtp import LMTP, SMTP, SMTP_SSL
from bouncekit.delivery.events import EventType, show_time
from bouncekit.delivery.queue import Depth
from bouncekit.desk.forwarding import Forwarding
from bouncekit.desk.furnishing import open_office
from bouncekit.desk.gauging import Gauging
from bouncekit.desk.office import Office
from bouncekit.desk.suppressionlist import SuppressionList
from bouncekit.meaning.classification import Category
from bouncekit.outside.clock import Clock
from bouncekit.policy.budget import Balance, Stream
from bouncekit.policy.policy import Policy
from bouncekit.policy.schedule import Retry
from bouncekit.postmaster.worker import Worker, is_held_back
from bouncekit.sinks.log import LogSink
from bouncekit.stores import Store
from bouncekit.stores.cursors import Trouble
from bouncekit.words.address import parse_address, suppression_key
from bouncekit.words.errors import ConfigurationError

if TYPE_CHECKING:
    from bouncekit.codes import Language
    from bouncekit.desk.forgetting import Forgotten
    from bouncekit.desk.resending import Resent
    from bouncekit.desk.returns import Absorbed
    from bouncekit.history.timeline import History
    from bouncekit.outside.mx import Resolver
    from bouncekit.postmaster.recipientstatus import RecipientNews
    from bouncekit.sinks.protocol import Sink

__all__ = ["Postmaster"]

Handler = TypeVar("Handler", bound=Callable[..., Any])

_EMPTY = Depth(due=0, waiting=0, held=0, leased=0, oldest_due_at=None)


class Postmaster:
    """What an application makes once, and gives to everything that sends.

    Args:
        policy: a shipped name ("default", "transactional", "bulk", "strict"), a path, or a Policy.
        store: where suppressions and history live: None for memory, `sqlite:///bounces.db`, or a Store.
        retry: "never" report only; "wait" block up to `patience` and try again; "queue" keep what is left in the
            store, from which a worker sends it when it is due.
        patience: how long a send may block under retry="wait"; a timedelta, seconds, or '5m'.
        channels: how to reach each role of the policy (recipient, owner, operations): a callable that takes a
            `Notification`, an apprise URL, `mailto:...`, or a list of those. A role without one is an event.
        relays: name to URL (see `outside.relay`), or to a mapping of `url` and options of `Client`: through these a
            worker sends. The queue names them, and never holds a password.
        sinks: other systems that get every event that the store holds, at least once and in order: a list of sinks
            (see `bouncekit.sinks`), or a mapping of name to sink, URL or table.
        worker: "thread" forwards to the sinks in this process and, under retry="queue", works on the queue as soon as
            there is something in it; "external" leaves both to `bouncekit worker`.
        check_domains: ask DNS before a send: a recipient whose domain does not exist or takes no mail is not tried.
            True, or a `bouncekit.outside.mx.Resolver` of your own.
        rules: files of your own rules about what replies mean, in the format of the shipped ones; they go first, and
            behind them those that the policy names.
        community_rules: the same, of others: they go behind all of your own, and before the shipped ones.
        bounces: where mail that comes back arrives, such as `bounce@example.org`: every message gets a return path of
            its own there, signed with the first of `bounce_keys`, so that its bounces prove what they are about.
        bounce_keys: secrets of 16 bytes or more; the first signs, each is good for reading.
        hash_keys: secrets of 16 to 64 bytes for pseudonyms of those whose addresses were erased; the first makes new
            ones, each finds old ones. A store that has pseudonyms is not opened without its secrets.
        keep_addresses: False keeps everybody's pseudonym and nobody's address, but for mail that waits; needs
            `hash_keys`. Subscribers of this process still hear addresses, durable ones and sinks pseudonyms.
        on_store_failure: "raise" sends nothing while the store does not answer; "send" sends without asking it.
        cache: what answers before the store that somebody is not on the list: "local" a filter in this process, for a
            list of millions; `redis://cache:6379/0` a Valkey or Redis that machines share.
        shadow: a second policy, by name or path, that decides beside the first one and only reports where it would do
            otherwise: in events `shadow_differed`, summed up by `bouncekit policy shadow`.
        watch_policy: read the policy and the files of rules again when they have changed; see `reload`.
        clock: another clock, for tests.

    >>> postmaster = Postmaster()
    >>> @postmaster.on("suppressed", "failed")
    ... def tell_support(event): print(event.recipient)
    >>> "jo@example.com" in postmaster.suppressions
    False

    Raises:
        ConfigurationError: something is wrong; the message says what would be right.
    """

    def __init__(
        self,
        *,
        policy: str | Path | Policy = "default",
        store: str | Store | None = None,
        retry: str | Retry = "never",
        patience: timedelta | float | str = timedelta(minutes=5),
        channels: Mapping[str, object] | None = None,
        relays: Mapping[str, object] | None = None,
        sinks: Mapping[str, object] | Sequence[object] = (),
        worker: str = "thread",
        check_domains: "bool | Resolver" = False,
        rules: Sequence[str | Path] = (),
        community_rules: Sequence[str | Path] = (),
        bounces: str | None = None,
        bounce_keys: Sequence[str | bytes] = (),
        hash_keys: Sequence[str | bytes] = (),
        keep_addresses: bool = True,
        on_store_failure: str = "raise",
        cache: str | None = None,
        shadow: str | Path | Policy | None = None,
        watch_policy: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if worker not in ("thread", "external"):
            raise ConfigurationError(f"worker={worker!r}: write 'thread' or 'external'")
        opened = _open_sinks(sinks)  # before the store, which nobody would close
        self.office: Office = open_office(
            policy=policy,
            store=store,
            retry=retry,
            patience=patience,
            channels=channels,
            relays=relays,
            check_domains=check_domains,
            rules=rules,
            community_rules=community_rules,
            bounces=bounces,
            bounce_keys=bounce_keys,
            hash_keys=hash_keys,
            keep_addresses=keep_addresses,
            on_store_failure=on_store_failure,
            cache=cache,
            shadow=shadow,
            watch_policy=watch_policy,
            clock=clock,
        )
        self.suppressions = SuppressionList(self.office)
        self.office.ledger.bus.on(LogSink())
        self._worker: Worker | None = None
        self.forwarding = self._forwarding(opened)
        self.gauges = self._gauges(opened)
        if worker == "thread" and not is_held_back():
            self.forwarding.start()
        if self.office.relays:
            self.office.notices.via = self._send_notice
        if self.office.retry is Retry.QUEUE:
            self._see_to_the_queue(worker)

    @classmethod
    def from_config(
        cls,
        folder: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        clock: Clock | None = None,
    ) -> "Postmaster":
        """A postmaster as the environment, bouncekit.toml and pyproject.toml say; see `bouncekit.postmaster.config`.

        `folder` is where the files lie, None the present one; `environ` None the process's own.

        Raises:
            ConfigurationError: something there is wrong; the message says where and what would be right.
        """
        from bouncekit.postmaster.config import Config

        return cls(**Config.read(folder, environ).for_postmaster(), clock=clock)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.office.policy

    def reload(self, policy: str | Path | Policy | None = None, *, by: str = "reload") -> bool:
        """Read the policy, its rules and the shadow again, or put another policy in force; False if nothing changed.

        Deliveries under way go to their end by the policy with which they began. `by` is told in the event
        `policy_loaded`.

        Raises:
            ConfigurationError: something is wrong. What held before holds on, and an event `policy_refused` tells it.
        """
        return self.office.law.reload(policy, by=by)

    def on(self, *types: str, durable: str | None = None) -> Callable[[Handler], Handler]:
        """Subscribe to events of these types, without any to all: a decorator for a function, sync or async.

        Subscribers hear what the store has remembered. One that raises harms nobody; its traceback is logged.

        With `durable`, a name, it hears every event that the store holds, also those of other processes and those from
        before a restart: at least once, in their order, on a thread of its own. One that raises is asked again.

        Raises:
            ConfigurationError: there is no such type, or the name is taken.
        """

        if any(not isinstance(type_, str) for type_ in types):
            raise ConfigurationError(
                f"on() takes event types: write @postmaster.on(), not @postmaster.on; got {types!r}"
            )

        def subscribe(handler: Handler) -> Handler:
            if durable is None:
                self.office.ledger.bus.on(handler, *types)
            else:
                self.office.ledger.outbox.on(durable, handler, types)
            return handler

        return subscribe

    def smtp(self, host: str = "", port: int = 0, **options: Any) -> SMTP:
        """A `bouncekit.SMTP` of this postmaster. Options: smtplib's, and message_class, tenant, stream, test."""
        return SMTP(host, port, postmaster=self, **options)

    def smtp_ssl(self, host: str = "", port: int = 0, **options: Any) -> SMTP_SSL:
        """A `bouncekit.SMTP_SSL` of this postmaster."""
        return SMTP_SSL(host, port, postmaster=self, **options)

    def lmtp(self, host: str = "", port: int = 0, **options: Any) -> LMTP:
        """A `bouncekit.LMTP` of this postmaster."""
        return LMTP(host, port, postmaster=self, **options) if port else LMTP(host, postmaster=self, **options)

    def client(self, url: str, **options: Unpack[ClientOptions]) -> Client:
        """A `bouncekit.Client` of this postmaster, for a URL or the name of one of its relays."""
        return Client(url, postmaster=self, **options)

    def worker(self, *, concurrency: int | None = None) -> Worker:
        """A `bouncekit.postmaster.worker.Worker` for this postmaster's relays; `start()` it, or let it `run_due()`.

        Raises:
            ConfigurationError: there is no relay that it could send through.
        """
        if not self.office.relays:
            raise ConfigurationError(
                "a worker sends what retry='queue' has stored, through relays: write "
                "Postmaster(retry='queue', relays={'main': 'smtp://localhost:25'}), or in bouncekit.toml "
                "retry = 'queue' and a table [relays] with main = 'smtp://localhost:25', or set BOUNCEKIT_RELAY"
            )
        return Worker(self.office, self.office.relays, client=self.client, concurrency=concurrency)

    def _send_notice(self, sender: str, recipient: str, message: bytes) -> None:
        """Send a notice for which no connection is in use, through the first relay."""
        with self.client(next(iter(self.office.relays))) as client:
            client.send_notice(sender, recipient, message)

    def _forwarding(self, sinks: "Sequence[Sink]") -> Forwarding:
        """What forwards to sinks, with an event when one is parked."""
        office = self.office

        def tell_parked(sink: str, trouble: Trouble) -> None:
            since = show_time(trouble.since)
            office.tell_session(
                EventType.SINK_PARKED, sink=sink, why=trouble.error, failures=trouble.failures, failing_since=since
            )

        office.ledger.forwarding = Forwarding(sinks, store=office.store, clock=office.clock, tell_parked=tell_parked)
        return office.ledger.forwarding

    def _gauges(self, sinks: "Sequence[Sink]") -> Gauging:
        """What reads how everything stands, known to those sinks that show it."""
        office = self.office
        gauges = Gauging(
            office.store,
            office.clock,
            budget=lambda: office.policy.budget,
            results=lambda: office.ledger.waiting,
            sinks=[sink.name for sink in sinks],
        )
        for sink in sinks:
            sink.watch(gauges)
        return gauges

    def _see_to_the_queue(self, worker: str) -> None:
        """Have the queue worked on here, or at least watched."""
        if worker == "external":
            self.office.ledger.on_queued = self.office.watch_queue
            return
        self._worker = self.worker()
        self.office.ledger.on_queued = self._worker.wake
        if self.office.store.depth(self.office.clock.now()) != _EMPTY:
            self._worker.wake()

    def absorb(self, content: bytes, *, arrived_at: str | None = None, tenant: str = "") -> "Absorbed":
        """Let a mail that came back count: a bounce, a notice of a delay, a complaint.

        It goes the way of a server's reply: classified, decided by the policy, remembered, told. `arrived_at` is the
        address that it was sent to, where its own headers do not say so. What it returns has been remembered: now the
        mail may be thrown away. The same mail again changes nothing.

        Raises:
            StoreError: the store does not answer. Keep the mail.
        """
        from bouncekit.desk.returns import absorb_mail

        return absorb_mail(self.office, content, arrived_at=arrived_at, tenant=tenant)

    def budget(self, stream: str = "", *, tenant: str = "") -> Balance:
        """What a stream has spent of the policy's budget of bounces and complaints, and the level that it is at.

        Raises:
            StoreError: the store does not answer.
        """
        return self.office.treasurer.balance(Stream(tenant, stream))

    def resume(self, stream: str = "", *, tenant: str = "", by: str = "owner") -> bool:
        """Let a stream go on whose budget is used up, and begin its counts anew; False where nothing held it.

        Raises:
            StoreError: the store does not answer.
        """
        return self.office.treasurer.resume(Stream(tenant, stream), by=by)

    def forget(self, address: str, *, by: str = "owner") -> "Forgotten":
        """Erase a person from the store, who stays suppressed under a pseudonym: of every tenant.

        Out of queue, events, outcomes, audit and list goes the address, and what servers said about it; messages to
        nobody else go with it. Mail to the same address is held back from then on, where `hash_keys` has its secret,
        until `suppressions.lift`. The same again changes nothing more; do it again where `is_complete` is False.

        Raises:
            ConfigurationError: there are no `hash_keys`.
            StoreError: the store does not answer.
        """
        from bouncekit.desk.forgetting import forget

        return forget(self.office, address, by=by)

    def resend(
        self,
        message: str | None = None,
        *,
        recipient: str | None = None,
        rule: str | None = None,
        fingerprint: str | None = None,
        provider: str | None = None,
        category: Category | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        tenant: str | None = None,
        stream: str | None = None,
        unknown: bool = False,
        limit: int | None = None,
        by: str = "owner",
        dry_run: bool = False,
    ) -> "Resent":
        """Queue messages again for those to whom they failed, or who were suppressed; all that is given must hold.

        Only what the store still has can be sent: what was in the queue, for as long as the policy keeps it. Nobody
        who has it gets it again, and each recipient of a message only once by this, however often it is asked. Each is
        a message of his own in the queue, with the same Message-ID and a deadline from now on; suppressions hold.

        Args:
            message: its delivery's whole id.
            recipient: a mailbox, however it is written.
            rule: the policy's rule by which it failed.
            fingerprint: of the refusals, as the event `guard_tripped` has it.
            provider: whose servers refused: a name such as gmail, or the end of a host's name.
            since: those who failed from this time on; an aware time, as is `until`, which is not included.
            unknown: also to whom it may have arrived: then marked as a possible duplicate.
            limit: to at most so many recipients.

        Raises:
            AddressError: the recipient is none.
            ConfigurationError: nothing is given that says what is meant.
            StoreError: the store does not answer; what was queued is queued. Do it again.
        """
        from bouncekit.desk.resending import Wanted, resend
        from bouncekit.desk.undoing import cause_of

        cause = cause_of(
            rule=rule,
            fingerprint=fingerprint,
            category=category,
            provider=provider,
            since=since,
            until=until,
            tenant=tenant,
            stream=stream,
        )
        wanted = Wanted(cause=cause, message=message, recipient=recipient, unknown=unknown)
        return resend(self.office, wanted, by=by, limit=limit, dry_run=dry_run)

    def why(self, address: str, *, tenant: str = "", limit: int = 100) -> Iterator[dict[str, Any]]:
        """What happened to an address, newest first: events as `Event.to_dict` gives them."""
        key = suppression_key(parse_address(address).wire)
        return iter(self.office.store.history(key, tenant=tenant, limit=limit))

    def history(
        self,
        address: str,
        *,
        tenant: str = "",
        stream: str = "",
        message_class: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        lang: "str | Language" = "en",
    ) -> "History":
        """All that is known of an address, also of one that was erased: what happened, what holds, what comes next.

        What happened goes back to `since`, up to so many moments. Tenant, stream and class are those of the mail in
        question: whether it is held back, and which counts of verdicts matter. The cards are in the language `lang`.

        Raises:
            AddressError: the address is none.
            ConfigurationError: the policy has no such class.
            ValueError: there is no such language.
            StoreError: the store does not answer.
        """
        from bouncekit.codes import Language
        from bouncekit.postmaster.recalling import recall

        return recall(
            self.office,
            address,
            tenant=tenant,
            stream=stream,
            message_class=message_class,
            since=since,
            limit=limit,
            language=Language(lang),
        )

    def status(
        self, address: str, *, tenant: str = "", stream: str = "", lang: "str | Language" = "en"
    ) -> "RecipientNews":
        """What the owner of an address may be told: how mail to it fares, why, since when, and what helps.

        In the language `lang`, en or hi. Show it to nobody else.

        Raises:
            AddressError: the address is none.
            ValueError: there is no such language.
            StoreError: the store does not answer.
        """
        from bouncekit.codes import Language
        from bouncekit.postmaster.recipientstatus import news_for

        return news_for(self.office, address, tenant=tenant, stream=stream, language=Language(lang))

    def close(self) -> None:
        """Finish the message that is being sent, wait for subscribers, close the store. What is queued stays there.

        Called on the worker's own thread, by a subscriber in the middle of such a message, all is closed behind it.
        """
        self.office.ledger.on_queued = lambda: None  # a subscriber that sends while we wait for it wakes nobody
        if self._worker is not None and self._worker.is_own_thread():
            threading.Thread(target=self.close, name="bouncekit-close").start()
            return
        if self._worker is not None:
            self._worker.stop()
        self.office.notices.give_due(self.office.clock.now(), None, closing=True)
        self.office.law.tell_due(closing=True)
        self.office.ledger.close()

    def __enter__(self) -> "Postmaster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _open_sinks(sinks: Mapping[str, object] | Sequence[object]) -> "Sequence[Sink]":
    """Without any, what opens them is not loaded."""
    if not sinks:
        return ()
    from bouncekit.sinks.opening import open_sinks

    return open_sinks(sinks)
