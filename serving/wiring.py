"""Settings -> an opened `Desk`; closes it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from retrieval.adapters.sql.audit import SqlAudit
from retrieval.adapters.sql.corpus import SqlCorpus
from retrieval.adapters.sql.directory import SqlDirectory
from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.adapters.sql.sessions import Lifetime, SqlSessions
from retrieval.adapters.sql.token_use import SqlTokenUse
from retrieval.search import Search, SearchSettings
from retrieval.settings import InvalidSettingsError, Settings
from retrieval.wiring import Corpus, open_reranker, presence_of, utc_now
from serving.adapters.vllm import VllmGenerator, VllmSettings
from serving.answering import Answering, AnsweringSettings
from serving.budget import Spending, TokenBudget
from serving.desk import Desk
from serving.extractive import ExtractiveGenerator
from serving.identity import check_identity, listed

if TYPE_CHECKING:
    from serving.adapters.oidc import OidcProvider


@contextmanager
def open_desk(settings: Settings, corpus: Corpus) -> Iterator[Desk]:
    """A desk over an opened corpus.

    Raises:
        InvalidSettingsError: The settings would let people come in unseen.
    """
    check_identity(settings)
    reader = SqlCorpus(corpus.database, presence_of(settings, utc_now))
    audit = SqlAudit(corpus.database, utc_now)
    with ExitStack() as stack:
        search = Search(
            corpus=reader,
            answering=corpus.indexes.answering,
            settings=SearchSettings(
                rerank_depth=settings.rerank_depth, hides_no_ai=settings.no_ai_search == "hidden"
            ),
            reranker=stack.enter_context(open_reranker(settings)),
        )
        provider = (
            stack.enter_context(closing(open_provider(settings))) if settings.identity == "oidc" else None
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
                context_tokens=settings.context_tokens,
                deadline_s=settings.answer_time_s,
                record_questions=settings.audit_questions == "text",
            ),
            spending=Spending(
                TokenBudget(settings.tokens_per_day, settings.tokens_per_day_total),
                SqlTokenUse(corpus.database, utc_now),
            ),
        )
        yield Desk(
            settings=settings,
            database=corpus.database,
            corpus=reader,
            jobs=SqlJobs(corpus.database, utc_now),
            directory=SqlDirectory(corpus.database, utc_now),
            sessions=SqlSessions(corpus.database, utc_now, lifetime_of(settings)),
            audit=audit,
            blobs=corpus.blobs,
            search=search,
            answering=answering,
            indexes=corpus.indexes,
            provider=provider,
        )


def lifetime_of(settings: Settings) -> Lifetime:
    """How long sign-ins last."""
    idle = timedelta(seconds=settings.session_idle_s)
    return Lifetime(idle=idle, longest=timedelta(seconds=settings.session_max_s))


def open_provider(settings: Settings) -> OidcProvider:
    """The OpenID provider in the settings; the caller closes it. Nothing is fetched yet.

    Raises:
        InvalidSettingsError: The file of its authority cannot be read.
    """
    from serving.adapters.oidc import OidcProvider, OidcSettings  # 0.1 s that other modes need not spend

    try:
        return OidcProvider(
            OidcSettings(
                issuer=settings.oidc_issuer,
                client_id=settings.oidc_client_id,
                client_secret=settings.oidc_client_secret.get_secret_value(),
                scopes=settings.oidc_scopes,
                audience=settings.oidc_audience,
                clients=frozenset(listed(settings.oidc_clients)),
                algorithms=frozenset(listed(settings.oidc_algorithms)),
                token_types=frozenset(type_.lower() for type_ in listed(settings.oidc_token_types)),
                keys_max_age_s=settings.oidc_keys_max_age_s,
                ca_file=settings.oidc_ca_file,
            )
        )
    except OSError as error:
        raise InvalidSettingsError(f"oidc_ca_file: {error}") from error


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
