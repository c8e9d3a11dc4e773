"""What a recipient may be told about the mail to him: whether it arrives, since when it does not, and what helps.

For a banner in an application, shown to the one who owns the address. No word of a server's is in it, and none about
our own faults beyond that they are ours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from bouncekit.codes import Language
from bouncekit.delivery.events import show_time
from bouncekit.desk.office import Office
from bouncekit.desk.suppressionlist import SuppressionList
from bouncekit.meaning.classification import Category, Scope, scope_of
from bouncekit.outside.builtin import code_cards
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.words.address import parse_address, suppression_key
from bouncekit.words.reply import EnhancedStatusCode
from bouncekit.words.typos import meant

__all__ = ["MailState", "RecipientNews", "news_for"]

_LOOK_BACK = 20  # events; more than one message in a day has
_OUTCOMES = frozenset({"delivered", "delayed", "failed"})


class MailState(StrEnum):
    """How mail to an address fares."""

    WELL = "well"  # it goes out, as far as we know
    DELAYED = "delayed"  # the last message has not arrived yet, and is tried again
    FAILED = "failed"  # the last message did not arrive, and the next one is tried
    HELD_BACK = "held_back"  # no mail is sent, since it would not arrive or is not wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientNews:
    """What an address's owner may know.

    `headline`, `because` and `remedy` are sentences in `language`; the last two are empty where all is well. Times are
    None where there are none: `until` for good, `next_try_at` where nothing is tried. `meant` is the address that the
    owner probably meant, where the domain looks like a slip; only ever a hint.
    """

    address: str
    state: MailState
    language: Language
    headline: str
    because: str = ""
    remedy: str = ""
    category: Category | None = None
    since: datetime | None = None
    until: datetime | None = None
    next_try_at: datetime | None = None
    meant: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-ready values; times in RFC 3339."""
        times = {"since": self.since, "until": self.until, "next_try_at": self.next_try_at}
        return {
            "state": self.state.value,
            "language": self.language.value,
            "headline": self.headline,
            "because": self.because,
            "remedy": self.remedy,
            "category": self.category.value if self.category else None,
            "meant": self.meant,
            **{name: show_time(at) if at else None for name, at in times.items()},
        }


def news_for(
    office: Office, address: str, *, tenant: str = "", stream: str = "", language: Language = Language.ENGLISH
) -> RecipientNews:
    """How mail of a tenant and stream to an address fares.

    Raises:
        AddressError: the address is none.
        StoreError: the store does not answer.
    """
    now = office.clock.now()
    found = SuppressionList(office).get(address, tenant=tenant, stream=stream)
    if found is not None and found.binds(now):
        return _held_back(address, found, language)
    key = suppression_key(parse_address(address).wire)
    history = office.store.history(key, tenant=tenant, limit=_LOOK_BACK)
    return _as_last(address, _outcomes(history, stream), language)


def _held_back(address: str, found: Suppression, language: Language) -> RecipientNews:
    by_hand = found.standing is Standing.MANUAL
    because, remedy = _BY_HAND[language] if by_hand else _words(found.category, language)
    return RecipientNews(
        address=address,
        state=MailState.HELD_BACK,
        language=language,
        headline=_HEADLINES[language][MailState.HELD_BACK].format(address=address),
        because=because,
        remedy=remedy,
        category=None if by_hand else _shown(found.category),
        since=found.since,
        until=found.expires_at,
        next_try_at=None if by_hand else found.expires_at,  # one real message is the probe then
        meant=meant(address),
    )


def _as_last(address: str, outcomes: list[Mapping[str, Any]], language: Language) -> RecipientNews:
    """As the newest outcome says, and since when that was so."""
    newest = outcomes[0] if outcomes else None
    state = MailState(newest["type"]) if newest and newest["type"] != "delivered" else MailState.WELL
    headline = _HEADLINES[language][state].format(address=address)
    if newest is None or state is MailState.WELL:
        return RecipientNews(address=address, state=MailState.WELL, language=language, headline=headline)
    data = newest["data"]
    category = Category(data["category"]) if data.get("category") else Category.UNKNOWN
    because, remedy = _words(category, language)
    if state is MailState.DELAYED and scope_of(category) is not Scope.RECIPIENT:
        remedy = _NOTHING_TO_DO[language]
    return RecipientNews(
        address=address,
        state=state,
        language=language,
        headline=headline,
        because=because,
        remedy=remedy,
        category=_shown(category),
        since=_since(outcomes, newest["type"]),
        next_try_at=_time(data.get("retry_at")) if state is MailState.DELAYED else None,
        meant=meant(address),
    )


def _outcomes(history: Iterable[Mapping[str, Any]], stream: str) -> list[Mapping[str, Any]]:
    """What came of mail of this stream, newest first; a test message counts for nothing."""
    return [
        event
        for event in history
        if event["type"] in _OUTCOMES and not event["data"].get("test") and event["data"].get("stream", "") == stream
    ]


def _since(outcomes: list[Mapping[str, Any]], type_: str) -> datetime | None:
    """When the newest run of outcomes of one type began."""
    began = None
    for event in outcomes:
        if event["type"] != type_:
            break
        began = event
    return _time(began["time"]) if began else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _shown(category: Category) -> Category | None:
    """The category, where it is about the recipient; what else is wrong is nobody's business but ours."""
    return category if scope_of(category) is Scope.RECIPIENT else None


def _words(category: Category, language: Language) -> tuple[str, str]:
    """Why, and what the recipient can do."""
    if category in _OWN_WORDS[language]:
        return _OWN_WORDS[language][category]
    if category not in _CODES:
        return _NOT_YOURS[language], _NOTHING_TO_DO[language]
    card = code_cards().enhanced(EnhancedStatusCode.parse(_CODES[category]), language)[0]
    return card.description, _REMEDIES[language][category]


# The codes whose cards say what a category means.
_CODES: Mapping[Category, str] = MappingProxyType(
    {
        Category.USER_UNKNOWN: "5.1.1",
        Category.INVALID_ADDRESS: "5.1.3",
        Category.BAD_DOMAIN: "5.1.2",
        Category.MAILBOX_DISABLED: "5.2.1",
        Category.MAILBOX_FULL: "5.2.2",
        Category.MOVED: "5.1.6",
    }
)
_HEADLINES = {
    Language.ENGLISH: {
        MailState.WELL: "Mail to {address} goes out.",
        MailState.DELAYED: "Mail to {address} is late; we go on trying.",
        MailState.FAILED: "Our last mail to {address} did not arrive.",
        MailState.HELD_BACK: "We are holding back mail to {address}.",
    },
    Language.HINDI: {
        MailState.WELL: "{address} पर मेल जा रही है।",
        MailState.DELAYED: "{address} की मेल में देर हो रही है; हम कोशिश जारी रखेंगे।",
        MailState.FAILED: "{address} पर हमारी पिछली मेल नहीं पहुँची।",
        MailState.HELD_BACK: "{address} पर मेल भेजना हमने रोक रखा है।",
    },
}
_REMEDIES = {
    Language.ENGLISH: {
        Category.USER_UNKNOWN: "Check the address for a typing error, or give us another one.",
        Category.INVALID_ADDRESS: "Correct the address: it is not written as one.",
        Category.BAD_DOMAIN: "Check the part behind the @ for a typing error, or give us another address.",
        Category.MAILBOX_DISABLED: "Have your provider enable the mailbox, or give us another address.",
        Category.MAILBOX_FULL: "Delete some mail or get more space, or give us another address.",
        Category.MOVED: "Give us your new address.",
    },
    Language.HINDI: {
        Category.USER_UNKNOWN: "देखें कि पता लिखने में ग़लती तो नहीं हुई, या हमें दूसरा पता दें।",
        Category.INVALID_ADDRESS: "पता ठीक करें: यह पते की तरह लिखा नहीं है।",
        Category.BAD_DOMAIN: "देखें कि @ के बाद का हिस्सा सही लिखा है या नहीं, या हमें दूसरा पता दें।",
        Category.MAILBOX_DISABLED: "मेल प्रदाता से मेलबॉक्स चालू करवाएँ, या हमें दूसरा पता दें।",
        Category.MAILBOX_FULL: "कुछ मेल मिटाएँ या जगह बढ़वाएँ, या हमें दूसरा पता दें।",
        Category.MOVED: "हमें अपना नया पता दें।",
    },
}
_OWN_WORDS = {
    Language.ENGLISH: {
        Category.RECIPIENT_FILTERED: (
            "The mailbox refuses mail from us.",
            "Allow our address in the settings of the mailbox if you want our mail.",
        ),
        Category.COMPLAINT: ("Our mail was reported as spam from this mailbox.", "Tell us if you want our mail again."),
    },
    Language.HINDI: {
        Category.RECIPIENT_FILTERED: (
            "यह मेलबॉक्स हमारी मेल लेने से मना करता है।",
            "हमारी मेल चाहिए तो मेलबॉक्स की सेटिंग में हमारे पते को अनुमति दें।",
        ),
        Category.COMPLAINT: ("इस मेलबॉक्स से हमारी मेल को स्पैम बताया गया था।", "हमारी मेल फिर चाहिए तो हमें बताएँ।"),
    },
}
_BY_HAND = {
    Language.ENGLISH: ("It was decided by hand that no mail goes there.", "Write to us if you want our mail again."),
    Language.HINDI: ("यहाँ मेल न भेजने का फ़ैसला हमने ख़ुद दर्ज किया है।", "हमारी मेल फिर चाहिए तो हमें लिखें।"),
}
_NOT_YOURS = {
    Language.ENGLISH: "The reason is not your mailbox.",
    Language.HINDI: "वजह आपका मेलबॉक्स नहीं है।",
}
_NOTHING_TO_DO = {
    Language.ENGLISH: "There is nothing that you have to do.",
    Language.HINDI: "आपको कुछ नहीं करना है।",
}
