"""Which mail folders are read: drafts, trash and junk only when somebody names them. Pure.

A draft was never sent, a deleted message was meant to be gone, and junk is what strangers write. None of
them may answer a question because a connector happened to walk past.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_HIDDEN_USES = frozenset({"\\drafts", "\\trash", "\\junk", "\\all", "\\flagged", "\\important"})
"""Special uses (RFC 6154) left out. The last three show messages again that lie elsewhere, drafts too."""

_HIDDEN_NAMES = frozenset(
    {
        *("draft", "drafts", "entwürfe", "brouillons", "borradores", "bozze", "concepten", "utkast"),
        *("trash", "bin", "deleted", "deleted items", "deleted messages", "papierkorb", "corbeille"),
        *("gelöscht", "gelöschte elemente", "gelöschte objekte", "éléments supprimés", "papelera", "cestino"),
        *("elementos eliminados", "posta eliminata", "prullenbak", "verwijderde items", "recycle bin"),
        *("junk", "junk e-mail", "junk email", "junk mail", "spam", "bulk", "bulk mail", "spamverdacht"),
        *("courrier indésirable", "pourriel", "correo no deseado", "posta indesiderata", "ongewenste e-mail"),
        *("outbox", "postausgang", "unsent messages", "templates", "sync issues", "recoverable items"),
        *("all mail", "quarantine"),
    }
)
_SEPARATORS = re.compile(r"[/.\\]")


@dataclass(frozen=True, slots=True)
class FolderChoice:
    """The folders that a source's options name; empty for all but the hidden ones."""

    named: frozenset[str]

    def takes(self, folder: str, uses: Collection[str] = (), separator: str = "") -> bool:
        """Whether messages of this folder are listed.

        Args:
            folder: Its full name, decoded.
            uses: The special uses that a server states for it.
            separator: Between a folder's name and its parent's; empty tries the usual ones.
        """
        if self.named:
            return folder in self.named or (folder.upper() == "INBOX" and "INBOX" in self.named)
        if any(use.lower() in _HIDDEN_USES for use in uses):
            return False
        parts = folder.split(separator) if separator else _SEPARATORS.split(folder)
        return not any(part.strip().lower() in _HIDDEN_NAMES for part in parts)
