"""A small writer of Outlook `.msg` files.

A `.msg` file is an OLE compound file: a little file system of storages and
streams in 512 byte sectors.  Streams shorter than 4096 bytes live in 64 byte
sectors of a "mini stream".  A mail's properties are one fixed-size table
stream in each storage plus one stream for every string.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

SECTOR = 512
MINI_SECTOR = 64
MINI_LIMIT = 4096
FREE, END, FAT_SECTOR, NO_STREAM = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF
STORAGE, STREAM, ROOT = 1, 2, 5
HEADER_FAT_SLOTS = 109
MESSAGE_CLASS_ID = bytes.fromhex("0b0d020000000000c000000000000046")

TEXT, INTEGER, TIME = 0x001F, 0x0003, 0x0040
READABLE_WRITABLE = 0x6
UNICODE_STORE = 0x00040000
FILETIME_START = datetime(1601, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Mailbox:
    """A name with a mail address."""

    name: str
    address: str

    def __str__(self) -> str:
        """The form used in a mail header."""
        return f"{self.name} <{self.address}>"


@dataclass(frozen=True)
class Mail:
    """What goes into the message; `sent` is in UTC."""

    subject: str
    sender: Mailbox
    recipients: tuple[Mailbox, ...]
    sent: datetime
    body: str
    message_id: str


@dataclass
class Node:
    """A storage (with children) or a stream (with data) of the compound file."""

    name: str
    kind: int
    data: bytes = b""
    children: list[Node] = field(default_factory=list)
    left: int = NO_STREAM
    right: int = NO_STREAM
    child: int = NO_STREAM
    start: int = 0


def msg_file(mail: Mail) -> bytes:
    """The bytes of a `.msg` file holding the mail."""
    root = Node("Root Entry", ROOT)
    root.children = [
        Node(
            "__nameid_version1.0",
            STORAGE,
            children=[Node(f"__substg1.0_000{n}0102", STREAM) for n in (2, 3, 4)],
        ),
        *(_recipient(number, mailbox) for number, mailbox in enumerate(mail.recipients)),
        *_properties(_message_values(mail), _message_header(len(mail.recipients))),
    ]
    return _compound_file(root)


def _message_header(recipients: int) -> bytes:
    return struct.pack("<8x4I8x", recipients, 0, recipients, 0)


def _message_values(mail: Mail) -> dict[int, str | int | datetime]:
    sender, body = mail.sender, mail.body.replace("\r\n", "\n").replace("\n", "\r\n")
    return {
        0x001A: "IPM.Note",
        0x0037: mail.subject,
        0x0039: mail.sent,
        0x0042: sender.name,
        0x0064: "SMTP",
        0x0065: sender.address,
        0x0070: mail.subject,
        0x007D: _transport_headers(mail),
        0x0C1A: sender.name,
        0x0C1E: "SMTP",
        0x0C1F: sender.address,
        0x0E04: "; ".join(mailbox.name for mailbox in mail.recipients),
        0x0E06: mail.sent,
        0x0E07: 1,
        0x0E1D: mail.subject,
        0x1000: body,
        0x1035: mail.message_id,
        0x340D: UNICODE_STORE,
        0x3FDE: 65001,
        0x5D01: sender.address,
    }


def _transport_headers(mail: Mail) -> str:
    fields = {
        "From": str(mail.sender),
        "To": ", ".join(map(str, mail.recipients)),
        "Subject": mail.subject,
        "Date": format_datetime(mail.sent.replace(tzinfo=UTC)),
        "Message-ID": mail.message_id,
    }
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"


def _recipient(number: int, mailbox: Mailbox) -> Node:
    values: dict[int, str | int | datetime] = {
        0x0C15: 1,
        0x3000: number,
        0x3001: mailbox.name,
        0x3002: "SMTP",
        0x3003: mailbox.address,
        0x39FE: mailbox.address,
    }
    children = _properties(values, bytes(8))
    return Node(f"__recip_version1.0_#{number:08X}", STORAGE, children=children)


def _properties(values: dict[int, str | int | datetime], header: bytes) -> list[Node]:
    table, streams = header, list[Node]()
    for number, value in sorted(values.items()):
        if isinstance(value, str):
            data = value.encode("utf-16-le")
            kind, slot = TEXT, struct.pack("<II", len(data) + 2, 0)
            streams.append(Node(f"__substg1.0_{number:04X}{TEXT:04X}", STREAM, data))
        elif isinstance(value, int):
            kind, slot = INTEGER, struct.pack("<II", value, 0)
        else:
            kind, slot = TIME, struct.pack("<Q", _filetime(value))
        table += struct.pack("<HHI", kind, number, READABLE_WRITABLE) + slot
    return [Node("__properties_version1.0", STREAM, table), *streams]


def _filetime(moment: datetime) -> int:
    return (moment.replace(tzinfo=UTC) - FILETIME_START) // timedelta(microseconds=1) * 10


class _Sectors:
    """Sectors of one size with their chain table."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.data = b""
        self.chain: list[int] = []

    def add(self, data: bytes) -> int:
        """Append the data as one chain, and say where it starts."""
        if not data:
            return END
        start = len(self.chain)
        count = -(-len(data) // self.size)
        self.data += data.ljust(count * self.size, b"\0")
        self.chain += [*range(start + 1, start + count), END]
        return start


def _compound_file(root: Node) -> bytes:
    nodes = _numbered(root)
    big, mini = _Sectors(SECTOR), _Sectors(MINI_SECTOR)
    for node in nodes:
        if node.kind == STREAM:
            node.start = (mini if len(node.data) < MINI_LIMIT else big).add(node.data)
    root.data, root.start = mini.data, big.add(mini.data)
    mini_table = _table(mini.chain)
    mini_start = big.add(mini_table)
    directory = b"".join(map(_directory_entry, nodes))
    directory += _directory_entry(Node("", 0)) * (-len(nodes) % 4)
    directory_start = big.add(directory)
    fat_sectors = _fat_sector_count(len(big.chain))
    if fat_sectors > HEADER_FAT_SLOTS:
        raise ValueError("the message is too long for this writer")
    fat_start = len(big.chain)
    fat = _table([*big.chain, *[FAT_SECTOR] * fat_sectors])
    header = _file_header(
        directory_start, mini_start, len(mini_table) // SECTOR, range(fat_start, fat_start + fat_sectors)
    )
    return header + big.data + fat


def _table(chain: Sequence[int]) -> bytes:
    per_sector = SECTOR // 4
    filled = [*chain, *[FREE] * (-len(chain) % per_sector)]
    return struct.pack(f"<{len(filled)}I", *filled)


def _fat_sector_count(sectors: int) -> int:
    count = 1
    while count * (SECTOR // 4) < sectors + count:
        count += 1
    return count


def _numbered(root: Node) -> list[Node]:
    nodes = [root]
    for node in nodes:
        first = len(nodes)
        node.children.sort(key=lambda child: (len(child.name), child.name.upper()))
        nodes.extend(node.children)
        node.child = _balance(node.children, first, 0, len(node.children))
    return nodes


def _balance(children: list[Node], first: int, low: int, high: int) -> int:
    if low >= high:
        return NO_STREAM
    middle = (low + high) // 2
    children[middle].left = _balance(children, first, low, middle)
    children[middle].right = _balance(children, first, middle + 1, high)
    return first + middle


def _directory_entry(node: Node) -> bytes:
    name = node.name.encode("utf-16-le")
    black = 1
    return struct.pack(
        "<64sHBBIII16sIQQIQ",
        name,
        len(name) + 2 if name else 0,
        node.kind,
        black,
        node.left,
        node.right,
        node.child,
        MESSAGE_CLASS_ID if node.kind == ROOT else bytes(16),
        0,
        0,
        0,
        node.start if node.kind in (STREAM, ROOT) else 0,
        len(node.data),
    )


def _file_header(directory: int, mini_table: int, mini_sectors: int, fat: range) -> bytes:
    slots = [*fat, *[FREE] * (HEADER_FAT_SLOTS - len(fat))]
    return struct.pack(
        "<8s16s5H6x9I109I",
        bytes.fromhex("d0cf11e0a1b11ae1"),
        bytes(16),
        0x3E,
        3,
        0xFFFE,
        9,
        6,
        0,
        len(fat),
        directory,
        0,
        MINI_LIMIT,
        mini_table if mini_sectors else END,
        mini_sectors,
        END,
        0,
        *slots,
    )
