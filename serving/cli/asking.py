"""`refdesk ask`, `refdesk search` and `refdesk preview`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from serving.cli.api import Api, Connection, connected, json_option, open_api
from serving.cli.errors import CommandError
from serving.cli.output import plain, print_json, say
from serving.cli.shape import ExampleCommand, place_of

_SHOWN_CHARS = 300


@click.command(
    cls=ExampleCommand,
    examples=("refdesk ask 'How many days of leave do I get?'", "refdesk ask -u mara 'Who signs contracts?'"),
)
@click.argument("question", nargs=-1, required=True)
@click.option("--source", "sources", multiple=True, help="Only from this source (id); may be repeated.")
@click.option("--extracts", is_flag=True, help="Quote only, even where a model is configured.")
@click.option("--effort", type=click.Choice(["low", "medium", "high"]), default="low", show_default=True)
@json_option
@connected
def ask(
    question: tuple[str, ...],
    sources: tuple[str, ...],
    extracts: bool,
    effort: str,
    as_json: bool,
    connection: Connection,
) -> None:
    """Answer QUESTION from the documents that you may read.

    The answer is printed as it is written; numbered citations with the quoted words follow. "Not found" is an
    answer too, and ends with exit code 0.
    """
    body: dict[str, Any] = {
        "question": " ".join(question),
        "filters": {"sources": list(sources)},
        "mode": "extractive" if extracts else "auto",
        "reasoning_effort": effort,
    }
    with open_api(connection) as api:
        if as_json:
            print_json(api.post("answers", body=body))
        else:
            print_sources_of(_streamed(api, body))


@click.command(
    cls=ExampleCommand,
    examples=("refdesk search 'travel expenses'", "refdesk search 'VPN' --limit 3 --json"),
)
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 200), default=10, show_default=True, help="Most hits.")
@click.option("--source", "sources", multiple=True, help="Only from this source (id); may be repeated.")
@click.option("--type", "media_types", multiple=True, help="Only of this media type; may be repeated.")
@click.option("--tag", "tags", multiple=True, help="Only with this tag; may be repeated.")
@click.option("--path", default="", help="Only below this path, for example people/.")
@click.option("--mode", type=click.Choice(["hybrid", "dense", "sparse"]), default="hybrid", show_default=True)
@click.option("--all-passages", is_flag=True, help="Show every passage, not the best one of each document.")
@click.option("--explain", is_flag=True, help="Tell where the time went.")
@json_option
@connected
def search(
    *,
    query: tuple[str, ...],
    limit: int,
    sources: tuple[str, ...],
    media_types: tuple[str, ...],
    tags: tuple[str, ...],
    path: str,
    mode: str,
    all_passages: bool,
    explain: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Find passages that match QUERY in the documents that you may read."""
    filters = {"sources": sources, "media_types": media_types, "tags": tags, "path_prefix": path}
    body = {
        "query": " ".join(query),
        "limit": limit,
        "filters": {name: list(each) if name != "path_prefix" else each for name, each in filters.items()},
        "group_by_document": not all_passages,
        "explain": explain,
        "mode": mode,
    }
    with open_api(connection) as api:
        found = api.post("search", body=body)
    if as_json:
        print_json(found)
    else:
        _print_hits(found)


@click.command(
    cls=ExampleCommand,
    examples=("refdesk preview mara 'travel expenses'", "refdesk preview mara 'VPN' --limit 3 --json"),
)
@click.argument("user")
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 200), default=10, show_default=True, help="Most hits.")
@json_option
@connected
def preview(user: str, query: tuple[str, ...], limit: int, as_json: bool, connection: Connection) -> None:
    """Find what USER would find for QUERY among the documents that you own.

    Administrators with the scope preview see everything that USER would find. It is put on record who looked as
    whom, and at what.
    """
    body = {"user_id": user, "query": " ".join(query), "limit": limit}
    with open_api(connection) as api:
        found = api.post("search", "preview", body=body)
    if as_json:
        print_json(found)
        return
    say(plain(found["notice"]))
    _print_hits(found, nothing=f"{plain(user)} would find nothing of it.")


def print_answer(answer: Mapping[str, Any]) -> None:
    """Print an answer with its citations."""
    print(plain(answer["answer"]))
    print_sources_of(answer)


def print_sources_of(answer: Mapping[str, Any]) -> None:
    """Print the citations of an answer: number, title, place, and the words that it rests on."""
    if answer["citations"]:
        print()
    for citation in answer["citations"]:
        print(f"[{citation['marker']}] {plain(citation['title'])}{place_of(citation)}")
        print(f"    “{_one_line(citation['quote'])}”")
    if answer.get("fallback_reason"):
        reason = answer["fallback_reason"]
        why = "the day's tokens are used up" if reason == "token_budget_spent" else reason
        print(f"\n(Extracts stand in for the model: {why}.)", file=sys.stderr)
    if answer.get("withheld"):
        print(f"\n(Left out, because labelled no-ai: {answer['withheld']} passages.)", file=sys.stderr)


def _streamed(api: Api, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Print the answer as it comes; returns the whole reply.

    Where standard output is no terminal only the final text is printed: nothing can be taken back there.
    """
    is_live, shown = sys.stdout.isatty(), False
    for name, payload in api.events("answers", body={**body, "stream": True}):
        if name == "delta" and is_live:
            print(plain(payload["text"]), end="", flush=True)
            shown = True
        elif name == "withdrawn" and shown:
            print("\n(withdrawn)\n")
            shown = False
        elif name == "error":
            raise CommandError(payload["code"], payload["detail"], payload.get("hint", ""))
        elif name == "done":
            print() if shown else print(plain(payload["answer"]))
            whole: Mapping[str, Any] = payload
            return whole
    raise CommandError("unexpected_reply", "the answer ended early", "Ask again.")


def _print_hits(found: Mapping[str, Any], *, nothing: str = "Nothing found that you may read.") -> None:
    if not found["hits"]:
        print(nothing)
    for rank, hit in enumerate(found["hits"], start=1):
        print(f"{rank:>2}. {plain(hit['title'])}{place_of(hit)}  ({hit['score']:.3f})")
        print(f"    {_one_line(hit['text'])}")
        print(f"    {plain(hit['external_id'])}  {hit['document_id']}")
    if found.get("degraded"):
        print(f"left out: {', '.join(found['degraded'])}", file=sys.stderr)
    for step, ms in (found.get("timings_ms") or {}).items():
        print(f"{step}: {ms:.1f} ms", file=sys.stderr)


def _one_line(text: str) -> str:
    folded = " ".join(plain(text).split())
    return folded if len(folded) <= _SHOWN_CHARS else folded[: _SHOWN_CHARS - 1] + "…"
