"""Which of many events somebody wants, by what they say, and by what they are counted."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from bouncekit.delivery.events import Told

__all__ = ["By", "Sieve", "looks_like_a_code", "named"]

ProviderOf: TypeAlias = Callable[[str], str | None]  # a host -> whose it is

_NAMELESS = ""
_CODE_DIGITS = frozenset("0123456789x")


class By(StrEnum):
    """What events are counted by."""

    TYPE = "type"
    ACTION = "action"  # the outcome's
    CATEGORY = "category"
    SCOPE = "scope"
    STAGE = "stage"
    CODE = "code"  # the reply code
    ENHANCED = "enhanced"  # the enhanced status code
    RULE = "rule"  # the policy's
    CLASSIFIED_BY = "classified-by"  # the rule about replies
    PROVIDER = "provider"  # whose host replied; the host itself where nobody knows
    HOST = "host"  # the one that replied
    DOMAIN = "domain"  # the recipient's
    CLASS = "class"
    STREAM = "stream"
    TENANT = "tenant"
    DAY = "day"  # in UTC
    HOUR = "hour"


def _listed(told: Told) -> Told:
    listed: Told = told["data"].get("suppression") or {}
    return listed


def _domain(told: Told) -> str:
    return str(told.get("subject") or "").rpartition("@")[2].lower() if "@" in str(told.get("subject")) else ""


def _category(told: Told) -> object:
    return told["data"].get("category") or _listed(told).get("category")


_PLAIN: Mapping[By, Callable[[Told], object]] = MappingProxyType(
    {
        By.TYPE: lambda told: told["type"],
        By.CATEGORY: _category,
        By.DOMAIN: _domain,
        By.HOST: lambda told: told["data"].get("remote_mta"),
        By.CLASS: lambda told: told["data"].get("message_class"),
        By.CLASSIFIED_BY: lambda told: told["data"].get("classified_by"),
        By.DAY: lambda told: str(told["time"])[:10],
        By.HOUR: lambda told: f"{str(told['time'])[:13].replace('T', ' ')}h",
        **{
            by: lambda told, key=by.value: told["data"].get(key)  # type: ignore[misc]  # a default binds the key early
            for by in (By.ACTION, By.SCOPE, By.STAGE, By.CODE, By.ENHANCED, By.RULE, By.STREAM, By.TENANT)
        },
    }
)


def named(told: Told, by: By, provider_of: ProviderOf) -> str:
    """What an event is counted under, "" where it has no such thing."""
    if by is By.PROVIDER:
        host = str(told["data"].get("remote_mta") or "")
        return (provider_of(host) or host) if host else _NAMELESS
    value = _PLAIN[by](told)
    return _NAMELESS if value is None else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sieve:
    """Events that say all of this; an empty collection, and None, ask for nothing, and one of several is enough.

    In `codes` and `enhanced`, x stands for any digit or number: 5xx, x.2.2. A domain that begins with a dot also means
    all below it. A provider is one that bouncekit knows, or the end of a host's name.
    """

    domains: Collection[str] = ()
    providers: Collection[str] = ()
    categories: Collection[str] = ()
    actions: Collection[str] = ()
    codes: Collection[str] = ()
    enhanced: Collection[str] = ()
    rules: Collection[str] = ()
    streams: Collection[str] = ()
    classes: Collection[str] = ()
    message_id: str | None = None
    delivery_id: str | None = None
    attempt_id: str | None = None
    attempt: int | None = None
    test: bool | None = None
    provider_of: ProviderOf = lambda host: None

    def __contains__(self, told: object) -> bool:
        """Whether an event is one of them."""
        if not isinstance(told, Mapping):
            return False
        data = told["data"]
        return (
            (self.message_id is None or data.get("message_id") in (self.message_id, f"<{self.message_id}>"))
            and (self.delivery_id is None or str(data.get("delivery_id") or "").startswith(self.delivery_id))
            and (self.attempt_id is None or str(data.get("attempt_id") or "").startswith(self.attempt_id))
            and (self.attempt is None or data.get("attempts") == self.attempt)
            and (self.test is None or bool(data.get("test")) is self.test)
            and _is_one(data.get("action"), self.actions)
            and _is_one(_category(told), self.categories)
            and _is_one(data.get("stream"), self.streams)
            and _is_one(data.get("message_class"), self.classes)
            and (not self.rules or self._is_by_rule(data))
            and (not self.codes or any(_fits(code, str(data.get("code") or "")) for code in self.codes))
            and (not self.enhanced or any(_fits(code, data.get("enhanced") or "", ".") for code in self.enhanced))
            and (not self.domains or any(_is_at(_domain(told), domain) for domain in self.domains))
            and (not self.providers or self._is_of_provider(str(data.get("remote_mta") or "")))
        )

    def _is_by_rule(self, data: Told) -> bool:
        """The policy's rule, or the one about replies, by its name."""
        said = (data.get("rule"), str(data.get("classified_by") or "").partition(" ")[0])
        return any(rule in said for rule in self.rules)

    def _is_of_provider(self, host: str) -> bool:
        if not host:
            return False
        name = self.provider_of(host)
        return any(one == name or _is_at(host.lower().rstrip("."), f".{one.lower()}") for one in self.providers)


def looks_like_a_code(text: str) -> bool:
    """Whether this can be asked for: 552, 55x, 5.2.2, x.2.x.

    >>> [looks_like_a_code(text) for text in ("552", "5xx", "x.2.2", "55", "full")]
    [True, True, True, False, False]
    """
    parts = text.split(".")
    if len(parts) == 1:
        return len(text) == 3 and set(text) <= _CODE_DIGITS
    return len(parts) == 3 and all(part == "x" or (part.isascii() and part.isdigit()) for part in parts)


def _is_one(value: object, wanted: Collection[str]) -> bool:
    return not wanted or value in wanted


def _fits(pattern: str, code: str, apart: str = "") -> bool:
    """Whether a code is one of these, part by part: digits, or what stands between dots."""
    want, have = (text.split(apart) if apart else list(text) for text in (pattern, code))
    return len(want) == len(have) and all(one in ("x", other) for one, other in zip(want, have, strict=True))


def _is_at(domain: str, wanted: str) -> bool:
    wanted = wanted.lower()
    return domain == wanted.removeprefix(".") or (wanted.startswith(".") and domain.endswith(wanted))
