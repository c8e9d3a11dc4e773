"""The block list that a reply names."""

import pytest

from bouncekit.postmaster.asking import classify


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "Spamhaus ZEN"),
        ("550 5.7.1 listed at https://www.spamhaus.org/query/ip/192.0.2.1", "Spamhaus"),
        ("554 5.7.1 Sender domain blocked using dbl.spamhaus.org", "Spamhaus DBL"),
        ("550 rejected, 192.0.2.1 is in a black list at b.barracudacentral.org", "Barracuda"),
        ("554 5.7.1 blocked using bl.spamcop.net", "SpamCop"),
        ("554 5.7.1 blocked using dnsbl-1.uceprotect.net", "UCEPROTECT"),
        ("554 5.7.1 blocked using ix.dnsbl.manitu.net", "NiX Spam"),
        ("554 5.7.1 Your IP is on the Abusix blocklist", "Abusix"),
        ("554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1", "Proofpoint"),
        ("421 4.7.1 blocked by CSI, http://csi.cloudmark.com/reset-request/", "Cloudmark"),
        ("550 5.7.1 part of their network is on our block list (S3150)", "Microsoft"),
        ("550 Your IP is on our own blacklist", None),
    ],
)
def test_a_reply_about_a_block_list_names_it(reply: str, name: str | None) -> None:
    verdict = classify(reply)
    assert verdict.category == "blocklisted"
    assert verdict.blocklist == name


def test_a_list_named_in_another_matter_is_none_of_ours() -> None:
    assert classify("550 5.1.1 <jo@spamhaus.org> User unknown").blocklist is None
