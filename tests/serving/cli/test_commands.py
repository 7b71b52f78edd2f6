"""Commands against a desk that runs: what they print, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from serving.cli.main import _COMMANDS
from serving.cli.running import find_running

Refdesk = Callable[..., Result]
RefdeskJson = Callable[..., Any]


def test_help_is_quick_and_names_every_command() -> None:
    """It imports no part of the desk."""
    code = (
        "import sys\nfrom serving.cli.main import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'httpx', 'rich', 'sqlalchemy', 'celery', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in shown for name in _COMMANDS)


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_explains_itself(refdesk: Refdesk, name: str) -> None:
    """`--help` works for each, and for each subcommand."""
    result = refdesk(name, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_ask_prints_the_answer_and_its_citations(refdesk: Refdesk) -> None:
    """Number, title and the quoted words."""
    result = refdesk("ask", "How many days of annual leave do employees get?")
    assert result.exit_code == 0
    assert "28 days" in result.stdout
    assert "[1] leave\n    “" in result.stdout


def test_an_honest_not_found_is_a_success(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """It ends with exit code 0, and says so in JSON."""
    assert refdesk("ask", "Who is the king of Mars?").exit_code == 0
    assert refdesk_json("ask", "Who is the king of Mars?")["abstained"] is True


def test_search_shows_place_and_passage(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """The best passage of each document."""
    result = refdesk("search", "hotel", "rooms")
    assert " 1. Travel › Hotels" in result.stdout
    assert refdesk_json("search", "hotel rooms", "--limit", 1)["hits"][0]["external_id"] == "travel.md"


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (["status"], "passages"),
        (["sources"], "sources"),
        (["docs"], "documents"),
        (["keys"], "keys"),
        (["directory", "sign-out", "nobody"], "ended"),
        (["directory"], "users"),
        (["directory", "groups"], "groups"),
        (["directory", "import", "tests/serving/cli/people.csv", "--dry-run"], "differences"),
        (["sync"], "jobs"),
        (["audit", "verify"], "intact"),
        (["usage"], "total"),
        (["access", "explain", "nobody", "travel.md"], "may_read"),
    ],
)
def test_json_is_one_document(refdesk_json: RefdeskJson, command: list[str], key: str) -> None:
    """Standard output holds nothing else."""
    assert key in refdesk_json(*command)


def test_a_user_sees_only_what_it_may_read(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """`--as-user` goes through the same permissions as everybody."""
    assert refdesk("directory", "put", "bob", "--group", "staff").stdout == "bob: group:staff\n"
    question = "What is the salary of the chief executive?"
    assert "90210" in json.dumps(refdesk_json("search", question))
    assert "90210" not in json.dumps(refdesk_json("search", question, "-u", "bob"))
    assert "90210" not in refdesk("ask", question, "-u", "bob").output
    assert "bob may not read it." in refdesk("access", "explain", "bob", "secret/salaries.txt").stdout
    assert "bob may read it." in refdesk("access", "explain", "bob", "travel.md").stdout
    seen = refdesk("preview", "bob", "hotel", "rooms")
    assert seen.stderr.startswith("Preview: what bob would find in everything that bob may read.")
    assert " 1. Travel › Hotels" in seen.stdout
    assert "90210" not in refdesk("preview", "bob", "salary of the chief executive").stdout
    assert refdesk("preview", "nobody", "hotel").stderr.startswith(
        "unknown_user: the directory does not know"
    )


def test_groups_and_other_ids_are_looked_after(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """Made, changed, shown and deleted; a user is disabled, enabled and linked."""
    refdesk("directory", "put", "cleo", "--group", "inner")
    made = refdesk("directory", "group", "outer", "--new", "--add", "group:inner", "--add", "user:dan")
    assert made.stdout == "group:outer: 2 members\n"
    assert refdesk("directory", "group", "outer", "--remove", "user:dan").stdout == "group:outer: 1 members\n"
    assert refdesk_json("directory", "groups", "outer") == {"members": ["group:inner"]}
    assert refdesk("directory", "disable", "cleo").stdout == "cleo is disabled\n"
    assert refdesk("search", "hotel", "-u", "cleo").exit_code == 3
    assert refdesk("directory", "enable", "cleo").stdout == "cleo is enabled\n"
    assert "user:cleo@x.org" in refdesk("directory", "link", "cleo", "mail", "Cleo@x.org").stdout
    assert refdesk_json("directory", "identities", "cleo")["identities"][0]["issuer"] == "mail"
    assert refdesk("directory", "unlink", "cleo", "mail", "cleo@x.org").stdout == "unlinked\n"
    assert refdesk("directory", "delete-group", "outer").stdout == "deleted\n"
    assert refdesk("directory", "groups", "outer").exit_code == 3


def test_failed_documents_are_listed_and_tried_again(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """A broken file stays failed, which ends with exit code 1."""
    assert [d["error_code"] for d in refdesk_json("docs", "--state", "failed")["documents"]] == ["corrupt"]
    result = refdesk("reindex", "--failed")
    assert result.exit_code == 1
    assert result.stderr.startswith("documents_failed: 1 of 1 failed")
    assert refdesk("reindex", "travel.md").exit_code == 0


def test_a_key_is_made_shown_once_and_revoked(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """Only the secret goes to standard output, so that it can be piped."""
    secret = refdesk("keys", "create", "laptop", "--scope", "search", "--days", 30).stdout.strip()
    assert secret.startswith("rd_")
    (key,) = [key for key in refdesk_json("keys")["keys"] if key["name"] == "laptop"]
    assert secret not in json.dumps(key)
    rotated = refdesk("keys", "rotate", key["id"], "--grace", "1h").stdout.strip()
    assert rotated.startswith("rd_")
    assert rotated != secret
    assert refdesk("keys", "revoke", key["id"]).exit_code == 0
    assert refdesk("keys", "revoke", key["id"]).exit_code == 3


@pytest.mark.parametrize(
    ("command", "exit_code", "code"),
    [
        (["reindex", "no-such-document"], 3, "not_found"),
        (["sync", "no-such-source"], 3, "not_found"),
        (["status", "-u", "nobody-known"], 3, "unknown_user"),
        (["search", " "], 2, "invalid_"),
        (["keys", "create", "k", "--scope", "nonsense"], 2, "invalid_request"),
        (["up"], 1, "already_running"),
        (["up", "--host", "0.0.0.0"], 2, "invalid_settings"),
        (["status", "--data", "/nowhere/at/all"], 1, "no_desk"),
        (["status", "--url", "http://127.0.0.1:9"], 1, "desk_unreachable"),
        (["sources", "--data", "x", "add", "n", "--push"], 2, "Usage"),
        (["reindex"], 2, "Usage"),
        (["ask"], 2, "Usage"),
        (["nonsense"], 2, "Usage"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    refdesk: Refdesk, command: list[str], exit_code: int, code: str
) -> None:
    """`code: message` and a hint on standard error, nothing on standard output, never a traceback."""
    result = refdesk(*command)
    assert result.exit_code == exit_code, result.output
    assert result.stderr.startswith(code)
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_debug_shows_where_it_broke(refdesk: Refdesk) -> None:
    """The exception comes through."""
    assert "CommandError" in repr(refdesk("--debug", "sync", "no-such-source").exception)


def test_a_port_in_use_is_said_clearly(refdesk: Refdesk, data: Path, tmp_path: Path) -> None:
    """It names address and port, and how to choose another."""
    running = find_running(data)
    assert running is not None
    result = refdesk("up", "--data", tmp_path / "other", "--port", running.url.rpartition(":")[2])
    assert result.exit_code == 1
    assert result.stderr.startswith("port_in_use: cannot listen on 127.0.0.1")
    assert "--port" in result.stderr


def test_a_killed_desk_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    """Its desk.json names a process that is gone, or cannot be read."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "desk.json").write_text(json.dumps({"pid": gone.pid, "url": "http://127.0.0.1:9"}))
    assert find_running(tmp_path) is None
    (tmp_path / "desk.json").write_text("{")
    assert find_running(tmp_path) is None


def test_control_characters_of_documents_do_not_reach_the_terminal() -> None:
    """A document cannot move the cursor or write text backwards."""
    from serving.cli.output import plain

    assert plain("a\x1b[2Jb\u202ec\td") == "a[2Jbc\td"


def test_streamed_pieces_arrive_as_they_are_written() -> None:
    """The in-process transport hands over the first piece before the last is made."""
    import httpx
    from starlette.responses import StreamingResponse
    from starlette.types import Receive, Scope, Send

    from serving.cli.in_process import BASE_URL, InProcessTransport

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        def pieces() -> Any:
            yield "first"
            time.sleep(1.0)
            yield "last"

        await StreamingResponse(pieces())(scope, receive, send)

    with httpx.Client(transport=InProcessTransport(app), base_url=BASE_URL) as client:
        began = time.monotonic()
        with client.stream("GET", "/") as reply:
            arrived = [(piece, time.monotonic() - began) for piece in reply.iter_text()]
    assert [piece for piece, _ in arrived] == ["first", "last"]
    assert arrived[1][1] - arrived[0][1] > 0.5


def test_sections_are_set_confirmed_and_opened_again(refdesk: Refdesk, refdesk_json: RefdeskJson) -> None:
    """A rule names its heading; what the text does not have is said so; a stray option is wrong usage."""
    refdesk("directory", "put", "nils", "--group", "staff")
    set_one = ("access", "sections", "travel.md", "--heading", "Hotels", "--allow", "staff")
    (rule,) = refdesk_json(*set_one)["sections"]
    assert (rule["heading"], rule["standing"], rule["readers"]) == (["Hotels"], "found", ["group:staff"])
    shown = refdesk("access", "explain", "nobody", "travel.md").stdout
    assert "nobody may read parts of it." in shown
    assert "section Hotels: no" in shown
    assert "section Hotels: yes" in refdesk("access", "explain", "nils", "travel.md").stdout
    absent = refdesk("access", "sections", "travel.md", "--heading", "Trains")
    assert absent.exit_code == 0
    assert "absent" in absent.stdout
    assert refdesk("access", "sections", "travel.md", "--heading", "Trains", "--confirm").exit_code == 0
    assert refdesk("access", "sections", "travel.md", "--heading", "Planes", "--remove").exit_code == 3
    assert refdesk("access", "sections", "travel.md", "--remove").exit_code == 2
    assert refdesk(*set_one, "--remove").exit_code == 2
    for heading in ("Trains", "Hotels"):
        refdesk("access", "sections", "travel.md", "--heading", heading, "--remove")
    assert refdesk_json("access", "sections", "travel.md") == {"sections": []}
