"""The fault suite notices seeded defects: each of them makes one of its stories end badly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import retrieval.search
from retrieval.access import Acl, Principal, PrincipalId, UserId
from retrieval.adapters.bm25 import EdgeBm25
from retrieval.adapters.sql.corpus import SqlCorpus
from retrieval.adapters.sql.upkeep import SqlUpkeep
from retrieval.corpus import DocumentId
from retrieval.indexes import Encoders
from retrieval.query import Query
from retrieval.search import Search, SearchSettings
from retrieval.settings import load_settings
from retrieval.wiring import indexes_of
from tests.conftest import skip_without
from tests.fakes.hashing_embedder import HashingEmbedder
from tests.faults import scenarios
from tests.faults.mutants import MUTANTS
from tests.faults.rig import Rig, open_rig
from tests.make import PRESENCE

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.timeout(900)]

STORIES: dict[str, Callable[[Rig, str], dict[str, list[str]]]] = {
    "ack_early": lambda rig, mutant: scenarios.cut_off(rig, "embed", mutant=mutant),
    "no_outbox": lambda rig, mutant: scenarios.cut_off(rig, "register", mutant=mutant),
    "no_tombstone": lambda rig, mutant: scenarios.cut_off(rig, "upsert", mutant=mutant),
    "no_fencing": lambda rig, mutant: scenarios.overtaken(rig, "stage", mutant=mutant),
}


def test_every_mutant_has_a_story() -> None:
    """No defect is left untried."""
    assert STORIES.keys() == MUTANTS.keys()


@pytest.mark.parametrize("mutant", ["", *STORIES])
def test_defect_is_noticed(mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the defect there are faults, or work that never ends; without one the same story ends well."""
    skip_without("postgres", "redis-server")
    monkeypatch.setattr(scenarios, "IDLE_S", 60.0)
    with open_rig(tmp_path / "rig", "redis", seed=2, lease_s=scenarios.LEASE_S) as rig:
        if not mutant:
            assert scenarios.cut_off(rig, "register") == {}
            return
        try:
            faults = STORIES[mutant](rig, mutant)
        except AssertionError as failure:
            noticed = "unfinished" in str(failure)
        else:
            noticed = bool(faults)
        assert noticed


@pytest.mark.parametrize("skips_check", [False, True])
def test_index_that_lags_shows_nothing(
    skips_check: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list tightened while no worker runs counts at once; without the second check it would not."""
    skip_without("postgres", "redis-server")
    with open_rig(tmp_path / "rig", "redis", seed=3, lease_s=scenarios.LEASE_S) as rig:
        rig.docs.write(1)
        (rig.docs.folder / ".refdesk.toml").write_text('owner = "olga"\n[acl]\nallow = ["group:hr"]\n')
        rig.sync()
        worker = rig.start_worker()
        rig.wait_until_idle(scenarios.IDLE_S)
        worker.kill()
        ((document_id,),) = rig.rows("select id from documents")
        upkeep = SqlUpkeep(rig.database, lambda: datetime.now(UTC))
        upkeep.set_acl(DocumentId(document_id), Acl(UserId("olga")), requested_by="olga")
        if skips_check:
            monkeypatch.setattr(retrieval.search, "permits", lambda *_: True)
        ada = Principal(UserId("ada"), frozenset({PrincipalId("group:hr")}))
        settings = load_settings(data=tmp_path / "reader", index_url=rig.index.url)
        indexes = indexes_of(settings, rig.database, [Encoders(HashingEmbedder(), EdgeBm25())])
        search = Search(
            corpus=SqlCorpus(rig.database, PRESENCE),
            answering=indexes.answering,
            settings=SearchSettings(),
        )
        text = (rig.docs.folder / "00000.md").read_text().split("\n\n")[0]
        assert bool(search.search(Query(text), ada).hits) is skips_check
        indexes.close()
