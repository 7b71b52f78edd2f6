"""Generate every file of `sample/handbook/` from the texts in `sample/text/`.

A source called `name.docx.md` becomes `name.docx`; a folder called
`name.pdf.parts` is joined in name order into `name.pdf`; every other file is
copied as it is.  The result is the same, byte for byte, each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from handbook_writers.markup import Source, parse
from handbook_writers.office import docx_file, pptx_file, xlsx_file
from handbook_writers.open_formats import epub_file, odt_file
from handbook_writers.pdf import pdf_file
from handbook_writers.web import eml_file, html_file, plain_text, rtf_file
from msg_writer import Mail, Mailbox, msg_file

HERE = Path(__file__).resolve().parent
TEXTS = HERE / "text"
HANDBOOK = HERE / "handbook"
PARTS = ".parts"


def mail_file(source: Source) -> bytes:
    """An Outlook message made from a source with `from` and `to` in its head."""
    return msg_file(
        Mail(
            subject=source.title,
            sender=_mailbox(source.meta["from"]),
            recipients=tuple(_mailbox(text) for text in source.meta["to"].split(",")),
            sent=source.date,
            body=plain_text(source.blocks),
            message_id=f"<{source.meta['number']}@tarnvik.example>",
        )
    )


def _mailbox(text: str) -> Mailbox:
    name, _, address = text.strip().rstrip(">").partition(" <")
    return Mailbox(name, address)


WRITERS: dict[str, Callable[[Source], bytes]] = {
    ".docx": docx_file,
    ".eml": eml_file,
    ".epub": epub_file,
    ".html": html_file,
    ".msg": mail_file,
    ".odt": odt_file,
    ".pdf": pdf_file,
    ".pptx": pptx_file,
    ".rtf": rtf_file,
    ".xlsx": xlsx_file,
}


def generated() -> Iterator[tuple[str, bytes]]:
    """Each file of the handbook as its relative path and its bytes, in path order."""
    for path in sorted(TEXTS.rglob("*")):
        name = path.relative_to(TEXTS).as_posix()
        if path.is_dir():
            if path.suffix == PARTS:
                yield _rendered(name.removesuffix(PARTS), _joined(path))
        elif path.parent.suffix == PARTS:
            continue
        elif path.suffix == ".md" and Path(path.stem).suffix in WRITERS:
            yield _rendered(name.removesuffix(".md"), path.read_text("utf-8"))
        else:
            yield name, path.read_bytes()


def _joined(folder: Path) -> str:
    return "\n".join(part.read_text("utf-8") for part in sorted(folder.glob("*.md")))


def _rendered(name: str, text: str) -> tuple[str, bytes]:
    return name, WRITERS[Path(name).suffix](parse(text))


def main() -> None:
    """Write the handbook, and remove files no source stands for."""
    files = dict(generated())
    for old in sorted(HANDBOOK.rglob("*"), reverse=True):
        if old.is_file() and old.relative_to(HANDBOOK).as_posix() not in files:
            old.unlink()
        elif old.is_dir() and not any(old.iterdir()):
            old.rmdir()
    for name, data in files.items():
        target = HANDBOOK / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != data:
            target.write_bytes(data)
    print(f"{len(files)} files, {sum(map(len, files.values())):,} bytes")


if __name__ == "__main__":
    main()
