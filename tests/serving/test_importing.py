"""Files of users and groups: what is understood, and what is refused."""

from __future__ import annotations

import pytest

from retrieval.errors import InvalidQueryError
from serving.importing import body_of_file

USERS = '\ufeffUser,Name,Groups,Disabled\nmara,"Lindqvist, Mara",hr; staff,\n\nbo,,,yes\n'


def test_a_table_of_users() -> None:
    """As a spreadsheet writes it: marked as UTF-8, quoted, with empty cells and lines."""
    assert body_of_file(USERS, is_json=False) == {
        "users": [
            {"id": "mara", "name": "Lindqvist, Mara", "groups": ["hr", "staff"]},
            {"id": "bo", "name": "", "groups": [], "disabled": True},
        ]
    }


def test_what_a_table_has_no_column_for_stays() -> None:
    """A list of names puts nobody out of a group."""
    assert body_of_file("user,name\nmara,M", is_json=False) == {"users": [{"id": "mara", "name": "M"}]}
    assert body_of_file("group\nhr", is_json=False) == {"groups": [{"id": "hr", "name": ""}]}


def test_a_table_of_groups() -> None:
    """Members are written out."""
    body = body_of_file("group,members\nstaff,group:hr;user:mara", is_json=False)
    assert body == {"groups": [{"id": "staff", "name": "", "members": ["group:hr", "user:mara"]}]}


@pytest.mark.parametrize(
    ("text", "is_json", "told"),
    [
        ("", False, "first line"),
        ("name,user\nM,mara", False, "first line"),
        ("user,admin\nmara,yes", False, "first line"),
        ("user,user\nmara,mara", False, "first line"),
        ("user,groups\nmara,hr,staff", False, "row 2 has 3 cells"),
        ("user,disabled\nmara,perhaps", False, "yes or no"),
        ('user\n"mara', False, "line"),
        ("[]", True, "object"),
        ('{"people": []}', True, "object"),
        ("{", True, "no JSON"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, is_json: bool, told: str) -> None:
    """With the place, so that it can be mended."""
    with pytest.raises(InvalidQueryError, match=told):
        body_of_file(text, is_json=is_json)
