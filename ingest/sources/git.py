"""A branch of a Git repository as a source.

The tip of the branch is fetched into a bare repository in the source's work folder, without history and
without a work tree: nothing of a repository is ever written as a file, so that names like `../x`, links and
hooks have nothing to act on. A file's fingerprint is its blob id, so a file that moved unchanged is seen.

`modified_at` is the time of the tip's commit: finding each file's own last commit needs the whole history.
Since it is taken over only when a file's content changes, it is at most one sync too late.
"""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from dulwich.errors import NotGitRepository
from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from ingest.errors import FetchFailedError, InvalidSourceError, SourceUnavailableError, TooLargeError
from ingest.ports import ConnectorParts, ListedDocument
from ingest.sources.git_pack import PackRefusedError
from ingest.sources.git_remote import REMOTE_FAILURES, Remote, fetch_tip, open_remote
from ingest.sources.options import SourceOptions
from ingest.sources.patterns import PathPatterns
from ingest.sources.rules import RULES_FILE, FolderRules, read_rules
from retrieval.access import Acl, UserId
from retrieval.corpus import Source
from retrieval.labels import Label

OPTIONS = (
    *("allow_hosts", "branch", "exclude", "include", "key_file", "max_object_mb", "max_repository_mb"),
    *("password", "protocols", "subfolder", "url", "username"),
)
_TIP = Ref(b"refs/refdesk/tip")
_MAX_DEPTH = 100
_MAX_RULES_BYTES = 2**20
_MAX_PACKS = 50


@dataclass(frozen=True, slots=True)
class GitSettings:
    """What to read of a repository.

    Attributes:
        branch: Empty for the repository's own default.
        subfolder: Only files below it, "" for all; ids stay relative to the repository's root.
        url: Template of a document's link with `{path}` and `{branch}`, empty for no link.
    """

    remote: Remote
    branch: str
    subfolder: str
    patterns: PathPatterns
    url: str
    default_owner: UserId
    max_file_bytes: int


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the tree with what its folder's rules say of it."""

    path: str
    blob: ObjectID
    acl: Acl | None
    facts: dict[str, Any]
    labels: tuple[Label, ...]


def connector(source: Source, parts: ConnectorParts) -> GitConnector:
    """The connector of a `git` source; `InvalidSourceError` when an option is wrong."""
    options = SourceOptions(source, OPTIONS)
    subfolder = options.text("subfolder").strip("/")
    if subfolder and any(part.startswith(".") or not part for part in subfolder.split("/")):
        raise InvalidSourceError(
            "the option subfolder has to be a path inside the repository, nothing hidden"
        )
    url = options.text("url")
    if url and (urlsplit(url).scheme not in ("http", "https") or not _is_template(url)):
        raise InvalidSourceError("the option url has to be a web address with {path} and perhaps {branch}")
    settings = GitSettings(
        remote=open_remote(source.location, options, parts),
        branch=options.text("branch"),
        subfolder=subfolder,
        patterns=PathPatterns(options.texts("include"), options.texts("exclude")),
        url=url,
        default_owner=source.default_acl.owner,
        max_file_bytes=parts.max_file_bytes,
    )
    return GitConnector(settings, parts)


def _is_template(url: str) -> bool:
    return "{path}" in url and set(re.findall(r"\{.*?\}", url)) <= {"{path}", "{branch}"}


class GitConnector:
    """Implements `ingest.ports.Connector` for a branch. External ids are paths from the repository's root."""

    def __init__(self, settings: GitSettings, parts: ConnectorParts) -> None:
        """Keep the clone in the work folder of `parts`, and the sizes of blobs in its memory."""
        self._settings = settings
        self._memory = parts.memory
        self._folder = parts.work_folder / "repository"

    def list_documents(self) -> Iterator[ListedDocument]:
        """See `Connector.list_documents`. Hidden files, symbolic links and submodules are left out."""
        repository = self._open()
        try:
            commit = self._update(repository)
            sizes = self._memory.load()
            seen: dict[str, int] = {}
            when = datetime.fromtimestamp(max(0, min(commit.commit_time, 2**33)), UTC)
            for file in self._files(repository, commit):
                key = file.blob.decode("ascii")
                size = sizes.get(key)
                seen[key] = size if isinstance(size, int) else len(_content(repository, file.blob))
                yield self._listed(file, seen[key], when)
            if self._settings.subfolder and not seen:
                raise SourceUnavailableError(f"there is nothing to read in {self._settings.subfolder}")
            self._memory.save(seen)
        except REMOTE_FAILURES as error:
            raise SourceUnavailableError(f"the repository cannot be read: {_reason(error)}") from error
        finally:
            repository.close()

    def fetch(self, external_id: str) -> bytes:
        """See `Connector.fetch`. Reads the tip of the last listing; the network only where the clone is lost."""
        repository = self._open()
        try:
            commit = self._tip(repository) or self._update(repository)
            file = next(self._files(repository, commit, only=external_id), None)
            if file is None:
                raise FetchFailedError(f"{external_id!r} is no document of the repository")
            content = _content(repository, file.blob)
        except REMOTE_FAILURES as error:
            raise FetchFailedError(f"{external_id!r} cannot be read: {_reason(error)}") from error
        finally:
            repository.close()
        if len(content) > self._settings.max_file_bytes:
            raise TooLargeError(f"{external_id} is larger than {self._settings.max_file_bytes // 2**20} MB")
        return content

    def _open(self) -> Repo:
        """The clone, made anew when it is missing, damaged, or has grown by many fetches."""
        try:
            if len(list((self._folder / "objects" / "pack").glob("*.pack"))) <= _MAX_PACKS:
                return Repo(str(self._folder))
        except (NotGitRepository, OSError, ValueError):
            pass
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            return Repo.init_bare(str(self._folder), mkdir=True)
        except OSError as error:
            raise SourceUnavailableError(f"the work folder cannot be used: {error.strerror}") from error

    def _update(self, repository: Repo) -> Commit:
        tip = fetch_tip(self._settings.remote, repository, self._settings.branch)
        found = repository[tip]
        while isinstance(found, Tag):
            found = repository[found.object[1]]
        if not isinstance(found, Commit):
            raise SourceUnavailableError("the branch does not lead to a commit")
        repository.refs[_TIP] = found.id
        return found

    def _tip(self, repository: Repo) -> Commit | None:
        try:
            found = repository[repository.refs[_TIP]]
        except KeyError:
            return None
        return found if isinstance(found, Commit) else None

    def _files(self, repository: Repo, commit: Commit, *, only: str | None = None) -> Iterator[_File]:
        """The documents of a commit, or the one at the path `only`."""
        place = self._settings.subfolder if only is None else only
        for file in self._walk(repository, commit.tree, "", FolderRules(), place.split("/") if place else []):
            inside = not self._settings.subfolder or file.path.startswith(f"{self._settings.subfolder}/")
            if inside and self._settings.patterns.want(file.path) and only in (None, file.path):
                yield file

    def _walk(
        self, repository: Repo, tree_id: ObjectID, folder: str, outer: FolderRules, way: list[str]
    ) -> Iterator[_File]:
        """Files of a folder and below; where `way` names a next part, only of that one."""
        if folder.count("/") > _MAX_DEPTH:
            raise SourceUnavailableError("the repository nests its folders too deeply")
        tree = repository[tree_id]
        if not isinstance(tree, Tree):
            raise SourceUnavailableError(f"{folder or 'the root'} is no folder")
        rules = self._rules(repository, tree, folder).within(outer)
        for entry in tree.items():
            name = entry.path.decode("utf-8", "backslashreplace")
            if name.startswith(".") or "/" in name or "\x00" in name or not name or (way and name != way[0]):
                continue
            if stat.S_ISDIR(entry.mode):
                yield from self._walk(repository, entry.sha, f"{folder}{name}/", rules, way[1:])
            elif stat.S_ISREG(entry.mode):
                facts = rules.documents.get(name, {})
                yield _File(f"{folder}{name}", entry.sha, rules.acl, facts, rules.labels_of(name))

    def _rules(self, repository: Repo, tree: Tree, folder: str) -> FolderRules:
        try:
            mode, blob = tree[RULES_FILE.encode()]
        except KeyError:
            return FolderRules()
        try:
            content = _content(repository, blob) if stat.S_ISREG(mode) else b"\xff"
            text = content[:_MAX_RULES_BYTES].decode("utf-8")
            return read_rules(text, default_owner=self._settings.default_owner)
        except ValueError as error:
            raise SourceUnavailableError(f"{folder}{RULES_FILE} cannot be understood: {error}") from error

    def _listed(self, file: _File, size: int, when: datetime) -> ListedDocument:
        successor = file.facts.get("superseded_by", "")
        folder = file.path.rpartition("/")[0]
        link = self._settings.url.replace("{branch}", quote(self._settings.branch, safe="/"))
        return ListedDocument(
            external_id=file.path,
            fingerprint=file.blob.decode("ascii"),
            title=file.facts.get("title", ""),
            url=file.facts.get("url", "") or link.replace("{path}", quote(file.path)),
            modified_at=when,
            size_bytes=size,
            acl=file.acl,
            tags=tuple(file.facts.get("tags", ())),
            labels=file.labels,
            superseded_by=str(Path(folder) / successor) if successor else "",
        )


def _content(repository: Repo, blob: ObjectID) -> bytes:
    found = repository[blob]
    if not isinstance(found, Blob):
        raise PackRefusedError("what the tree calls a file is none")
    return bytes(found.data)


def _reason(error: BaseException) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
