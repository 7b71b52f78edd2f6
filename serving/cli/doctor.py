"""`refdesk doctor`: each part of a desk tried for itself, with what to do where one is unwell."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from retrieval.errors import RefdeskError
from retrieval.settings import Settings, load_settings
from serving.cli.errors import CommandError
from serving.cli.output import print_json, progress_bar
from serving.cli.running import find_running
from serving.cli.shape import ExampleCommand
from serving.cli.upkeep import data_option, json_option

_LEAST_FREE_MB = 1024


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one check.

    Attributes:
        outcome: `ok`, `failed`, or `skipped` where it cannot be made now.
        advice: What to do about it, empty when nothing.
    """

    name: str
    outcome: str
    detail: str
    advice: str = ""


@click.command(cls=ExampleCommand, examples=("refdesk doctor", "refdesk doctor --json"))
@data_option
@json_option
def doctor(data: Path | None, as_json: bool) -> None:
    """Check embedding model, reranker, catalogue, index, parser sandbox, disk and generator.

    Says what to do for each part that is unwell, and ends with exit code 1 when one is.
    """
    settings = load_settings(data=data)
    checks = []
    with progress_bar() as advance:
        for done, (name, check) in enumerate(_CHECKS.items(), start=1):
            checks.append(_made(name, check, settings))
            advance("check", done, len(_CHECKS))
    if as_json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        for each in checks:
            print(f"{each.outcome:<8} {each.name}: {each.detail}")
            if each.advice:
                print(f"         → {each.advice}")
    unwell = [each.name for each in checks if each.outcome == "failed"]
    if unwell:
        raise CommandError("unwell", f"{', '.join(unwell)}")


def _made(name: str, check: Callable[[Settings], Check], settings: Settings) -> Check:
    try:
        return check(settings)
    except RefdeskError as error:
        return Check(name, "failed", f"{error.code}: {error.message}", error.hint)
    except OSError as error:
        return Check(name, "failed", str(error), "Look at the folder's permissions and at the disk.")


def _model(settings: Settings) -> Check:
    from retrieval.wiring import model_folder, open_embedder

    folder = model_folder(settings)
    if not (folder / "model.onnx").is_file():
        return Check("model", "failed", f"there is no model in {folder}", "Run `make setup`.")
    with open_embedder(settings) as embedder:
        vector = embedder.embed_query("Does the model answer?")
        length = float((vector**2).sum()) ** 0.5
        if abs(length - 1) > 1e-3:
            return Check("model", "failed", f"vectors have length {length:.3f}", "Run `make setup` again.")
        return Check("model", "ok", f"{embedder.fingerprint}, {embedder.dimension} dimensions")


def _reranker(settings: Settings) -> Check:
    from retrieval.wiring import open_reranker

    with open_reranker(settings) as reranker:
        if reranker is None:
            return Check("reranker", "ok", "none configured: hits keep their first order")
        reranker.score("Does the model answer?", ["It does.", "It does not."])
        return Check("reranker", "ok", f"{reranker.fingerprint} scored two passages")


def _catalogue(settings: Settings) -> Check:
    from retrieval.adapters.sql.audit import SqlAudit
    from retrieval.adapters.sql.corpus import SqlCorpus
    from retrieval.adapters.sql.database import Database
    from retrieval.wiring import presence_of, utc_now

    if not settings.catalogue_url and not (settings.data / "catalogue.db").exists():
        return Check("catalogue", "skipped", f"no desk in {settings.data} yet", "refdesk up --docs FOLDER")
    database = Database(settings.database_url)
    try:
        database.migrate()
        totals = SqlCorpus(database, presence_of(settings, utc_now)).totals()
        SqlAudit(database, utc_now).records(after=0, limit=1)
    finally:
        database.close()
    states = ", ".join(f"{count} {state}" for state, count in sorted(totals["documents"].items()))
    return Check("catalogue", "ok", f"schema is current; documents: {states or 'none'}")


def _index(settings: Settings) -> Check:
    from serving.upkeep import compare_index

    if find_running(settings.data) is not None:
        return Check("index", "skipped", "a running desk holds it", "Stop the desk to compare every chunk.")
    if not settings.catalogue_url and not (settings.data / "catalogue.db").exists():
        return Check("index", "skipped", f"no desk in {settings.data} yet")
    found = compare_index(settings)
    if found.fingerprint != found.expected:
        detail = f"built by {found.fingerprint or 'nothing'}, in use is {found.expected}"
        return Check("index", "failed", detail, "Run `refdesk rebuild`.")
    if found.missing or found.surplus:
        detail = f"{found.missing} chunks missing, {found.surplus} too many"
        return Check("index", "failed", detail, "Run `refdesk rebuild`.")
    return Check("index", "ok", "holds exactly the catalogue's live chunks")


def _parser(settings: Settings) -> Check:
    from serving.upkeep import probe_parser

    read, layers = probe_parser(settings)
    if "parser answers" not in read:
        return Check("parser", "failed", "the sandbox read something else", "Look at the desk's log.")
    missing = ", ".join(name for name, is_there in layers.items() if not is_there)
    if not missing:
        return Check("parser", "ok", f"a file was read in the sandbox; layers: {', '.join(layers)}")
    advice = "docs/parsing.md says what each layer does and what holds without it."
    return Check("parser", "ok", f"a file was read in the sandbox; not on this machine: {missing}", advice)


def _disk(settings: Settings) -> Check:
    folder = settings.data.absolute()
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free // 2**20
    if free_mb < _LEAST_FREE_MB:
        return Check("disk", "failed", f"{free_mb} MB free", f"Free {_LEAST_FREE_MB - free_mb} MB and more.")
    return Check("disk", "ok", f"{free_mb} MB free")


def _generator(settings: Settings) -> Check:
    if not settings.vllm_url:
        return Check("generator", "ok", "none configured: answers are extracts")
    from serving.wiring import open_model

    model = open_model(settings)
    if model is None:
        return Check("generator", "ok", "none configured: answers are extracts")
    try:
        model.probe(timeout_s=10.0)
    except RefdeskError as error:
        advice = f"Look at the vLLM server at {settings.vllm_url}; answers are extracts meanwhile."
        return Check("generator", "failed", f"{error.code}: {error.message}", advice)
    finally:
        model.close()
    return Check("generator", "ok", f"{settings.vllm_model} wrote a token")


_CHECKS: dict[str, Callable[[Settings], Check]] = {
    "model": _model,
    "reranker": _reranker,
    "catalogue": _catalogue,
    "index": _index,
    "parser": _parser,
    "disk": _disk,
    "generator": _generator,
}
