"""Whose mail host this is, by the end of its name."""

from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType

from bouncekit.meaning.classifier import by_longest_end
from bouncekit.outside.builtin import classifier

__all__ = ["called", "provider_of_host", "providers"]

_LONGEST = 255
_HERE = "localhost"

# Whose MX hosts these are, by the end of their names; `rules/providers.toml` knows those that speak a dialect.
_SUFFIXES = MappingProxyType(
    {
        "alibaba": "mxhichina.com aliyun.com",
        "amazon": "inbound-smtp.us-east-1.amazonaws.com inbound-smtp.us-west-2.amazonaws.com"
        " inbound-smtp.eu-west-1.amazonaws.com",
        "antispamcloud": "antispamcloud.com",
        "broadcom": "messagelabs.com",
        "cisco": "iphmx.com",
        "cloudflare": "mx.cloudflare.net",
        "comcast": "comcast.net",
        "fastmail": "messagingengine.com",
        "forcepoint": "mailcontrol.com",
        "free": "free.fr",
        "gandi": "gandi.net",
        "gmx": "gmx.de ionos.de ionos.fr ionos.es ionos.co.uk 1and1.fr 1and1.co.uk",
        "godaddy": "secureserver.net",
        "hornetsecurity": "hornetsecurity.com antispameurope.com",
        "hostinger": "hostinger.com",
        "mailgun": "mailgun.org",
        "microsoft": "mx.microsoft",
        "migadu": "migadu.com",
        "namecheap": "privateemail.com registrar-servers.com",
        "naver": "naver.com",
        "orange": "orange.fr",
        "ovh": "ovh.net ovh.ca",
        "proton": "protonmail.ch",
        "rackspace": "emailsrvr.com",
        "seznam": "seznam.cz",
        "sophos": "hydra.sophos.com",
        "strato": "rzone.de",
        "telekom": "t-online.de",
        "trendmicro": "trendmicro.com trendmicro.eu",
        "zoho": "zoho.com.au zoho.com.cn zoho.jp",
    }
)
_PROVIDERS = {suffix: provider for provider, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


@lru_cache(maxsize=4096)
def provider_of_host(host: str) -> str | None:
    """Whose mail host this is, by the longest known end of its name; None where nobody's is known.

    >>> provider_of_host("aspmx.l.google.com"), provider_of_host("mx.example.com")
    ('gmail', None)
    """
    if known := classifier().provider_of(host):
        return known
    return by_longest_end(host[:_LONGEST], _PROVIDERS)


@lru_cache(maxsize=4096)
def called(host: str) -> str:
    """Under what the outcomes at a host are counted: whose it is; else its name, which this machine has but once.

    >>> called("aspmx.l.google.com"), called("mx.example.com"), called("127.0.0.1")
    ('gmail', 'mx.example.com', 'localhost')
    """
    return provider_of_host(host) or (_HERE if _is_here(host) else host)


def _is_here(host: str) -> bool:
    name = host.strip("[]").lower().rstrip(".")
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name in (_HERE, f"{_HERE}.localdomain")


@lru_cache(maxsize=1)
def providers() -> frozenset[str]:
    """All whose hosts are known: what `provider:` in a policy may name."""
    dialects = (rule.provider for rule in classifier().rules)
    return frozenset(_PROVIDERS.values()) | frozenset(filter(None, dialects))
