"""Settings -> an opened `Desk`; closes it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from retrieval.adapters.sql.audit import SqlAudit
from retrieval.adapters.sql.corpus import SqlCorpus
from retrieval.adapters.sql.directory import SqlDirectory
from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.search import Search, SearchSettings
from retrieval.settings import Settings
from retrieval.wiring import Corpus, open_reranker, utc_now
from serving.adapters.vllm import VllmGenerator, VllmSettings
from serving.answering import Answering, AnsweringSettings
from serving.desk import Desk
from serving.extractive import ExtractiveGenerator


@contextmanager
def open_desk(settings: Settings, corpus: Corpus) -> Iterator[Desk]:
    """A desk over an opened corpus."""
    reader = SqlCorpus(corpus.database)
    audit = SqlAudit(corpus.database, utc_now)
    with ExitStack() as stack:
        search = Search(
            corpus=reader,
            answering=corpus.indexes.answering,
            settings=SearchSettings(rerank_depth=settings.rerank_depth),
            reranker=stack.enter_context(open_reranker(settings)),
        )
        model = open_model(settings)
        if model is not None:
            stack.callback(model.close)
        answering = Answering(
            search=search,
            corpus=reader,
            embedder=corpus.embedder,
            sparse=corpus.sparse,
            audit=audit,
            model=model,
            extractive=ExtractiveGenerator(),
            settings=AnsweringSettings(
                context_tokens=settings.context_tokens, deadline_s=settings.answer_time_s
            ),
        )
        yield Desk(
            settings=settings,
            database=corpus.database,
            corpus=reader,
            jobs=SqlJobs(corpus.database, utc_now),
            directory=SqlDirectory(corpus.database, utc_now),
            audit=audit,
            blobs=corpus.blobs,
            search=search,
            answering=answering,
            indexes=corpus.indexes,
        )


def open_model(settings: Settings) -> VllmGenerator | None:
    """The model in the settings, None when there is none; the caller closes it."""
    if not settings.vllm_url:
        return None
    return VllmGenerator(
        VllmSettings(
            base_url=settings.vllm_url,
            model=settings.vllm_model,
            api_key=settings.vllm_api_key.get_secret_value(),
        )
    )
