"""Composition root of the query service of a split desk: it answers, and leaves the work to the workers.

    uvicorn --factory serving.app:create

Needs a Qdrant server, a catalogue server and a broker (`require_split`). Imports no parser.
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from fastapi import FastAPI

from retrieval.logs import set_up_logging
from retrieval.settings import InvalidSettingsError, load_settings
from retrieval.wiring import open_corpus, require_split
from serving.http.app import create_app
from serving.wiring import open_desk


def create() -> FastAPI:
    """The application with everything opened; it is closed when the process ends.

    Raises:
        InvalidSettingsError: A setting is missing or wrong.
        CatalogueUnavailableError, EmbedderUnavailableError: A part does not open.
    """
    settings = load_settings()
    set_up_logging(settings.log_level)
    require_split(settings)
    if settings.identity == "local":
        raise InvalidSettingsError("identity: a desk without login is for one machine; see docs/identity.md")
    stack = ExitStack()
    atexit.register(stack.close)
    corpus = stack.enter_context(open_corpus(settings))
    return create_app(stack.enter_context(open_desk(settings, corpus)))
