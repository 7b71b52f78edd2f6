"""Seeded defects in the code that decides who sees what. Each has to be noticed, by what its `suite` names.

A defect is a change of the text of one function. Its compiled body takes the place of the real one, so that
everybody who imported the function runs the defect. Some that the first two suites miss are not here, though plain
tests fail with them, in `tests/leaks` (an index written anew without sections, rules of an outgoing text, who
is told of sections, held files inside) and in `tests/retrieval` (groups in doubt in the filter of an index, groups
that name somebody unknown).
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
        suite: Which has to notice: `oracle` (random organisations), `matrix` (routes and callers), or one plain
            test by its id, where random organisations take long to meet the defect.
        routes: For the matrix: a part of the routes that are asked in a short run.
        features: For the oracle: what the organisations in which it is hunted make use of, and no more than that.
    """

    where: str
    old: str
    new: str
    suite: str = "oracle"
    routes: str = ""
    features: tuple[str, ...] = ()


_ACCESS, _SQL = "retrieval.access", "retrieval.adapters.sql"
_AROUND, _REACHED = f"{_SQL}.groups:groups_around", f"{_SQL}.groups:_groups_reached"
_PREVIEWS = "serving.previewing:Previews"
_CORPUS, _SEEN = f"{_SQL}.corpus:SqlCorpus", f"{_SQL}.visibility:readable_by"

_SECTIONS, _LABELS = "tests/leaks/test_sections.py", "tests/leaks/test_labels.py"
_AGE, _DIRECTORY = "tests/leaks/test_permission_age.py", "tests/retrieval/test_directory.py"
_SOURCES = "tests/serving/http/test_sources.py"

MUTANTS: dict[str, Mutant] = {
    # the rule
    "deny ignored": Mutant(
        f"{_ACCESS}:permits", "if not principal.deny_ids.isdisjoint(acl.deny):", "if False:"
    ),
    "deny by certain groups only": Mutant(
        f"{_ACCESS}:permits",
        "principal.deny_ids",
        "principal.allow_ids",
        suite="tests/retrieval/test_access.py::test_a_group_in_doubt_shuts_out_and_lets_nobody_in",
    ),
    "groups in doubt let in": Mutant(
        f"{_ACCESS}:permits", "principal.allow_ids", "principal.deny_ids", features=("doubt",)
    ),
    "owner and allowed": Mutant(f"{_ACCESS}:permits", " or not principal", " and not principal"),
    "owner forgotten": Mutant(f"{_ACCESS}:permits", "acl.owner in principal.user_ids or ", ""),
    "owner beats deny": Mutant(
        f"{_ACCESS}:permits", "acl.deny):", "acl.deny) and acl.owner != principal.user_id:"
    ),
    "everybody reads": Mutant(f"{_ACCESS}:permits", "return acl.owner", "return True or acl.owner"),
    "groups forgotten": Mutant(f"{_ACCESS}:Principal.allow_ids", "self.groups | ", ""),
    "user named like a group": Mutant(f"{_ACCESS}:user_principal", 'f"user:', 'f"group:'),
    "other ids dropped": Mutant(
        f"{_ACCESS}:Principal.user_ids", "self.aliases | ", "", features=("other ids",)
    ),
    # the index
    "everybody hashes alike": Mutant(f"{_ACCESS}:hash_principal", "return int", "return 1 or int"),
    "index hears of no deny": Mutant(f"{_ACCESS}:hashed_denied", "for p in acl.deny", "for p in ()"),
    "index lets everyone in": Mutant(
        f"{_ACCESS}:hashed_readers", "acl.allow | {", "acl.allow | {EVERYONE} | {"
    ),
    "no readers in the filter": Mutant(
        "retrieval.adapters.qdrant_points:must",
        'yield AnyOf("readers", tuple(sorted(access.allow)))',
        "yield from ()",
    ),
    "no deny in the filter": Mutant(
        "retrieval.adapters.qdrant_points:must_not", "tuple(sorted(access.deny))", "(0,)"
    ),
    "engine is given no deny": Mutant(
        "retrieval.adapters.qdrant_edge:QdrantEdgeIndex.search",
        "must_not=[_condition(each) for each in must_not(query.access)],",
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
    "listing without deny": Mutant(_SEEN, '~named("deny", principal.deny_ids),', ""),
    "listing without doubt": Mutant(_SEEN, "principal.deny_ids", "principal.allow_ids", features=("doubt",)),
    "listing by one id": Mutant(
        _SEEN, "sorted(principal.user_ids)", "[principal.user_id]", features=("other ids",)
    ),
    "listing without owner": Mutant(_SEEN, "or_(is_owner, ", "or_("),
    "listing with or": Mutant(_SEEN, "return and_(", "return or_("),
    "deny counts as allow": Mutant(_SEEN, "AclEntryRow.effect == effect,", ""),
    "anybody's list": Mutant(_SEEN, "AclEntryRow.document_id == DocumentRow.id,", ""),
    "deleted ones listed": Mutant(
        f"{_SQL}.visibility:Presence.present", "DocumentRow.deleted_at.is_(None), ", ""
    ),
    "second page unchecked": Mutant(
        f"{_CORPUS}.documents", "query = query.where(", "query = select(DocumentRow).where("
    ),
    "counts of everything": Mutant(f"{_CORPUS}.count_by_state", "*conditions", "*conditions[1:]"),
    "passages of everything": Mutant(
        f"{_CORPUS}.passage_count",
        "shown, DocumentRow.section_rules.is_(",
        "DocumentRow.section_rules.is_(",
        features=("sections",),
    ),
    "sources count everything": Mutant(
        f"{_CORPUS}.sources", ".where(self._presence.visible_to(principal))", ""
    ),
    "every source shown": Mutant(
        f"{_CORPUS}.sources",
        "if row.id in by_source or row.owner in principal.user_ids",
        "",
        suite=f"{_SOURCES}::test_a_source_shows_to_those_who_read_something_of_it",
    ),
    "jobs of hidden documents": Mutant(
        f"{_SQL}.corpus:_jobs", "presence.readable_by(principal) & (mine", "(mine"
    ),
    "jobs of everybody": Mutant(f"{_SQL}.corpus:_jobs", "if of_everybody:", "if True:"),
    "hidden successor listed": Mutant(
        f"{_CORPUS}._without_hidden_successors", "successors[each.id] not in shown", "False"
    ),
    # one document
    "record unchecked": Mutant(
        f"{_CORPUS}.document",
        "if not found or not permits(found[0].acl, principal):\n        raise NotFoundError("
        'f"no document {document_id}")',
        "if not found:\n        found = [self.record(document_id)]",
    ),
    "deleted record shown": Mutant(f"{_CORPUS}.document", "presence.visible_to(", "presence.readable_by("),
    "versions unchecked": Mutant(f"{_CORPUS}.versions", "self.document(principal, document_id)", "None"),
    "chunks unchecked": Mutant(
        f"{_CORPUS}.chunks", "self.document_to_read(principal, document_id)", "self.record(document_id)"
    ),
    "text unchecked": Mutant(
        "serving.documents:Documents.text",
        "self._desk.corpus.whole_document(principal, document_id)",
        "self._desk.corpus.record(document_id)",
    ),
    "history unchecked": Mutant(
        "serving.documents:Documents.history",
        "self._desk.corpus.document(principal, document_id)\n    versions = "
        "self._desk.corpus.versions(principal, document_id)",
        "self._desk.corpus.record(document_id)\n    versions = []",
    ),
    # the age of permission data
    "old lists count in listings": Mutant(
        _SEEN, "principal.allow_ids), of_current_lists(now))", "principal.allow_ids))", features=("age",)
    ),
    "bound forgotten": Mutant(
        f"{_SQL}.permission_age:settle",
        "acl_valid_until(row.acl_confirmed_at or row.created_at, row.acl_max_age_s)",
        "None",
        features=("age",),
    ),
    "failed refresh confirms": Mutant(
        "ingest.syncing:Syncer.refresh",
        "error=error",
        "error=None",
        suite=f"{_AGE}::test_only_a_refresh_that_ends_well_confirms",
    ),
    "words under old lists": Mutant(
        f"{_CORPUS}.document_to_read",
        "document.source_id in self.outdated_sources()",
        "False",
        suite=f"{_AGE}::test_over_the_bound_nobody_is_shown_a_document",
    ),
    "passages under old lists counted": Mutant(
        f"{_CORPUS}.passage_count", "shown_to(", "visible_to(", features=("age",)
    ),
    # previews
    "preview of what others own": Mutant(
        "retrieval.search:Search._check",
        "and (previewer is None or owns(passages[candidate.chunk_id].acl, previewer))",
        "",
    ),
    "preview without its asker": Mutant(
        f"{_PREVIEWS}.search", "previewer = None if of_everything else principal", "previewer = None"
    ),
    "preview not on record": Mutant(
        f"{_PREVIEWS}.search", "self._put_on_record(principal, query, preview, request_id)", "None"
    ),
    "preview of everything by one permission": Mutant(
        "serving.previewing:may_preview_everything", "is_admin(principal) and ", ""
    ),
    # lists as they are written
    "new list on old text": Mutant(f"{_SQL}.acls:state_acl", "if not newer_text or", "if True or"),
    "inside keeps its list": Mutant(f"{_SQL}.acls:_pass_on", "session.scalars(inside).all()", "[]"),
    "deny not written": Mutant(f"{_SQL}.acls:write_acl", '"deny", acl.deny', '"deny", ()'),
    "waiting list forgotten": Mutant(f"{_SQL}.acls:settle_acl", "if waiting is not None:", "if False:"),
    # labels: what may enter a prompt, and what is there at all
    "label ignored in the prompt": Mutant(
        "serving.admission:admit", "may_be_prompted(passage.labels)", "True", features=("labels",)
    ),
    "answers of before go to the model": Mutant(
        "serving.http.routes.openai:_question",
        'message.role == "user"]',
        'message.role in ("user", "assistant")]',
        features=("labels",),
    ),
    "what was found inside is not labelled": Mutant(
        f"{_SQL}.labels:write_labels",
        "session.scalars(inside).all()",
        "[]",
        suite=f"{_LABELS}::test_what_is_found_inside_has_the_labels_of_what_is_around_it",
    ),
    "labels of the source forgotten": Mutant(
        f"{_SQL}.labels:labelled_of", "found[id_] | defaults[source_id]", "found[id_]", features=("labels",)
    ),
    "label set by hand lost at a push": Mutant(
        f"{_SQL}.upkeep:_take_over", "LabelOrigin.SOURCE", "LabelOrigin.OWNER", features=("labels",)
    ),
    "period not looked at in listings": Mutant(
        f"{_SQL}.visibility:Presence.present",
        ", ~is_over(self.retention, self.clock())",
        "",
        suite=f"{_LABELS}::test_what_is_over_its_period_is_there_for_nobody",
    ),
    "period not looked at in search": Mutant(
        f"{_SQL}.corpus:_live_passages",
        " if presence.shows(labels[id_], row.modified_at)",
        "",
        suite=f"{_LABELS}::test_what_is_over_its_period_is_there_for_nobody",
    ),
    "hold ignored": Mutant(
        "retrieval.labels:Retention.keeping", "HOLD in labels", "False", features=("labels",)
    ),
    "hold ignored in listings": Mutant(
        f"{_SQL}.visibility:_keeps", "row.label == HOLD, ", "", features=("labels",)
    ),
    "class without a period ends at once": Mutant(
        f"{_SQL}.visibility:_keeps",
        "row.label == HOLD, is_unknown, ",
        "row.label == HOLD, ",
        suite=f"{_LABELS}::test_what_is_kept_still_stays",
    ),
    "ends of hidden ones told": Mutant(
        f"{_SQL}.expiry:SqlExpiry.due_within",
        ".where(ends, readable).order",
        ".where(ends).order",
        features=("labels",),
    ),
    # sections
    "section not in the index, nor checked": Mutant(
        "retrieval.sections:list_for", "if not rules:", "if True:", features=("sections",)
    ),
    "passage without its section's list": Mutant(
        f"{_SQL}.rows:to_passage", "if section_rules is not None:", "if False:", features=("sections",)
    ),
    "changed sections not in the index": Mutant(
        "ingest.indexing:_set_access", "if not access.parts:", "if True:", features=("sections",)
    ),
    "section of the outermost heading": Mutant(
        "retrieval.sections:place_of", "if section_paths:", "if False:", features=("sections",)
    ),
    "only the heading itself": Mutant(
        "retrieval.sections:_runs_through",
        "range(len(path) - length + 1)",
        "[len(path) - length]",
        features=("sections",),
    ),
    "section widens": Mutant(
        "retrieval.sections:_tightened",
        "else rule.allow",
        "else acl.allow | rule.allow",
        features=("sections",),
    ),
    "section's deny ignored": Mutant(
        "retrieval.sections:_tightened",
        "rule.deny - {EVERYONE, user_principal(acl.owner)}",
        "frozenset()",
        features=("sections",),
    ),
    "whole text despite a section": Mutant(
        f"{_CORPUS}.whole_document",
        "if not reads_whole(document.acl, document.sections, principal):",
        "if False:",
        features=("sections",),
    ),
    "hash of the whole despite a section": Mutant(
        f"{_CORPUS}.versions",
        "if reads_whole(document.acl, document.sections, principal):",
        "if True:",
        suite=f"{_SECTIONS}::test_records_versions_and_history_tell_nothing_of_it",
    ),
    "hidden passages counted": Mutant(
        f"{_CORPUS}.passage_count",
        "reads[row.id, place] = permits(part, principal)",
        "reads[row.id, place] = True",
        features=("sections",),
    ),
    "vanished heading opens": Mutant(
        "retrieval.sections:list_for",
        "rule.standing is Standing.LOST or covers(rule, place)",
        "covers(rule, place)",
        features=("sections",),
    ),
    "vanished heading taken for known": Mutant(
        "retrieval.sections:_standing_in",
        "Standing.ABSENT if rule.standing is Standing.ABSENT else Standing.LOST",
        "Standing.ABSENT",
        features=("sections",),
    ),
    "other rules confirm a lost heading": Mutant(
        "retrieval.sections:stated",
        "if rule.standing is Standing.LOST",
        "if False",
        suite=f"{_SECTIONS}::test_a_vanished_heading_closes_the_text_until_its_owner_confirms",
    ),
    "inside without the section's list": Mutant(
        f"{_SQL}.acls:bound_inside",
        "list_inside(read_acls(session, [row])[row.id], rules_of(row.section_rules))",
        "read_acls(session, [row])[row.id]",
        suite=f"{_SECTIONS}::test_what_is_found_inside_needs_every_section",
    ),
    # who asks
    "stale groups": Mutant(
        f"{_SQL}.directory:SqlDirectory.standing_of",
        "return Standing(found, True, False, around.certain, aliases, around.deny_only)",
        "return self.__dict__.setdefault(user_id, Standing(found, True, False, around.certain, aliases, "
        "around.deny_only))",
    ),
    "stale other ids": Mutant(
        f"{_SQL}.directory:SqlDirectory.standing_of",
        "aliases = aliases_of(session, found)",
        "aliases = self.__dict__.setdefault(found, aliases_of(session, found))",
        features=("other ids",),
    ),
    "other ids are nobody's": Mutant(
        f"{_SQL}.directory:SqlDirectory.standing_of",
        "UserId(linked_user(session, user_id) or user_id)",
        "user_id",
        features=("other ids",),
    ),
    "ended ids count": Mutant(
        f"{_SQL}.links:_aliases", ", IdentityRow.ended_at.is_(None)", "", features=("other ids",)
    ),
    "groups that list other ids forgotten": Mutant(
        f"{_SQL}.directory:SqlDirectory.standing_of",
        "for each in (found, *aliases)",
        "for each in (found,)",
        suite=f"{_DIRECTORY}::test_groups_name_members_by_other_ids",
    ),
    "unknown user in groups": Mutant(_REACHED, ", MembershipRow.member_id.not_in(doubtful)", ""),
    "nested groups ignored": Mutant(_REACHED, "reached.union(further)", "reached", features=("nesting",)),
    "nested groups in order of id": Mutant(
        _REACHED,
        "MembershipRow.member_id == reached.c.id)",
        "and_(MembershipRow.member_id == reached.c.id, MembershipRow.group_id > reached.c.id))",
        features=("nesting",),
    ),
    "depth without bound": Mutant(
        f"{_SQL}.groups:_refuse_too_deep",
        "too_deep(nested, parents)",
        "None",
        suite="tests/identity/test_directory.py::test_groups_that_nest_too_deep_are_refused",
    ),
    "depth of nine": Mutant(
        "retrieval.nesting:too_deep", "> MAX_LEVELS", ">= MAX_LEVELS", features=("nesting",)
    ),
    "cycles refused": Mutant(
        "retrieval.nesting:too_deep",
        "> MAX_LEVELS",
        "> MAX_LEVELS or any(group in parents.get(each, ()) for each in parents.get(group, ()))",
        features=("nesting",),
    ),
    "groups in doubt count": Mutant(
        _REACHED,
        "GroupRow.incomplete_since >= stale_before",
        "GroupRow.incomplete_since.is_not(None)",
        features=("doubt",),
    ),
    "groups in doubt deny nobody": Mutant(
        _AROUND, "frozenset(found[0] - found[1])", "frozenset()", features=("doubt",)
    ),
    "groups around those in doubt count": Mutant(
        _REACHED,
        "and_(is_whole, reached.c.is_certain == 1)",
        "is_whole",
        suite=f"{_DIRECTORY}::test_a_list_cut_short_changes_nobody_and_counts_for_an_hour",
    ),
    "disabled user comes in": Mutant(
        f"{_SQL}.directory:SqlDirectory.standing_of",
        "row is not None and row.disabled_at is not None",
        "False",
    ),
    "service asks as itself": Mutant(
        "serving.http.identity:_acted_for",
        "return standing.principal",
        "return desk.directory.standing_of(caller.user_id).principal",
    ),
    "conversation of another": Mutant(
        f"{_SQL}.conversations:SqlConversations.turns", "ConversationTurnRow.user_id == user_id,", ""
    ),
    "one prompt cache for all": Mutant(
        "serving.answering:_cache_salt",
        "for ids in (principal.allow_ids, principal.deny_only)",
        "for ids in ()",
    ),
    "metrics for everybody": Mutant(
        "serving.http.routes.operations:_may_count", "Scope.METRICS_READ in identify(request).scopes", "True"
    ),
    "re-index of everybody's": Mutant(
        "serving.documents:Documents.reindex_many",
        "replace(selection, owned_by=principal)",
        "selection",
        suite=f"{_SOURCES}::test_others_queue_only_what_they_own",
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
        "if not standing.may_come_in:",
        "if False:",
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
        "if is_admin(principal):",
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
        "if is_admin(principal) or key.user_id in principal.user_ids",
        "",
        "matrix",
        "/keys/",
    ),
}


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """Run the block with the defect in place. What a cached function returned before is forgotten."""
    found = _found(mutant.where)
    forget = getattr(found, "cache_clear", lambda: None)
    function = _function(found)
    kept = function.__code__
    function.__code__ = _changed(function, mutant)
    forget()
    try:
        yield
    finally:
        function.__code__ = kept
        forget()


def _found(where: str) -> Any:
    module, _, path = where.partition(":")
    found: Any = import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    return found


def _function(found: Any) -> FunctionType:
    """The function itself, of a property or a cached function too."""
    inner = (getattr(found, name, None) for name in ("fget", "func", "__wrapped__"))
    function: FunctionType = next(filter(None, inner), found)
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
