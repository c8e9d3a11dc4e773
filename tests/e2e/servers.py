"""Real mail servers for tests: Postfix, Dovecot, Postgrey, each in a temporary directory on free loopback ports.

    with running_dovecot() as dovecot, running_postfix(dovecot) as postfix:
        with smtplib.SMTP(*postfix.main) as smtp:
            smtp.sendmail("sender@lab.test", ["ok@lab.test"], message)
        dovecot.mailboxes.wait_for("ok", 1)

    client --SMTP--> Postfix smtpd --queue--> Postfix lmtp --LMTP--> Dovecot --> a maildir for each user
                          |                                             |
                          +-- "is the mailbox full?", "who is this?" ---+
                          +-- "has he been here before?" --> Postgrey

The users of `lab.test` are named after what happens to mail for them: USERS have a mailbox, REFUSED are turned away by
Postfix at RCPT, REFUSED_AT_DOT are senders whose mail is turned away after the data. Every other name is unknown.
Nothing here needs a syslog, a resolver or a fixed port, and nothing sends mail out: only `lab.test` has a route, and
what a test names.
"""

import email
import email.policy
import grp
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

import trustme

DOMAIN = "lab.test"
PASSWORD = "secret"  # of every user
SIZE_LIMIT_BYTES = 20_480  # of one message, at `Postfix.main`
RECIPIENT_LIMIT = 5  # of one transaction, at `Postfix.main`
IDLE_SECONDS = 2  # until `Postfix.impatient` hangs up
ERROR_LIMIT = 3  # of one session, at `Postfix.impatient`
GREYLIST_SECONDS = 2  # until mail that is new to Postgrey may come again
REJECTED_HEADER = "X-Lab-Reject"  # a message with this header is refused after the data, by any service

QUOTA_BYTES = 10_000  # of a mailbox that has one
OK_USERS = ("ok", *(f"ok{number}" for number in range(2, 10)))

# The users with a mailbox, each with Dovecot's settings for it.
USERS: Mapping[str, str] = dict.fromkeys((*OK_USERS, "sender"), "") | {
    "full": f"userdb_quota_rule=*:bytes={QUOTA_BYTES}",
    "tempfull": f"userdb_quota_rule=*:bytes={QUOTA_BYTES} userdb_quota_full_tempfail=yes",
}

# What `Postfix.main` answers to RCPT for these recipients. Postfix puts "<recipient>: Recipient address rejected: "
# between the enhanced code and the text. `full` is not here: Dovecot's quota-status answers for it.
REFUSED: Mapping[str, str] = {
    "tempfull": "452 4.2.2 Mailbox full, try again later",
    "nostorage": "452 4.3.1 Insufficient system storage",
    "blocked": "554 5.7.1 Message blocked by policy",
    "hangup": "421 4.7.0 Too much mail, closing connection",  # and closes the connection
    "dropped": "521 5.7.1 Go away",  # and closes the connection
}

# What `Postfix.main` answers to the final dot of mail from these senders.
REFUSED_AT_DOT: Mapping[str, str] = {
    "dotfull": "552 5.2.2 Storage allocation exceeded",
    "dottemp": "451 4.7.1 Try again later",
    "dotblocked": "554 5.7.1 Content refused by policy",
    "dothangup": "421 4.7.0 Closing after the data",  # and closes the connection
}

# Servers live in sbin, which is not in everybody's PATH.
SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


class ServerDidNotStart(Exception):
    """A server ended, or did not greet in time; the text has its log."""


class Address(NamedTuple):
    """Where a service listens; made for `smtplib.SMTP(*postfix.main)`."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server's first process. It leads a process group of its own, which holds everything it starts."""

    popen: subprocess.Popen[bytes]
    log_file: Path

    @property
    def is_running(self) -> bool:
        # A look only: while the dead leader is not reaped, its number cannot become somebody else's.
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return self.popen.returncode is None and os.waitid(os.P_PID, self.popen.pid, look) is None

    def log(self) -> str:
        """What the server wrote to its log so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def stop(self, timeout: float = 5.0) -> None:
        """End the server and all it started: asked first, killed after `timeout` seconds. Harmless when it is down."""
        if self.popen.returncode is not None:
            return
        os.killpg(self.popen.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            wait_until(lambda: not self.is_running, timeout)
        os.killpg(self.popen.pid, signal.SIGKILL)  # a worker can outlive its master
        self.popen.wait()


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """What was delivered to the users: one maildir each under `directory`."""

    directory: Path

    def messages(self, user: str) -> list[EmailMessage]:
        """The messages in the user's inbox, oldest first; never waits."""
        texts = [path.read_bytes() for path in self._paths(user)]
        return [email.message_from_bytes(text, policy=email.policy.default) for text in texts]

    def counts(self) -> dict[str, int]:
        """Users with mail, and how much. Exact once `Postfix.drain` has returned."""
        counts = {user: len(self._paths(user)) for user in USERS}
        return {user: count for user, count in counts.items() if count}

    def wait_for(self, user: str, count: int, timeout: float = 10.0) -> list[EmailMessage]:
        """The user's messages as soon as there are `count` or more; TimeoutError says how many came instead."""
        wait_until(
            lambda: len(self._paths(user)) >= count,
            timeout,
            lambda: f"{user}: {count} messages wanted, {len(self._paths(user))} came in {timeout} s",
        )
        return self.messages(user)

    def make_room(self, user: str) -> None:
        """Empty the mailbox of `full` or `tempfull`, so that mail is taken for it until `clear`."""
        archived = self._archived(user)
        archived.rename(archived.parents[3] / "taken-out")

    def clear(self) -> None:
        """Empty every inbox, and fill what was full again."""
        for user, settings in USERS.items():
            if settings and not self._archived(user).exists():
                (self.directory / user / "taken-out").rename(self._archived(user))
        for user in USERS:
            for path in self._paths(user):
                path.unlink(missing_ok=True)

    def _archived(self, user: str) -> Path:
        return self.directory / user / "Maildir" / ".Archive" / "cur" / "1.old.message:2,S"

    def _paths(self, user: str) -> list[Path]:
        if user not in USERS:
            raise ValueError(f"{user!r} has no mailbox; users with one: {', '.join(USERS)}")
        maildir = self.directory / user / "Maildir"
        found = [path for name in ("new", "cur") if (maildir / name).is_dir() for path in (maildir / name).iterdir()]
        return sorted(found, key=lambda path: path.name)  # a maildir name begins with the time of delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Dovecot:
    """A running Dovecot: LMTP, quota-status and SASL for USERS."""

    process: ServerProcess
    directory: Path
    lmtp: Address  # the quota is asked after the dot: one reply for each accepted recipient
    lmtp_quota_at_rcpt: Address  # the same mailboxes, but the quota is asked at RCPT
    quota_status: Address  # Postfix policy protocol: 552 5.2.2 for a full mailbox
    sasl_socket: Path  # Dovecot's client protocol, as Postfix speaks it
    mailboxes: Mailboxes

    def stop(self) -> None:
        """Shut down early: LMTP sessions are told 421 4.3.2. Harmless when it is down already."""
        self.process.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Imap:
    """A running Dovecot with IMAP; nobody logs in without TLS."""

    process: ServerProcess
    imap: Address  # STARTTLS
    imaps: Address
    lmtp: Address
    ca_file: Path  # PEM; its certificate names 127.0.0.1 and localhost
    mailboxes: Mailboxes

    def stop(self) -> None:
        """Shut down early. Harmless when it is down already."""
        self.process.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Postfix:
    """A running Postfix. One queue, one delivery to Dovecot, and a listening service for each kind of trouble.

    All but `main` and `submission` take mail for any of USERS, full or not, and refuse unknown ones with 550 5.1.1;
    `greylisting` does so while Postgrey runs, and on the second try.
    """

    process: ServerProcess
    directory: Path
    main: Address  # REFUSED and full mailboxes at RCPT, REFUSED_AT_DOT, SIZE_LIMIT_BYTES, RECIPIENT_LIMIT
    impatient: Address  # 421 4.4.2 after IDLE_SECONDS of silence, 421 4.7.0 after ERROR_LIMIT errors
    forbidden: Address  # 221 2.7.0 and a closed connection for the command XPING, or for what looks like a header
    late: Address  # answers the final dot `late_reply_seconds` late, and delivers even when the client has gone
    no_space: Address  # 452 4.3.1 to every MAIL: there is never enough room in the queue
    trusting: Address  # no check for full mailboxes: what Dovecot then refuses comes back to the sender as a bounce
    roomy: Address  # no TLS and no check for full mailboxes, for a thousand recipients at once
    greylisting: Address  # asks a Postgrey at `postgrey`: 450 4.2.0 to who is new to it
    postgrey: Address  # where `running_postgrey` listens
    submission: Address  # STARTTLS and AUTH PLAIN or LOGIN come first: 530 5.7.0 without TLS, 554 5.7.1 without AUTH
    late_reply_seconds: int
    ca_file: Path  # PEM; its certificate for `submission` names 127.0.0.1, localhost and mta.lab.test

    def drain(self, timeout: float = 20.0) -> None:
        """Wait until nothing is on its way: each accepted message is delivered, bounced or (4xx) put off.

        A client's open transaction counts as on its way, also when the client has gone and `late` is not done with it.
        """
        wait_until(
            lambda: not self._on_its_way() or not self.process.is_running,
            timeout,
            lambda: f"still in the queue after {timeout} s: {self._on_its_way()}",
        )

    def flush(self) -> None:
        """Try again now what was put off."""
        subprocess.run([program("postqueue"), "-c", str(self.directory), "-f"], check=True, timeout=10)

    def put_off(self) -> int:
        """How many messages wait for another try."""
        return sum(path.is_file() for path in (self.directory / "queue" / "deferred").rglob("*"))

    def stop(self) -> None:
        """Shut down early: sessions end without a word. Harmless when it is down already."""
        self.process.stop()

    def _on_its_way(self) -> list[str]:
        # Twice in the order a message travels: a bounce enters `incoming` before its cause leaves `active`.
        stages = ("incoming", "active") * 2
        return [path.name for stage in stages for path in (self.directory / "queue" / stage).iterdir()]


def why_no_dovecot() -> str | None:
    """Why `running_dovecot` cannot work here and what to do about it; None when it can."""
    if not is_installed("doveconf") or not Path(output_of("doveconf", "-d", "-h", "libexec_dir"), "lmtp").exists():
        return "Dovecot's LMTP server is not installed: apt-get install dovecot-core dovecot-lmtpd"
    version = output_of("dovecot", "--version")
    if not version.startswith("2.3."):
        return f"the configuration is written for Dovecot 2.3, this is {version}"
    return None


def why_no_imap() -> str | None:
    """Why `running_imap` cannot work here and what to do about it; None when it can."""
    if reason := why_no_dovecot():
        return reason
    if not Path(output_of("doveconf", "-d", "-h", "libexec_dir"), "imap").exists():
        return "Dovecot's IMAP server is not installed: apt-get install dovecot-imapd"
    return None


def why_no_postfix() -> str | None:
    """Why `running_postfix` cannot work here and what to do about it; None when it can."""
    if not is_installed("postconf"):
        return "Postfix is not installed: apt-get install postfix"
    if os.geteuid() != 0:
        return "Postfix starts as root only: run these tests as root"
    return None


def why_no_postgrey() -> str | None:
    """Why `running_postgrey` cannot work here and what to do about it; None when it can."""
    return None if is_installed("postgrey") else "Postgrey is not installed: apt-get install postgrey"


@contextmanager
def running_dovecot() -> Iterator[Dovecot]:
    """A Dovecot of its own, with empty mailboxes; stopped and removed at the end. Works without root too."""
    with server_directory("dovecot") as directory:
        services = ("lmtp", "lmtp_quota_at_rcpt", "quota_status")
        addresses = dict(zip(services, free_addresses(len(services)), strict=True))
        (directory / "state").mkdir()
        make_homes(directory / "homes")
        users = "".join(f"{user}:{{PLAIN}}{PASSWORD}::::::{settings}\n" for user, settings in USERS.items())
        (directory / "users").write_text(users)
        config = directory / "dovecot.conf"
        config.write_text(dovecot_conf(directory, addresses))
        with started([program("dovecot"), "-F", "-c", str(config)], directory / "dovecot.log") as process:
            wait_until_greeted(process, [addresses["lmtp"], addresses["lmtp_quota_at_rcpt"]])
            yield Dovecot(
                process=process,
                directory=directory,
                sasl_socket=directory / "run" / "sasl",
                mailboxes=Mailboxes(directory / "homes"),
                **addresses,
            )


@contextmanager
def running_imap() -> Iterator[Imap]:
    """A Dovecot of its own with IMAP over TLS, and LMTP to fill its empty mailboxes; stopped and removed at the end."""
    with server_directory("dovecot") as directory:
        make_certificate(directory)
        lmtp, quota_rcpt, quota_status, imap, imaps = free_addresses(5)
        addresses = {"lmtp": lmtp, "lmtp_quota_at_rcpt": quota_rcpt, "quota_status": quota_status}
        (directory / "state").mkdir()
        make_homes(directory / "homes")
        (directory / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}::::::\n" for user in USERS))
        config = directory / "dovecot.conf"
        config.write_text(dovecot_conf(directory, addresses) + imap_conf(directory, imap, imaps))
        with started([program("dovecot"), "-F", "-c", str(config)], directory / "dovecot.log") as process:
            wait_until_greeted(process, [lmtp])
            wait_until(lambda: not process.is_running or (accepts(imap) and accepts(imaps)), 20.0)
            yield Imap(
                process=process,
                imap=imap,
                imaps=imaps,
                lmtp=lmtp,
                ca_file=directory / "ca.pem",
                mailboxes=Mailboxes(directory / "homes"),
            )


@contextmanager
def running_postfix(
    dovecot: Dovecot,
    *,
    late_reply_seconds: int = 3,
    routes: Mapping[str, str] | None = None,
    pipes: Mapping[str, str] | None = None,
) -> Iterator[Postfix]:
    """A Postfix of its own that delivers through `dovecot`; stopped and removed at the end.

    `routes` are more domains that it takes mail for, each with a transport such as `smtp:[127.0.0.1]:2525`, or
    `discard:`; `pipes` are transports that are commands.
    """
    with server_directory("postfix") as directory:
        make_queue(directory)
        make_certificate(directory)
        write_tables(directory)
        (directory / "transport").write_text("".join(f"{one} {way}\n" for one, way in (routes or {}).items()))
        names = (*smtpd_services(dovecot, Address("", 0), late_reply_seconds), "postgrey")
        addresses = dict(zip(names, free_addresses(len(names)), strict=True))
        services = smtpd_services(dovecot, addresses["postgrey"], late_reply_seconds)
        (directory / "main.cf").write_text(main_cf(directory, dovecot))
        commands = "".join(
            f"{name} unix - n n - - pipe\n  user={mail_owner().pw_name} argv={command}\n"
            for name, command in (pipes or {}).items()
        )
        (directory / "master.cf").write_text(master_cf(services, addresses) + commands)
        for path in filter(Path.is_file, directory.iterdir()):
            os.utime(path, (0, 0))  # Postfix waits two seconds for a file that may still be being written
        command = [output_of("postconf", "-d", "-h", "daemon_directory") + "/master", "-d", "-c", str(directory)]
        # Until it is up, master looks here for where to log; else "address in use" went to the syslog alone.
        early_log = {"POSTLOG_SERVICE": f"{directory}/queue/public/postlog", "POSTLOG_HOSTNAME": "mta"}
        with started(command, directory / "log" / "mail.log", **early_log) as process:
            wait_until_greeted(process, [addresses[name] for name in services])
            yield Postfix(
                process=process,
                directory=directory,
                late_reply_seconds=late_reply_seconds,
                ca_file=directory / "ca.pem",
                **addresses,
            )


@contextmanager
def running_postgrey(postfix: Postfix) -> Iterator[ServerProcess]:
    """A Postgrey that `postfix.greylisting` asks, which has seen nobody yet; stopped and removed at the end."""
    with server_directory("postgrey") as directory:
        # Perl under taint checks takes no names but those of a user and a group that can write here.
        owner = mail_owner()
        shutil.chown(directory, owner.pw_uid, owner.pw_gid)
        command = [
            program("postgrey"),
            f"--inet={postfix.postgrey.host}:{postfix.postgrey.port}",
            f"--dbdir={directory}",
            f"--user={owner.pw_name}",
            f"--group={grp.getgrgid(owner.pw_gid).gr_name}",
            f"--delay={GREYLIST_SECONDS}",
            "--auto-whitelist-clients=0",
            "--whitelist-clients=/dev/null",
            "--whitelist-recipients=/dev/null",
        ]
        with started(command, directory / "postgrey.log") as process:
            wait_until(lambda: not process.is_running or accepts(postfix.postgrey), 20.0)
            if not process.is_running:
                raise ServerDidNotStart(f"{command} ended by itself\n{console_of(process.log_file).read_text()}")
            yield process


# --- Dovecot's files


def dovecot_conf(directory: Path, addresses: Mapping[str, Address]) -> str:
    owner = mail_owner()
    group = grp.getgrgid(owner.pw_gid).gr_name
    return f"""
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
protocols = lmtp
listen = 127.0.0.1
hostname = mda.{DOMAIN}
ssl = no
auth_mechanisms = plain login
auth_username_format = %Ln
auth_failure_delay = 0
first_valid_uid = 1
mail_uid = {owner.pw_uid}
mail_gid = {owner.pw_gid}
mail_home = {directory}/homes/%Ln
mail_location = maildir:~/Maildir
mail_plugins = quota
passdb {{
  driver = passwd-file
  args = {directory}/users
}}
userdb {{
  driver = passwd-file
  args = {directory}/users
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  quota_status_success = DUNNO
  quota_status_nouser = DUNNO
  quota_status_overquota = 552 5.2.2 Mailbox is full
}}
service lmtp {{
  inet_listener lmtp {{
    port = {addresses["lmtp"].port}
  }}
}}
service lmtp-quota-at-rcpt {{
  executable = lmtp -o lmtp_rcpt_check_quota=yes
  inet_listener lmtp {{
    port = {addresses["lmtp_quota_at_rcpt"].port}
  }}
}}
service quota-status {{
  executable = quota-status -p postfix
  client_limit = 1
  inet_listener policy {{
    port = {addresses["quota_status"].port}
  }}
}}
service auth {{
  unix_listener sasl {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
{"" if os.geteuid() == 0 else DOVECOT_WITHOUT_ROOT.format(user=owner.pw_name, group=group)}"""


# Without root nothing can change its user or its root directory.
DOVECOT_WITHOUT_ROOT = """
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


def imap_conf(directory: Path, imap: Address, imaps: Address) -> str:
    # Behind the rest, of which it replaces some settings.
    return f"""
protocols = lmtp imap
ssl = required
ssl_cert = <{directory}/server.pem
ssl_key = <{directory}/server.pem
imap_idle_notify_interval = 2 mins
service imap-login {{
  inet_listener imap {{
    port = {imap.port}
  }}
  inet_listener imaps {{
    port = {imaps.port}
    ssl = yes
  }}
  {"" if os.geteuid() == 0 else "chroot ="}
}}
"""


def make_homes(homes: Path) -> None:
    # What fills `full` and `tempfull` is one old message, outside the inbox that tests look at and clear.
    for user, settings in USERS.items():
        (homes / user).mkdir(parents=True)
        if "quota_rule" in settings:
            archive = homes / user / "Maildir" / ".Archive" / "cur"
            archive.mkdir(parents=True)
            filling = "This fills the mailbox.\n" * (QUOTA_BYTES // 10)
            (archive / "1.old.message:2,S").write_text(f"Subject: old\n\n{filling}")
    if os.geteuid() == 0:
        for path in (homes, *homes.rglob("*")):
            shutil.chown(path, mail_owner().pw_uid, mail_owner().pw_gid)


def mail_owner() -> pwd.struct_passwd:
    # Dovecot never delivers as root.
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


# --- Postfix's files


def main_cf(directory: Path, dovecot: Dovecot) -> str:
    return f"""
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log/mail.log
maillog_file_prefixes = {directory}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mta.{DOMAIN}
myorigin = {DOMAIN}
mydestination =
alias_maps =
alias_database =
notify_classes =
service_throttle_time = 1s
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps = texthash:{directory}/mailboxes
virtual_transport = lmtp:inet:{dovecot.lmtp.host}:{dovecot.lmtp.port}
default_transport = error:5.4.4 only {DOMAIN} has a route
transport_maps = texthash:{directory}/transport
relay_domains = texthash:{directory}/transport
header_checks = regexp:{directory}/header_checks
message_size_limit = 1000000
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = {directory}/server.pem
"""


def smtpd_services(dovecot: Dovecot, postgrey: Address, late_reply_seconds: int) -> dict[str, dict[str, str]]:
    """The listening services: their names in `Postfix`, and how each differs from main.cf."""
    tables = "texthash:$config_directory"
    quota_status = f"check_policy_service inet:{dovecot.quota_status.host}:{dovecot.quota_status.port}"
    at_rcpt = f"check_recipient_access {tables}/refused, reject_unlisted_recipient, {quota_status}"
    return {
        "main": {
            "smtpd_recipient_restrictions": at_rcpt,
            "smtpd_end_of_data_restrictions": f"check_sender_access {tables}/refused_at_dot",
            "message_size_limit": str(SIZE_LIMIT_BYTES),
            "smtpd_recipient_limit": str(RECIPIENT_LIMIT),
        },
        "impatient": {
            "smtpd_timeout": f"{IDLE_SECONDS}s",
            "smtpd_hard_error_limit": str(ERROR_LIMIT),
        },
        "forbidden": {"smtpd_forbidden_commands": "CONNECT GET POST XPING"},
        "late": {"smtpd_end_of_data_restrictions": f"sleep {late_reply_seconds}"},
        "no_space": {"queue_minfree": str(10**18)},
        "trusting": {},
        "roomy": {"smtpd_tls_security_level": "none"},
        "greylisting": {
            "smtpd_recipient_restrictions": f"check_policy_service inet:{postgrey.host}:{postgrey.port}",
        },
        "submission": {
            "smtpd_tls_security_level": "encrypt",
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": str(dovecot.sasl_socket),
            "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
        },
    }


def master_cf(services: Mapping[str, Mapping[str, str]], addresses: Mapping[str, Address]) -> str:
    lines = []
    for name, options in services.items():
        lines.append(f"{addresses[name].host}:{addresses[name].port} inet n - n - - smtpd")
        settings = {"syslog_name": f"postfix/{name}"} | dict(options)
        lines.extend(f"  -o {{ {setting} = {value} }}" for setting, value in settings.items())
    return "\n".join(lines) + MASTER_CF_REST


# Postfix's own master.cf without local mail and without chroot. SMTP goes where a test's route leads it.
MASTER_CF_REST = """
pickup    unix       n - n 60   1 pickup
cleanup   unix       n - n -    0 cleanup
qmgr      unix       n - n 300  1 qmgr
tlsmgr    unix       - - n 1000 1 tlsmgr
rewrite   unix       - - n -    - trivial-rewrite
bounce    unix       - - n -    0 bounce
defer     unix       - - n -    0 bounce
trace     unix       - - n -    0 bounce
flush     unix       n - n 1000 0 flush
proxymap  unix       - - n -    - proxymap
discard   unix       - - n -    - discard
error     unix       - - n -    - error
retry     unix       - - n -    - error
lmtp      unix       - - n -    - lmtp
smtp      unix       - - n -    - smtp
anvil     unix       - - n -    1 anvil
scache    unix       - - n -    1 scache
postlog   unix-dgram n - n -    1 postlogd
"""


def write_tables(directory: Path) -> None:
    def table(entries: Mapping[str, str]) -> str:
        return "".join(f"{user}@{DOMAIN} {value}\n" for user, value in entries.items())

    (directory / "mailboxes").write_text(table(dict.fromkeys(USERS, "exists")))
    (directory / "refused").write_text(table(REFUSED))
    (directory / "refused_at_dot").write_text(table(REFUSED_AT_DOT))
    (directory / "header_checks").write_text(f"/^{REJECTED_HEADER}:/ REJECT 5.7.1 Message content rejected\n")


def make_queue(directory: Path) -> None:
    # What `postfix check` would make in two seconds.
    (directory / "queue" / "pid").mkdir(parents=True)
    for_messages = ("incoming", "active", "deferred", "hold", "corrupt", "saved", "maildrop")
    for_reports_and_sockets = ("bounce", "defer", "trace", "flush", "private", "public")
    for name in (*for_messages, *for_reports_and_sockets):
        path = directory / "queue" / name
        path.mkdir(mode=0o700)
        shutil.chown(path, "postfix")
    for name in ("data", "log"):
        (directory / name).mkdir()
        shutil.chown(directory / name, "postfix")


def make_certificate(directory: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(directory / "ca.pem")
    server = ca.issue_cert("127.0.0.1", "localhost", f"mta.{DOMAIN}")
    server.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")


# --- Processes, ports and patience


@contextmanager
def server_directory(name: str) -> Iterator[Path]:
    # A short path, because a Unix socket's name has 107 bytes; open to all, because servers change their user.
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@contextmanager
def started(command: list[str], log_file: Path, **environment: str) -> Iterator[ServerProcess]:
    with console_of(log_file).open("wb") as console:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env=os.environ | environment,
            start_new_session=True,
        )
    process = ServerProcess(popen, log_file)
    # The guard ends the server when the tests die without a chance to do so: its input ends with them.
    guard_command = ["sh", "-c", 'read -r _; kill -s TERM -- "-$0"', str(popen.pid)]
    with subprocess.Popen(guard_command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            yield process
        finally:
            process.stop()
            guard.kill()


def wait_until_greeted(process: ServerProcess, addresses: list[Address], timeout: float = 20.0) -> None:
    try:
        wait_until(lambda: not process.is_running or all(map(greets, addresses)), timeout)
    except TimeoutError:
        problem = f"no greeting within {timeout} s"
    else:
        if process.is_running:
            return
        problem = "ended by itself"
    console = console_of(process.log_file).read_text(errors="replace")
    raise ServerDidNotStart(f"{process.popen.args!r} {problem}\n{console}\n{process.log()}")


def console_of(log_file: Path) -> Path:
    # What a server says before it can log.
    return log_file.with_suffix(".console")


def greets(address: Address) -> bool:
    try:
        with socket.create_connection(address, timeout=2) as connection:
            greeting = connection.recv(512)
            connection.sendall(b"QUIT\r\n")
            return greeting.startswith(b"220")
    except OSError:
        return False


def accepts(address: Address) -> bool:
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError:
        return False
    return True


def free_addresses(count: int) -> list[Address]:
    # Not bind() to port 0: those ports are also lent to outgoing connections, and one could be taken again before the
    # server has it. Below that range only servers choose.
    found: list[Address] = []
    for port in random.sample(range(20_000, 32_000), 1_000):
        address = Address("127.0.0.1", port)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(address)
            found.append(address)
        if len(found) == count:
            return found
    raise ServerDidNotStart(f"no {count} free ports")


def wait_until(is_true: Callable[[], bool], timeout: float, otherwise: Callable[[], str] = lambda: "") -> None:
    """Return as soon as `is_true()`; TimeoutError with the text of `otherwise()` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise() or f"not within {timeout} s")
        time.sleep(0.02)


def is_installed(name: str) -> bool:
    return shutil.which(name, path=SEARCH_PATH) is not None


def program(name: str) -> str:
    return shutil.which(name, path=SEARCH_PATH) or name


def output_of(name: str, *arguments: str) -> str:
    return subprocess.run([program(name), *arguments], capture_output=True, text=True, check=True).stdout.strip()
