"""How people are told of what happened to a mail: what is said, by which way, and how often."""

from bouncekit.notify.channels import channel, open_channels
from bouncekit.notify.moderation import Folded, Moderation
from bouncekit.notify.notification import Notification, compose
from bouncekit.notify.protocol import Channel, NotifyError, Via

__all__ = [
    "Channel",
    "Folded",
    "Moderation",
    "Notification",
    "NotifyError",
    "Via",
    "channel",
    "compose",
    "open_channels",
]
