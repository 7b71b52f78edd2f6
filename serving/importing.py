"""Files of users and groups -> what the directory is to hold. Pure.

JSON: `{"users": [{"id", "name", "groups", "disabled"}], "groups": [{"id", "name", "members"}]}`. CSV: a table of
users or one of groups, told by its first column; several values in one cell are separated by `;`.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from retrieval.access import user_principal
from retrieval.adapters.sql.importing import ListedGroup, ListedUser
from retrieval.errors import InvalidQueryError

USER_COLUMNS = ("user", "name", "groups", "disabled")
GROUP_COLUMNS = ("group", "name", "members")

_YES_OR_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def body_of_file(text: str, *, is_json: bool) -> dict[str, Any]:
    """The body of an import request from a file's text.

    Raises:
        InvalidQueryError: It is neither such a table nor such JSON; the message says where.
    """
    text = text.removeprefix("\ufeff")
    return _of_json(text) if is_json else _of_csv(text)


def check_agreement(users: Collection[ListedUser], groups: Collection[ListedGroup]) -> None:
    """Refuse a list that says two things of one user, group or membership.

    Raises:
        InvalidQueryError: It does; the message names the user or group.
    """
    twice = [
        id_
        for id_, n in Counter([user_principal(u.id) for u in users] + [g.id for g in groups]).items()
        if n > 1
    ]
    if twice:
        raise InvalidQueryError(f"{min(twice)} is listed twice")
    listed = {user_principal(user.id): user.groups for user in users if user.groups is not None}
    for group in groups:
        if group.members is None:
            continue
        differs = [id_ for id_, of_user in listed.items() if (group.id in of_user) != (id_ in group.members)]
        if differs:
            raise InvalidQueryError(f"the entries of {min(differs)} and {group.id} disagree")


def _of_json(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError as error:
        raise InvalidQueryError(f"this is no JSON: {error}") from error
    if not isinstance(body, dict) or not body.keys() <= {"users", "groups"}:
        raise InvalidQueryError('the file holds an object with "users" and "groups"')
    return body


def _of_csv(text: str) -> dict[str, Any]:
    lines = csv.reader(text.splitlines(), strict=True)
    try:
        rows = [row for row in lines if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InvalidQueryError(f"line {lines.line_num}: {error}") from error
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    for first, allowed, made, field in (
        ("user", USER_COLUMNS, _user, "users"),
        ("group", GROUP_COLUMNS, _group, "groups"),
    ):
        if head[:1] == [first] and set(head) <= set(allowed) and len(set(head)) == len(head):
            return {field: [made(cells) for cells in _cells(head, rows[1:])]}
    columns = " or ".join(",".join(names) for names in (USER_COLUMNS, GROUP_COLUMNS))
    raise InvalidQueryError(f"the first line names the columns: {columns}")


def _cells(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[Mapping[str, str]]:
    for number, row in enumerate(rows, start=2):
        if len(row) != len(head):
            raise InvalidQueryError(f"row {number} has {len(row)} cells, not {len(head)}")
        yield {name: cell.strip() for name, cell in zip(head, row, strict=True)}


def _user(cells: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"id": cells["user"], "name": cells.get("name", "")}
    if "groups" in cells:
        made["groups"] = _several(cells["groups"])
    if cells.get("disabled"):
        said = _YES_OR_NO.get(cells["disabled"].lower())
        if said is None:
            raise InvalidQueryError(f"{cells['user']}: disabled is yes or no")
        made["disabled"] = said
    return made


def _group(cells: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"id": cells["group"], "name": cells.get("name", "")}
    if "members" in cells:
        made["members"] = _several(cells["members"])
    return made


def _several(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]
