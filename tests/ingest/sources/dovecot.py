"""A real IMAP server for tests: Debian's Dovecot, without privileges, on two ports of 127.0.0.1."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

USER = "mara"
PASSWORD = "correct-horse"

_CONFIG = """
protocols = imap
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
mail_fsync = never
mail_location = maildir:{folder}/mail/%u
disable_plaintext_auth = {plaintext_off}
ssl = {ssl}
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Papierschnipsel {{
    special_use = \\Trash
    auto = create
  }}
  mailbox Entwurfsecke {{
    special_use = \\Drafts
    auto = create
  }}
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Dovecot:
    """A running server.

    Attributes:
        port: Plain text, and STARTTLS unless the server was started without it.
        tls_port: TLS from the first byte.
        certificate: The server's own; nobody else vouches for it.
    """

    port: int
    tls_port: int
    certificate: Path


def is_installed() -> bool:
    """Whether the server is on this machine."""
    return shutil.which("dovecot", path=f"{os.environ['PATH']}:/usr/sbin") is not None


@contextmanager
def running_dovecot(*, ssl: bool = True) -> Iterator[Dovecot]:
    """Start a server with one empty mailbox, wait until it greets, stop it at the end."""
    # Socket paths are limited to 108 characters, and root's server runs as nobody: not below `tmp_path`.
    folder = Path(tempfile.mkdtemp(prefix="dovecot-"))
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    try:
        server = Dovecot(_free_port(), _free_port(), folder / "cert.pem")
        _prepare(folder, server, account, ssl=ssl)
        process = subprocess.Popen(
            [shutil.which("dovecot") or "/usr/sbin/dovecot", "-F", "-c", str(folder / "dovecot.conf")],
            user=account.pw_uid if os.geteuid() == 0 else None,
            group=account.pw_gid if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait(server.port, process, folder)
            yield server
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            with suppress(ProcessLookupError):  # sessions may outlive the master
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path, server: Dovecot, account: pwd.struct_passwd, *, ssl: bool) -> None:
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *(
                "-keyout",
                folder / "key.pem",
                "-out",
                folder / "cert.pem",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    for name in ("run", "state", "mail"):
        (folder / name).mkdir()
    (folder / "dovecot.conf").write_text(
        _CONFIG.format(
            folder=folder,
            user=account.pw_name,
            group=grp.getgrgid(account.pw_gid).gr_name,
            password=PASSWORD,
            port=server.port,
            tls_port=server.tls_port,
            ssl="yes" if ssl else "no",
            plaintext_off="yes" if ssl else "no",
        )
    )
    for path in (folder, *folder.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log = (folder / "log").read_text() if (folder / "log").exists() else ""
            raise RuntimeError(f"dovecot ended: {log}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
                if probe.recv(100).startswith(b"* OK"):
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"dovecot did not greet: {(folder / 'log').read_text()}")
