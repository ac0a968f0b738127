"""The smallest .NET program: a PE32+ file whose Main goes round for ever. No SDK makes it.

Sources: ECMA-335, II.22 (tables), II.24 (metadata), II.25 (file format).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

_RVA, _AT = 0x2000, 0x200
_CLI_BYTES = 72
_MAIN = bytes([2 << 2 | 2, 0x2B, 0xFE, 0])  # a tiny header: two bytes of code; br.s -2
_KEY = bytes.fromhex("7cec85d7bea7798e")  # of System.Private.CoreLib


class _Heap:
    def __init__(self) -> None:
        self.data = bytearray(b"\0")

    def add(self, piece: bytes) -> int:
        at = len(self.data)
        self.data += piece
        return at

    def text(self, value: str) -> int:
        return self.add(value.encode() + b"\0")


def write(folder: Path) -> Path:
    """The program, and beside it for which framework it is."""
    framework = {"name": "Microsoft.NETCore.App", "version": "3.1.0"}
    (folder / "spin.runtimeconfig.json").write_text(json.dumps({"runtimeOptions": {"framework": framework}}))
    path = folder / "spin.dll"
    path.write_bytes(_file(_text()))
    return path


def _text() -> bytes:
    """The one section: the CLI header, the code, the metadata."""
    names, blobs = _Heap(), _Heap()
    signature = blobs.add(b"\3\0\0\1")  # static, no parameters, void
    key = blobs.add(bytes([len(_KEY)]) + _KEY)
    object_, system, core = names.text("Object"), names.text("System"), names.text("System.Private.CoreLib")
    program, main, name = names.text("Program"), names.text("Main"), names.text("spin")
    tables = {
        0x00: [struct.pack("<5H", 0, name, 1, 0, 0)],  # Module
        0x01: [struct.pack("<3H", 1 << 2 | 2, object_, system)],  # TypeRef
        0x02: [
            struct.pack("<I5H", 0, names.text("<Module>"), 0, 0, 1, 1),  # TypeDef
            struct.pack("<I5H", 0x100181, program, 0, 1 << 2 | 1, 1, 1),
        ],
        0x06: [struct.pack("<I5H", _RVA + _CLI_BYTES, 0, 0x96, main, signature, 1)],  # MethodDef
        0x20: [struct.pack("<I4HI3H", 0x8004, 1, 0, 0, 0, 0, 0, name, 0)],  # Assembly
        0x23: [struct.pack("<4HI4H", 4, 0, 0, 0, 0, key, core, 0, 0)],  # AssemblyRef
    }
    counts = b"".join(struct.pack("<I", len(rows)) for rows in tables.values())
    valid = sum(1 << number for number in tables)
    stream = struct.pack("<I4B2Q", 0, 2, 0, 0, 1, valid, 0) + counts + b"".join(b"".join(r) for r in tables.values())
    metadata = _metadata(
        {"#~": stream, "#Strings": bytes(names.data), "#US": b"\0", "#GUID": bytes(16), "#Blob": bytes(blobs.data)}
    )
    where = _RVA + _CLI_BYTES + len(_MAIN)
    header = struct.pack("<I2H4I", _CLI_BYTES, 2, 5, where, len(metadata), 1, 0x06000001)
    return header.ljust(_CLI_BYTES, b"\0") + _MAIN + metadata


def _metadata(streams: dict[str, bytes]) -> bytes:
    version = b"v4.0.30319\0\0"
    root = struct.pack("<I2H2I", 0x424A5342, 1, 1, 0, len(version)) + version + struct.pack("<2H", 0, len(streams))
    names = {name: _padded(name.encode() + b"\0", 4) for name in streams}
    at = len(root) + sum(8 + len(name) for name in names.values())
    headers = body = b""
    for name, content in streams.items():
        data = _padded(content, 4)
        headers += struct.pack("<2I", at + len(body), len(data)) + names[name]
        body += data
    return root + headers + body


def _file(text: bytes) -> bytes:
    raw = _padded(text, 0x200)
    dos = (b"MZ".ljust(60, b"\0") + struct.pack("<I", 0x80)).ljust(0x80, b"\0")
    coff = struct.pack("<2H3I2H", 0x8664, 1, 0, 0, 0, 240, 0x2023)
    optional = struct.pack("<H2B5I", 0x20B, 48, 0, len(raw), 0, 0, 0, _RVA)
    optional += struct.pack("<Q2I6H4I2H4Q2I", 0x180000000, _RVA, 0x200, 4, 0, 0, 0, 4, 0, 0, 0x4000, 0x200, 0, 3,
                            0x8540, 0x400000, 0x4000, 0x100000, 0x2000, 0, 16)  # fmt: skip
    directories = [(0, 0)] * 16
    directories[14] = _RVA, _CLI_BYTES
    optional += b"".join(struct.pack("<2I", *each) for each in directories)
    section = struct.pack("<8s6I2HI", b".text", len(text), _RVA, len(raw), _AT, 0, 0, 0, 0, 0x60000020)
    return _padded(dos + b"PE\0\0" + coff + optional + section, _AT) + raw


def _padded(data: bytes, to: int) -> bytes:
    return data + b"\0" * (-len(data) % to)
