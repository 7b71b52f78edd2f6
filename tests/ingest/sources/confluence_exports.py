"""Writes Confluence exports as Confluence does: one flat `entities.xml` of objects that refer to each other."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

_PACKAGES = {
    "Space": "com.atlassian.confluence.spaces",
    "SpacePermission": "com.atlassian.confluence.security",
    "ContentPermissionSet": "com.atlassian.confluence.security",
    "ContentPermission": "com.atlassian.confluence.security",
    "ConfluenceUserImpl": "com.atlassian.confluence.user",
    "BodyContent": "com.atlassian.confluence.core",
}
_PAGES = "com.atlassian.confluence.pages"


class ConfluenceExport:
    """Collects objects; `write` makes the zip. Users `u-mara` and `u-ola` and the space DOCS are there."""

    def __init__(self, *, viewers: bool = True) -> None:
        """Start an export; with `viewers` the space is open to the groups `staff` and `confluence-users`."""
        self._numbers = itertools.count(9000)
        self.objects: list[str] = []
        self.add(
            "Space",
            "1",
            {"name": "Documentation", "key": "DOCS", "spaceStatus": "CURRENT"},
        )
        for name in ("mara", "ola"):
            self.add(
                "ConfluenceUserImpl",
                f"u-{name}",
                {"name": name, "lowerName": name, "email": f"{name}@example.org"},
                id_name="key",
            )
        for group in ("staff", "confluence-users") if viewers else ():
            self.permit_space(group=group)

    def add(
        self,
        kind: str,
        object_id: str,
        values: dict[str, str],
        references: dict[str, tuple[str, str]] | None = None,
        collections: dict[str, tuple[str, list[str]]] | None = None,
        *,
        id_name: str = "id",
    ) -> None:
        """Add an object; references and collections name the class and the id or ids they lead to."""
        lines = [f'<object class="{kind}" package="{_PACKAGES.get(kind, _PAGES)}">']
        lines.append(f'<id name="{id_name}">{_cdata(object_id) if id_name == "key" else object_id}</id>')
        for name, value in values.items():
            lines.append(
                f'<property name="{name}">{_cdata(value)}</property>'
                if value
                else f'<property name="{name}"/>'
            )
        for name, (target, target_id) in (references or {}).items():
            key = "key" if target == "ConfluenceUserImpl" else "id"
            lines.append(
                f'<property name="{name}" class="{target}" package="{_PACKAGES.get(target, _PAGES)}">'
                f'<id name="{key}">{target_id}</id>\n</property>'
            )
        for name, (target, ids) in (collections or {}).items():
            elements = "".join(
                f'<element class="{target}" package="{_PACKAGES.get(target, _PAGES)}">'
                f'<id name="id">{i}</id>\n</element>'
                for i in ids
            )
            lines.append(f'<collection name="{name}" class="java.util.Collection">{elements}</collection>')
        self.objects.append("\n".join([*lines, "</object>"]))

    def page(
        self,
        page_id: str,
        title: str,
        body: str = "<p>Text</p>",
        *,
        parent: str = "",
        kind: str = "Page",
        space: str = "1",
        sets: list[str] | None = None,
        **values: str,
    ) -> None:
        """Add a page with its body in storage format."""
        references = {"space": ("Space", space)} | ({"parent": ("Page", parent)} if parent else {})
        collections = {"bodyContents": ("BodyContent", [f"{page_id}7"])}
        if sets is not None:
            collections["contentPermissionSets"] = ("ContentPermissionSet", sets)
        facts = {
            "title": title,
            "version": "3",
            "originalVersionId": "",
            "contentStatus": "current",
            "lastModificationDate": "2026-11-20 08:30:00.500",
        }
        self.add(kind, page_id, facts | values, references, collections)
        self.add("BodyContent", f"{page_id}7", {"body": body, "bodyType": "2"}, {"content": (kind, page_id)})

    def permit_space(
        self, *, group: str = "", user: str = "", all_users: str = "", kind: str = "VIEWSPACE"
    ) -> None:
        """Grant a space permission; to nobody in particular it is anonymous access."""
        values = {"type": kind, "group": group, "allUsersSubject": all_users}
        references = {"space": ("Space", "1")}
        if user:
            references["userSubject"] = ("ConfluenceUserImpl", user)
        else:
            values["userSubject"] = ""
        self.add("SpacePermission", str(next(self._numbers)), values, references)

    def restrict(
        self, page_id: str, *, groups: tuple[str, ...] = (), users: tuple[str, ...] = (), kind: str = "View"
    ) -> str:
        """Restrict a page; returns the id of the restriction."""
        set_id = str(next(self._numbers))
        ids = []
        for group, user in [*((group, "") for group in groups), *(("", user) for user in users)]:
            ids.append(str(next(self._numbers)))
            references = {"owningSet": ("ContentPermissionSet", set_id)}
            if user:
                references["userSubject"] = ("ConfluenceUserImpl", user)
            self.add("ContentPermission", ids[-1], {"type": kind, "groupName": group}, references)
        self.add(
            "ContentPermissionSet",
            set_id,
            {"type": kind},
            {"owningContent": ("Page", page_id)},
            {"contentPermissions": ("ContentPermission", ids)},
        )
        return set_id

    def attach(self, page_id: str, name: str, **values: str) -> None:
        """Add an attachment to a page."""
        facts = {"title": name, "contentStatus": "current", "originalVersionId": ""} | values
        self.add("Attachment", str(next(self._numbers)), facts, {"containerContent": ("Page", page_id)})

    def write(self, path: Path, *, prologue: str = "") -> Path:
        """Write the zip."""
        head = f'<?xml version="1.0" encoding="UTF-8"?>\n{prologue}'
        root = '<hibernate-generic datetime="2026-11-23 12:00:00">'
        xml = "\n".join([head + root, *self.objects, "</hibernate-generic>\n"])
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("exportDescriptor.properties", "exportType=space\nspaceKey=DOCS\n")
            archive.writestr("entities.xml", xml)
        return path


def _cdata(text: str) -> str:
    """A CDATA section as Confluence writes it: an inner end mark gets a blank."""
    return f"<![CDATA[{text.replace(']]>', ']] >')}]]>"
