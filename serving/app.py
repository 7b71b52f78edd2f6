"""Composition root of the query service of a split desk: it answers, and leaves the work to the workers.

    uvicorn --factory serving.app:create

Needs a Qdrant server, a catalogue server and a broker (`require_split`). Imports no parser.
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from fastapi import FastAPI

from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.settings import load_settings
from retrieval.wiring import FIRST_INDEX, open_corpus, open_index, require_split, utc_now
from serving.http.app import create_app
from serving.wiring import open_desk


def create() -> FastAPI:
    """The application with everything opened; it is closed when the process ends.

    Raises:
        InvalidSettingsError: A setting is missing or wrong.
        CatalogueUnavailableError, IndexUnavailableError, EmbedderUnavailableError: A part does not open.
    """
    settings = load_settings()
    require_split(settings)
    stack = ExitStack()
    atexit.register(stack.close)
    corpus = stack.enter_context(open_corpus(settings))
    build = SqlIndexBuilds(corpus.database, utc_now).active()
    index = open_index(settings, build.name if build else FIRST_INDEX, corpus.embedder.dimension)
    stack.callback(index.close)
    return create_app(stack.enter_context(open_desk(settings, corpus, lambda: index)))
