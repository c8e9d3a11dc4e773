"""What the log mails, by the policy: as `logging.handlers.SMTPHandler` does, and never about itself."""

import logging
import logging.handlers
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bouncekit.integrations.logging import SMTPHandler
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer, refusing_port
from tests.conftest import Heard

Serve = Callable[..., ScriptedServer]
OPS, GONE = "ops@example.com", "gone@example.com"


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """The root logger, whose handlers hear of everything."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield root
    root.handlers[:] = before


def dressed(server: ScriptedServer, postmaster: Postmaster, *to: str, **options: object) -> SMTPHandler:
    return SMTPHandler(
        (server.host, server.port), "shop@example.org", list(to), "Trouble", postmaster=postmaster, **options
    )


def test_the_mail_is_the_one_of_the_standard_library(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    record = logging.makeLogRecord({"name": "shop", "levelno": logging.ERROR, "msg": "it broke: %s", "args": ("é",)})
    logging.handlers.SMTPHandler((server.host, server.port), "shop@example.org", [OPS], "Trouble").emit(record)
    dressed(server, postmaster, OPS).emit(record)
    stock, ours = (
        sorted(line for line in one.data.split(b"\r\n") if not line.startswith((b"Date:", b"Message-ID:")))
        for one in server.messages
    )
    assert ours == stock


def test_an_address_that_is_gone_is_told_of_and_not_tried_again(
    serve: Serve, postmaster: Postmaster, heard: Heard, log: logging.Logger
) -> None:
    server = serve({"RCPT": {GONE: "550 5.1.1 No such user"}})
    log.addHandler(dressed(server, postmaster, OPS, GONE, stream="log"))
    for _ in range(2):
        logging.getLogger("shop").error("it broke")
    assert server.copies(OPS) == 2
    assert [(str(one.type), one.occasion.labels.stream) for one in heard if one.recipient == GONE] == [
        ("failed", "log"),
        ("suppression_added", "log"),
        ("suppressed", "log"),
    ]


def test_a_mail_that_fails_makes_no_mail_about_itself(
    serve: Serve, postmaster: Postmaster, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """bouncekit logs a failure as a warning, which the handler hears of too."""
    server = serve({"RCPT": "550 5.1.1 No such user"})
    handler = dressed(server, postmaster, GONE)
    log.addHandler(handler)
    logging.getLogger("shop").warning("it broke")
    assert len(server.sessions) == 1
    assert "SMTPRecipientsRefused" in capsys.readouterr().err  # as logging's own handlers complain


def test_what_a_subscriber_logs_of_such_a_mail_makes_no_other(
    serve: Serve, postmaster: Postmaster, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve({"RCPT": {OPS: "451 4.3.0 Try later"}})
    monkeypatch.setattr(logging, "raiseExceptions", False)
    shop = logging.getLogger("shop")
    told: list[str] = []

    @postmaster.on("delayed")
    def say(event: object) -> None:
        told.append("delayed")
        if len(told) < 5:  # else it would go on for ever
            shop.error("a mail is delayed")

    log.addHandler(dressed(server, postmaster, OPS))
    shop.error("it broke")
    assert (len(told), len(server.sessions)) == (1, 1)
    shop.error("it broke again")
    assert (len(told), len(server.sessions)) == (2, 2)


def test_under_a_queue_the_log_does_not_wait_for_a_server_that_is_away(
    make_postmaster: Callable[..., Postmaster], tmp_path: Path, log: logging.Logger
) -> None:
    with refusing_port() as port:
        postmaster = make_postmaster(
            store=f"sqlite:///{tmp_path}/bounces.db",
            retry="queue",
            worker="external",
            relays={"main": f"smtp://127.0.0.1:{port}"},
        )
        log.addHandler(SMTPHandler(("127.0.0.1", port), "shop@example.org", [OPS], "Trouble", postmaster=postmaster))
        logging.getLogger("shop").error("it broke")
    assert postmaster.office.store.depth(postmaster.office.clock.now()).waiting == 1


def test_its_login_holds(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(users={"shop": "secret"})
    handler = dressed(server, postmaster, OPS, credentials=("shop", "secret"))
    handler.emit(logging.makeLogRecord({"msg": "it broke"}))
    assert server.copies(OPS) == 1
