"""An office furnished from what an owner writes: every setting read, checked, and named where it is wrong."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bouncekit.bounces.verp import open_return_paths
from bouncekit.desk.law import Law
from bouncekit.desk.office import Office
from bouncekit.notify import open_channels
from bouncekit.outside.clock import Clock, SystemClock
from bouncekit.outside.relay import Relay, check_fallbacks, open_relays
from bouncekit.policy.policy import Policy
from bouncekit.policy.schedule import Retry, parse_duration
from bouncekit.stores import Store, open_store
from bouncekit.stores.erased import check_secrets
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.pseudonym import Pseudonyms, open_pseudonyms

if TYPE_CHECKING:
    from bouncekit.outside.mx import Resolver

__all__ = ["open_office"]


def open_office(
    *,
    policy: str | Path | Policy = "default",
    store: str | Store | None = None,
    retry: str | Retry = Retry.NEVER,
    patience: timedelta | float | str = timedelta(minutes=5),
    channels: Mapping[str, object] | None = None,
    relays: Mapping[str, object] | None = None,
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
) -> Office:
    """An office from what an owner writes; see `bouncekit.Postmaster` for the parameters.

    Raises:
        ConfigurationError: something is wrong; it says what would be right. PolicyError for the policy's file.
        StoreError: the store cannot be opened.
    """
    if on_store_failure not in ("raise", "send"):
        raise ConfigurationError(f"on_store_failure={on_store_failure!r}: write 'raise' or 'send'")
    _check_flags(keep_addresses=keep_addresses, watch_policy=watch_policy)
    roles, pseudonyms = open_channels(channels or {}), open_pseudonyms(hash_keys)
    return Office(
        law=Law(
            policy,
            rules=rules,
            community_rules=community_rules,
            shadow=shadow,
            roles=roles,
            is_watched=watch_policy,
        ),
        clock=clock or SystemClock(),
        channels=roles,
        relays=_relays(relays),
        resolver=_resolver(check_domains, clock),
        return_paths=open_return_paths(bounces, bounce_keys),
        pseudonyms=pseudonyms,
        keeps_addresses=keep_addresses,
        retry=_retry(retry, store),
        patience=_patience(patience),
        send_without_store=on_store_failure == "send",
        # At last: what is wrong elsewhere leaves none open.
        store=_store(store, cache, pseudonyms, keeps_addresses=keep_addresses),
    )


def _check_flags(**flags: object) -> None:
    """A text such as "no" would count as true, and keep addresses that nobody wanted to be kept."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name}={value!r}: write True or False")


def _relays(given: Mapping[str, object] | None) -> Mapping[str, Relay]:
    known = open_relays(given or {})
    check_fallbacks(known)
    return known


def _store(
    given: str | Store | None, cache: str | None, pseudonyms: Pseudonyms | None, *, keeps_addresses: bool
) -> Store:
    """The store, behind all that stands before it."""
    if pseudonyms is None and not keeps_addresses:
        raise ConfigurationError(
            "keep_addresses=False: the store knows people by pseudonyms, which need a secret; make one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`, keep it, and set hash_keys or "
            "BOUNCEKIT_HASH_KEYS for all who use the store"
        )
    opened = open_store(given) if given is None or isinstance(given, str) else given
    if cache is not None:
        from bouncekit.stores.screen.screened import with_cache

        opened = with_cache(opened, cache)
    check_secrets(opened, pseudonyms)
    if pseudonyms is None or keeps_addresses:
        return opened
    from bouncekit.stores.veil.veiled import veiled

    return veiled(opened, pseudonyms)


def _resolver(wanted: "bool | Resolver", clock: Clock | None) -> "Resolver | None":
    if isinstance(wanted, bool):
        if not wanted:
            return None
        from bouncekit.outside.mx import Resolver

        return Resolver(clock=clock)
    if not hasattr(wanted, "undeliverable_of"):
        raise ConfigurationError(
            f"check_domains={wanted!r}: write True or False, or give a bouncekit.outside.mx.Resolver"
        )
    return wanted


def _retry(name: str | Retry, store: str | Store | None) -> Retry:
    """Who tries again, if the store can be one, and lasts as long as a queue has to."""
    if store is not None and not isinstance(store, str) and not hasattr(store, "look_up"):
        raise ConfigurationError(f"store={store!r}: write a URL such as 'sqlite:///bounces.db', or give a Store")
    try:
        retry = Retry(name)
    except ValueError:
        raise ConfigurationError(f"retry={name!r}: write 'never', 'wait' or 'queue'") from None
    if retry is Retry.QUEUE and store is None:
        raise ConfigurationError("retry='queue' keeps mail in a store: add store='sqlite:///bounces.db'")
    return retry


def _patience(given: timedelta | float | str) -> timedelta:
    if isinstance(given, timedelta):
        return given
    try:
        return parse_duration(given) if isinstance(given, str) else timedelta(seconds=given)
    except (ValueError, OverflowError, TypeError):
        raise ConfigurationError(f"patience={given!r}: write a timedelta, seconds, or a text such as '5m'") from None
