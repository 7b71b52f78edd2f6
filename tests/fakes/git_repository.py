"""A repository that tests commit to: whole trees of paths, odd ones too."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

from dulwich.object_store import iter_tree_contents
from dulwich.objects import Blob, Commit, ObjectID, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo
from dulwich.server import BackendRepo, DictBackend
from dulwich.web import make_wsgi_chain

FILE = 0o100644
LINK = 0o120000
SUBMODULE = 0o160000


class GitRepository:
    """A bare repository with one branch."""

    def __init__(self, path: Path, branch: str = "main") -> None:
        """Make it at `path`."""
        self.path = path
        self.repo = Repo.init_bare(str(path), mkdir=True)
        self.branch = Ref(b"refs/heads/" + branch.encode())
        self.repo.refs.set_symbolic_ref(Ref(b"HEAD"), self.branch)
        self._n_commits = 0

    def commit(self, files: Mapping[str, bytes]) -> None:
        """Make these the files of the branch."""
        self.commit_tree(self.tree({name.encode(): (FILE, content) for name, content in files.items()}))

    def tree(self, entries: Mapping[bytes, tuple[int, bytes]]) -> ObjectID:
        """Write a tree of paths; a submodule's content is its commit id."""
        tree = Tree()
        below: dict[bytes, dict[bytes, tuple[int, bytes]]] = {}
        for path, (mode, content) in entries.items():
            first, slash, rest = path.partition(b"/")
            if slash:
                below.setdefault(first, {})[rest] = (mode, content)
            else:
                tree.add(first, mode, self._object(mode, content))
        for name, inner in below.items():
            tree.add(name, 0o040000, self.tree(inner))
        self.repo.object_store.add_object(tree)
        return tree.id

    def commit_tree(self, tree: ObjectID) -> None:
        """Make a tree the tip of the branch."""
        self._n_commits += 1
        commit = Commit()
        commit.tree = tree
        if self.branch in self.repo.refs:
            commit.parents = [self.repo.refs[self.branch]]
        commit.author = commit.committer = b"Olga <olga@example.org>"
        commit.author_time = commit.commit_time = 1_790_000_000 + self._n_commits
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"change"
        self.repo.object_store.add_object(commit)
        self.repo.refs[self.branch] = commit.id

    def n_files(self) -> int:
        """Number of files at the tip."""
        tip = self.repo[self.repo.refs[self.branch]]
        assert isinstance(tip, Commit)
        return len(list(iter_tree_contents(self.repo.object_store, tip.tree)))

    def _object(self, mode: int, content: bytes) -> ObjectID:
        if mode == SUBMODULE:
            return ObjectID(content)
        blob = Blob.from_string(content)
        self.repo.object_store.add_object(blob)
        return blob.id


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@contextmanager
def served_over_http(repository: GitRepository) -> Iterator[str]:
    """The repository's address on a smart HTTP server on loopback."""
    served: dict[str, BackendRepo] = {"/handbook.git": repository.repo}
    app = make_wsgi_chain(DictBackend(served))
    server = make_server("127.0.0.1", 0, app, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/handbook.git"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
