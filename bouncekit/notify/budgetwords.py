"""How a level of a stream's budget is told to people: what has changed, by which numbers, and what somebody can do."""

from types import MappingProxyType

from bouncekit.delivery.events import Event
from bouncekit.policy.budget import Level, Stream
from bouncekit.words.showing import printable

__all__ = ["told_of_stream"]

_MAX_NAME = 254
_WHAT = MappingProxyType(
    {
        Level.WITHIN: "is within its budget again",
        Level.WARNED: "brings many bounces or complaints",
        Level.SLOWED: "is slowed: it brings too many bounces or complaints",
        Level.STOPPED: "is stopped: it brings too many bounces or complaints",
    }
)
_REMEDY = MappingProxyType(
    {
        Level.WITHIN: "Mail goes as before.",
        Level.WARNED: "All mail still goes. Look where the addresses come from, and who did not ask for this mail.",
        Level.SLOWED: "Look where the addresses come from, and who did not ask for this mail.",
        Level.STOPPED: "Its bulk mail waits. Mend the list first; `bouncekit budget resume` lets it go on.",
    }
)


def told_of_stream(event: Event) -> tuple[str, str]:
    """Subject and text of a notice about a stream's budget."""
    data, labels = event.details, event.occasion.labels
    level = Level(data["level"])
    stream = printable(str(Stream(labels.tenant, labels.stream)), limit=_MAX_NAME)
    subject = f"{stream[:1].upper()}{stream[1:]} {_WHAT[level]}"
    lines = (
        f"{subject}.",
        f"In {data['within']}: {data['sent']:,} sent to, {data['bounced']:,} bounced for a bad address "
        f"({data['bounce_rate']:.1%}), {data['complained']:,} complained ({data['complaint_rate']:.2%}).",
        f"It was let go on by {printable(data['by'], limit=_MAX_NAME)}." if data["by"] else "",
        _REMEDY[level],
    )
    return subject, "\n".join(line for line in lines if line)
