"""Labels: their names, the end of a period, and that the rule and its SQL form say the same."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.models import DocumentLabelRow, DocumentRow, SourceLabelRow, SourceRow
from retrieval.adapters.sql.visibility import is_over
from retrieval.labels import (
    HOLD,
    MAX_LABELS,
    NO_AI,
    Label,
    Retention,
    label_named,
    labels_named,
    may_be_prompted,
    retention_from,
)
from retrieval.settings import InvalidSettingsError, load_settings
from retrieval.wiring import presence_of, utc_now
from tests.make import NOON

CLASSES = retention_from("minutes=90d, contracts=3650d")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("no-ai", NO_AI),
        (" No_AI ", NO_AI),
        ("no ai", NO_AI),
        ("Hold", HOLD),
        ("retention:minutes", "retention:minutes"),
        ("Retention:Board Minutes", "retention:board-minutes"),
    ],
)
def test_a_label_is_known_by_any_spelling(text: str, label: str) -> None:
    """Case does not count, and a space or "_" is a "-"."""
    assert label_named(text) == label


@pytest.mark.parametrize(
    "text", ["", "noai", "no-ai!", "retention:", "retention:a b/c", "retention", "secret"]
)
def test_a_misspelt_label_is_an_error(text: str) -> None:
    """It would be a label without effect."""
    with pytest.raises(ValueError, match="there is no label"):
        label_named(text)


def test_labels_are_few() -> None:
    """Each counts once, and there is a bound."""
    assert labels_named(["hold", "no-ai", "NO-AI"]) == (HOLD, NO_AI)
    with pytest.raises(ValueError, match="over 20"):
        labels_named(f"retention:class-{number}" for number in range(MAX_LABELS + 1))


def test_no_ai_keeps_out_of_prompts() -> None:
    """Nothing else does."""
    assert not may_be_prompted(frozenset({NO_AI, HOLD}))
    assert may_be_prompted(frozenset({HOLD, Label("retention:minutes")}))


@pytest.mark.parametrize(
    "text", ["minutes", "minutes=90", "minutes=0d", "minutes=90d,minutes=80d", "A=1d", "a=-1d"]
)
def test_a_setting_that_cannot_be_understood_stops_the_desk(tmp_path: Path, text: str) -> None:
    """A desk that starts with half of its classes would keep or drop what it should not."""
    with pytest.raises(InvalidSettingsError, match="retention"):
        presence_of(load_settings(data=tmp_path, retention=text), utc_now)


def test_a_period_counts_from_the_last_change() -> None:
    """It is over at its end, to the second, and not before."""
    labels, end = {Label("retention:minutes")}, NOON + timedelta(days=90)
    assert CLASSES.keeping(labels, NOON).until == end
    assert not CLASSES.is_over(labels, NOON, end - timedelta(seconds=1))
    assert CLASSES.is_over(labels, NOON, end)


@pytest.mark.parametrize(
    "more", [{"hold"}, {"retention:unheard-of"}, {"retention:contracts"}, {"hold", "retention:contracts"}]
)
def test_hold_unknown_classes_and_longer_ones_keep(more: set[str]) -> None:
    """None of them lets a document go at the end of the shorter period."""
    labels = {Label("retention:minutes"), *map(Label, more)}
    assert not CLASSES.is_over(labels, NOON, NOON + timedelta(days=100))


def test_without_a_class_nothing_ends() -> None:
    """Nor where a class has no period: that is a warning."""
    late = NOON + timedelta(days=40_000)
    assert not CLASSES.is_over({NO_AI}, NOON, late)
    assert not Retention().is_over({Label("retention:minutes")}, NOON, late)
    keeping = CLASSES.keeping({Label("retention:odd"), Label("retention:minutes")}, NOON)
    assert (keeping.unknown, keeping.until) == (("odd",), None)


labels = st.frozensets(
    st.sampled_from(["no-ai", "hold", "retention:minutes", "retention:contracts", "retention:odd"]).map(
        Label
    ),
    max_size=3,
)
ages = st.sampled_from([0, 89, 90, 91, 3649, 3651]).map(lambda days: timedelta(days=days))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """An empty catalogue with one source."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('catalogue') / 'catalogue.db'}")
    database.migrate()
    with database.write() as session:
        session.add(
            SourceRow(
                id="s", name="s", kind="push", location="", owner="o", allow=[], deny=[], created_at=NOON
            )
        )
    return database


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(st.tuples(labels, ages), min_size=1, max_size=5), labels)
def test_the_condition_is_the_rule(
    database: Database, papers: list[tuple[frozenset[Label], timedelta]], defaults: frozenset[Label]
) -> None:
    """`is_over` picks exactly the documents whose period has ended, by their own labels and their source's."""
    with database.write() as session:
        for table in (DocumentLabelRow, SourceLabelRow, DocumentRow):
            session.query(table).delete()
        session.add_all(SourceLabelRow(source_id="s", label=label) for label in defaults)
        for number, (own, age) in enumerate(papers):
            session.add(_document(f"d{number}", age))
            session.flush()
            session.add_all(
                DocumentLabelRow(document_id=f"d{number}", origin="owner", label=label) for label in own
            )
        session.flush()
        found = set(session.scalars(select(DocumentRow.id).where(is_over(CLASSES, NOON))))
    assert found == {
        f"d{number}"
        for number, (own, age) in enumerate(papers)
        if CLASSES.is_over(own | defaults, NOON - age, NOON)
    }


def _document(id_: str, age: timedelta) -> DocumentRow:
    return DocumentRow(
        id=id_,
        source_id="s",
        external_id=id_,
        title=id_,
        source_title="",
        url="",
        tags=[],
        owner="o",
        state="live",
        warnings=[],
        fingerprint="",
        modified_at=NOON - age,
        created_at=NOON,
        updated_at=NOON,
    )
