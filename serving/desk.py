"""The parts of an opened query service, as its surfaces (HTTP, chat, CLI) use them."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.adapters.sql.audit import SqlAudit
from retrieval.adapters.sql.corpus import SqlCorpus
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.directory import SqlDirectory
from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.adapters.sql.sessions import SqlSessions
from retrieval.indexes import OpenIndexes
from retrieval.ports import BlobStore
from retrieval.search import Search
from retrieval.settings import Settings
from serving.answering import Answering
from serving.ports import IdentityProvider


@dataclass(frozen=True, slots=True)
class Desk:
    """An opened query service. Every part checks permissions for the `Principal` it is handed.

    `provider` is there in `oidc` mode only.
    """

    settings: Settings
    database: Database
    corpus: SqlCorpus
    jobs: SqlJobs
    directory: SqlDirectory
    sessions: SqlSessions
    audit: SqlAudit
    blobs: BlobStore
    search: Search
    answering: Answering
    indexes: OpenIndexes
    provider: IdentityProvider | None = None
