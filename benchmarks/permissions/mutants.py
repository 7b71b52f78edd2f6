"""Seeded defects in the code that decides who sees what. Each has to be noticed by a suite of this package.

A defect is a change of the text of one function. Its compiled body takes the place of the real one, so that
everybody who imported the function runs the defect.
"""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """One defect.

    Attributes:
        where: `module:function` or `module:Class.function`.
        old, new: The text that is replaced, which stands in the function once.
        suite: `oracle` (random organisations) or `matrix` (routes and callers): which has to notice.
        routes: For the matrix: a part of the routes that are asked in a short run.
    """

    where: str
    old: str
    new: str
    suite: str = "oracle"
    routes: str = ""


_ACCESS, _SQL = "retrieval.access", "retrieval.adapters.sql"
_CORPUS, _SEEN = f"{_SQL}.corpus:SqlCorpus", f"{_SQL}.visibility:readable_by"

MUTANTS: dict[str, Mutant] = {
    # the rule
    "deny ignored": Mutant(f"{_ACCESS}:permits", "if not ids.isdisjoint(acl.deny):", "if False:"),
    "owner and allowed": Mutant(f"{_ACCESS}:permits", " or not ids", " and not ids"),
    "owner forgotten": Mutant(f"{_ACCESS}:permits", "acl.owner == principal.user_id or ", ""),
    "owner beats deny": Mutant(
        f"{_ACCESS}:permits", "acl.deny):", "acl.deny) and acl.owner != principal.user_id:"
    ),
    "everybody reads": Mutant(f"{_ACCESS}:permits", "return acl.owner", "return True or acl.owner"),
    "groups forgotten": Mutant(f"{_ACCESS}:Principal.ids", "self.groups | ", ""),
    "user named like a group": Mutant(f"{_ACCESS}:user_principal", 'f"user:', 'f"group:'),
    # the index
    "everybody hashes alike": Mutant(f"{_ACCESS}:hash_principal", "return int", "return 1 or int"),
    "index hears of no deny": Mutant(f"{_ACCESS}:hashed_denied", "for p in acl.deny", "for p in ()"),
    "index lets everyone in": Mutant(
        f"{_ACCESS}:hashed_readers", "acl.allow | {", "acl.allow | {EVERYONE} | {"
    ),
    "no readers in the filter": Mutant(
        "retrieval.adapters.qdrant_points:must",
        'yield AnyOf("readers", tuple(sorted(access.principals)))',
        "yield from ()",
    ),
    "no deny in the filter": Mutant(
        "retrieval.adapters.qdrant_points:must_not", "tuple(sorted(access.principals))", "(0,)"
    ),
    "engine is given no deny": Mutant(
        "retrieval.adapters.qdrant_edge:QdrantEdgeIndex.search",
        "must_not=[_condition(must_not(query.access))],",
        "",
    ),
    "stale list in the index": Mutant(
        "retrieval.adapters.qdrant_edge:QdrantEdgeIndex.set_access",
        "self._update(",
        "(lambda *_, **__: None)(",
    ),
    # search
    "no second check": Mutant(
        "retrieval.search:Search._check",
        "and permits(passages[candidate.chunk_id].acl, principal)",
        "",
    ),
    "hidden successor named": Mutant(
        "retrieval.search:_naming", "if hit.passage.superseded_by is None", "if True"
    ),
    # listings
    "listing without deny": Mutant(_SEEN, '~named("deny"),', ""),
    "listing without owner": Mutant(
        _SEEN, 'or_(DocumentRow.owner == principal.user_id, named("allow"))', 'named("allow")'
    ),
    "listing with or": Mutant(_SEEN, "return and_(", "return or_("),
    "deny counts as allow": Mutant(_SEEN, "AclEntryRow.effect == effect,", ""),
    "anybody's list": Mutant(_SEEN, "AclEntryRow.document_id == DocumentRow.id,", ""),
    "deleted ones listed": Mutant(f"{_SQL}.visibility:visible_to", "DocumentRow.deleted_at.is_(None), ", ""),
    "second page unchecked": Mutant(
        f"{_CORPUS}.documents", "query = query.where(", "query = select(DocumentRow).where("
    ),
    "counts of everything": Mutant(
        f"{_CORPUS}.count_by_state", "*_conditions(principal, narrow)", "*_conditions(principal, narrow)[1:]"
    ),
    "passages of everything": Mutant(f"{_CORPUS}.passage_count", ".where(visible_to(principal))", ""),
    "sources count everything": Mutant(f"{_CORPUS}.sources", ".where(visible_to(principal))", ""),
    "every source shown": Mutant(
        f"{_CORPUS}.sources", "if row.id in by_source or row.owner == principal.user_id", ""
    ),
    "jobs of hidden documents": Mutant(f"{_SQL}.corpus:_jobs", "readable_by(principal) & (mine", "(mine"),
    "jobs of everybody": Mutant(f"{_SQL}.corpus:_jobs", "if of_everybody:", "if True:"),
    "hidden successor listed": Mutant(
        f"{_CORPUS}._without_hidden_successors", "successors[each.id] not in shown", "False"
    ),
    # one document
    "record unchecked": Mutant(f"{_CORPUS}.document", " or not permits(found[0].acl, principal)", ""),
    "deleted record shown": Mutant(f"{_CORPUS}.document", "visible_to(principal)", "readable_by(principal)"),
    "versions unchecked": Mutant(f"{_CORPUS}.versions", "self.document(principal, document_id)", "None"),
    "chunks unchecked": Mutant(
        f"{_CORPUS}.chunks", "self.document(principal, document_id)", "self.record(document_id)"
    ),
    "text unchecked": Mutant(
        "serving.documents:Documents.text",
        "self._desk.corpus.document(principal, document_id)",
        "self._desk.corpus.record(document_id)",
    ),
    "history unchecked": Mutant(
        "serving.documents:Documents.history",
        "self._desk.corpus.versions(principal, document_id)",
        "[]",
    ),
    # lists as they are written
    "new list on old text": Mutant(f"{_SQL}.acls:state_acl", "if not newer_text or", "if True or"),
    "inside keeps its list": Mutant(f"{_SQL}.acls:write_acl", "session.scalars(inside).all()", "[]"),
    "deny not written": Mutant(f"{_SQL}.acls:write_acl", '"deny", acl.deny', '"deny", ()'),
    "waiting list forgotten": Mutant(f"{_SQL}.acls:settle_acl", "if waiting is not None:", "if False:"),
    # who asks
    "stale groups": Mutant(
        f"{_SQL}.directory:SqlDirectory.standing_of",
        "return Standing(True, False, _all_groups(session, user_principal(user_id)))",
        "return self.__dict__.setdefault(user_id, Standing(True, False, _all_groups(session, "
        "user_principal(user_id))))",
    ),
    "nested groups ignored": Mutant(f"{_SQL}.directory:_all_groups", "range(_MAX_GROUP_DEPTH)", "range(1)"),
    "disabled user comes in": Mutant(
        f"{_SQL}.directory:SqlDirectory.standing_of",
        "row is None or row.disabled_at is not None",
        "row is None",
    ),
    "service asks as itself": Mutant(
        "serving.http.identity:_acted_for",
        "Principal(UserId(user), groups",
        "Principal(caller.user_id, groups",
    ),
    "conversation of another": Mutant(
        f"{_SQL}.conversations:SqlConversations.turns", "ConversationTurnRow.user_id == user_id,", ""
    ),
    "one prompt cache for all": Mutant(
        "serving.answering:_cache_salt", "sorted(question.principal.ids)", "[]"
    ),
    "metrics for everybody": Mutant(
        "serving.http.routes.operations:_may_count", "Scope.METRICS_READ in identify(request).scopes", "True"
    ),
    "re-index of everybody's": Mutant(
        "serving.documents:Documents.reindex_many", "replace(selection, owned_by=principal)", "selection"
    ),
    "every job shown": Mutant(f"{_CORPUS}.job", "of_everybody=of_everybody", "of_everybody=True"),
    "place of a source told": Mutant(
        "serving.sources:Sources.may_manage", "or is_admin(principal)", "or True"
    ),
    # routes and callers
    "revoked key": Mutant(
        f"{_SQL}.directory:SqlDirectory.authenticate", " or not _is_valid(row, now)", "", "matrix", "whoami"
    ),
    "secret not compared": Mutant(
        f"{_SQL}.directory:SqlDirectory.authenticate", "or not matches ", "", "matrix", "whoami"
    ),
    "end user's scopes widened": Mutant(
        "serving.http.identity:_acted_for", " & END_USER_SCOPES", "", "matrix", "/keys"
    ),
    "key's scopes exceeded": Mutant(
        "serving.http.identity:_acted_for", "caller.scopes & ", "", "matrix", "/documents"
    ),
    "acting without the scope": Mutant(
        "serving.http.identity:_user_acted_for", "require(caller, [Scope.ACT_AS])", "None", "matrix", "whoami"
    ),
    "acting for nobody known": Mutant(
        "serving.http.identity:_acted_for",
        "groups is None:",
        "(groups := groups or frozenset()) is None:",
        "matrix",
        "whoami",
    ),
    "scope not asked for": Mutant(
        "serving.http.identity:Requires.__call__",
        "require(principal, self.scopes)",
        "None",
        "matrix",
        "/audit",
    ),
    "writers are administrators": Mutant(
        "serving.scopes:is_admin", "Scope.ADMIN in", "Scope.DOCUMENTS_WRITE in", "matrix", "/sources/"
    ),
    "anybody manages": Mutant(
        "serving.documents:Documents._managed",
        "if not self.may_manage(principal, document):",
        "if False:",
        "matrix",
        "/documents/{document_id}",
    ),
    "hidden ones managed": Mutant(
        "serving.documents:Documents._readable",
        "if not is_admin(principal):",
        "if False:",
        "matrix",
        "/documents/{document_id}",
    ),
    "push into any source": Mutant(
        "serving.documents:Documents.push",
        "Sources(self._desk).managed(principal, push.source_id)",
        "self._desk.corpus.source(push.source_id)",
        "matrix",
        "/documents",
    ),
    "any source managed": Mutant(
        "serving.sources:Sources.managed",
        "if self.may_manage(principal, source):",
        "if True:",
        "matrix",
        "/sources/",
    ),
    "hidden source is forbidden": Mutant(
        "serving.sources:Sources.managed",
        "raise NotFoundError(",
        "raise NotPermittedError(",
        "matrix",
        "/sources/",
    ),
    "any job cancelled": Mutant(
        "serving.jobs:Jobs.cancel",
        "self.job(principal, job_id)\n    self._desk",
        "None\n    self._desk",
        "matrix",
        "/jobs/",
    ),
    "keys of everybody": Mutant(
        "serving.keys:Keys.visible",
        "if is_admin(principal) or key.user_id == principal.user_id",
        "",
        "matrix",
        "/keys/",
    ),
}


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """Run the block with the defect in place."""
    function = _found(mutant.where)
    kept = function.__code__
    function.__code__ = _changed(function, mutant)
    try:
        yield
    finally:
        function.__code__ = kept


def _found(where: str) -> FunctionType:
    module, _, path = where.partition(":")
    found: Any = import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    function: FunctionType = getattr(found, "fget", found)
    return function


def _changed(function: FunctionType, mutant: Mutant) -> CodeType:
    source = textwrap.dedent(inspect.getsource(function))
    source = source[source.index("def ") :]
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.where} holds {source.count(mutant.old)} times: {mutant.old}")
    flags = __future__.annotations.compiler_flag
    code = compile(
        source.replace(mutant.old, mutant.new), sys.modules[function.__module__].__file__ or "", "exec", flags
    )
    return next(
        each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == function.__name__
    )
