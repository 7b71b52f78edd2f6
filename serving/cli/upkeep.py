"""`refdesk rebuild`, `backup` and `restore`: what operators do to a state folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from retrieval.settings import Settings, load_settings
from serving.cli.api import Api, Connection, connected, open_api
from serving.cli.errors import CommandError
from serving.cli.output import print_json, progress_bar
from serving.cli.shape import ExampleCommand
from serving.cli.waiting import outcome_of, wait_for_build

data_option = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="State folder of the desk."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document only.")


@click.command(cls=ExampleCommand, examples=("refdesk rebuild", "refdesk rebuild --rollback"))
@click.option("--rollback", is_flag=True, help="Go back to the index that answered before the last switch.")
@connected
@json_option
def rebuild(connection: Connection, rollback: bool, as_json: bool) -> None:
    """Build the index anew from the catalogue, beside the present one, and switch to it.

    For an index that is damaged, or after a change of the embedding model (REFDESK_MODEL), the parsers or the
    chunker. The desk may run meanwhile and answers all the time. Text that was embedded before is not
    embedded again; documents that other parsers read or another chunker cut are read anew. The index before
    is kept up to date, so that --rollback takes no time.
    """
    with open_api(connection) as api:
        facts = _gone_back(api) if rollback else _rebuilt(api)
    print_facts(facts, as_json=as_json)


@click.command(cls=ExampleCommand, examples=("refdesk backup /backups/desk.tar.gz",))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@data_option
@json_option
def backup(file: Path, data: Path | None, as_json: bool) -> None:
    """Write catalogue and texts into FILE, a gzipped tar. The desk may run meanwhile.

    The index and the caches are left out: they are rebuilt. FILE holds the text of every document and the
    access lists, so it is readable by you only; keep it as safe as the documents.
    """
    from serving.cli.archive import write_backup

    settings = load_settings(data=data)
    require_catalogue(settings)
    with progress_bar() as advance:
        facts = write_backup(settings.data, file, lambda done, total: advance("write", done, total))
    print_facts({"file": str(file), **facts}, as_json=as_json)


@click.command(cls=ExampleCommand, examples=("refdesk restore /backups/desk.tar.gz --data /srv/refdesk",))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_option
@json_option
def restore(file: Path, data: Path | None, as_json: bool) -> None:
    """Make a desk from FILE in a state folder that is empty or absent, and build its index."""
    from serving.cli.archive import read_backup

    settings = load_settings(data=data)
    _refuse_server_catalogue(settings)
    facts = read_backup(file, settings.data)
    print_facts({**facts, **_filled(settings)}, as_json=as_json)


def require_catalogue(settings: Settings) -> None:
    """Refuse a state folder without a desk.

    Raises:
        CommandError: There is none.
    """
    if not settings.catalogue_url and not (settings.data / "catalogue.db").exists():
        hint = "Name its folder with --data or REFDESK_DATA."
        raise CommandError("no_desk", f"there is no desk in {settings.data}", hint)


def _refuse_server_catalogue(settings: Settings) -> None:
    if settings.catalogue_url:
        raise CommandError(
            "not_embedded",
            "the catalogue is on a database server",
            "Back it up and restore it with the server's own tools, for example pg_dump.",
        )


def _rebuilt(api: Api) -> dict[str, Any]:
    job = wait_for_build(api, api.post("indexes"))
    outcome_of(job)
    return {"job": job["id"], **job["report"]}


def _gone_back(api: Api) -> dict[str, Any]:
    retired = [index for index in api.get("indexes")["indexes"] if index["state"] == "retired"]
    if not retired:
        raise CommandError("no_rollback", "there is no index to go back to", "Build one: refdesk rebuild.")
    api.post("indexes", retired[0]["name"], "activate")
    return {"index": retired[0]["name"], "fingerprint": retired[0]["fingerprint"]}


def _filled(settings: Settings) -> dict[str, Any]:
    from serving.upkeep import fill_index

    counted: list[int] = []
    with progress_bar() as advance:

        def progress(done: int, total: int) -> None:
            counted[:] = [total]
            advance("index", done, total)

        record = fill_index(settings, progress=progress)
    return {"index": record.name, "fingerprint": record.fingerprint, "chunks": counted[0] if counted else 0}


def print_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    """Print what came of a command, one fact a line."""
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name.replace('_', ' ')}: {value}")
