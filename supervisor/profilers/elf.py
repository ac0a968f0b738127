"""What unwinding needs of an ELF file: function names and call frame information. 64 bits, little endian.

The file is the target's, so whatever it holds may be wrong: errors are `ELFError`, and every walk is bounded.
Sources: elf(5), the System V ABI's `.eh_frame` and `.eh_frame_hdr` (Linux Standard Base 5.0), DWARF 4 §6.4.
"""

from __future__ import annotations

import mmap
import os
import struct
from array import array
from bisect import bisect_right

_LOAD, _EH_FRAME_HDR = 1, 0x6474E550
_SYMTAB, _DYNSYM = 2, 11
_FUNCTIONS = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
_MOST_SYMBOLS = 400_000
_MOST_SECTIONS = 4096
_MOST_NAME = 1000
_PCREL_INT, _DATAREL_INT, _INT = 0x1B, 0x3B, 0x03
_POINTER_BYTES = {0x0: 8, 0x2: 2, 0x3: 4, 0x4: 8, 0xA: 2, 0xB: 4, 0xC: 8}

Rules = dict[int, tuple[str, int]]


class ELFError(Exception):
    """The file can't be read, or isn't what it says."""


def sections(fd: int) -> set[bytes]:
    """The names of an ELF file's sections; none where the table is left out. Raises ELFError."""
    try:
        head = os.pread(fd, 64, 0)
        if head[:6] != b"\x7fELF\x02\x01":
            raise ELFError("not an ELF of 64 bits, little endian")
        (at,) = struct.unpack_from("<Q", head, 0x28)
        each_bytes, count, names_index = struct.unpack_from("<HHH", head, 0x3A)
        table = os.pread(fd, each_bytes * min(count, _MOST_SECTIONS), at)
        if each_bytes < 64 or names_index >= count or len(table) < each_bytes * (names_index + 1):
            return set()
        names_at, names_bytes = struct.unpack_from("<QQ", table, names_index * each_bytes + 0x18)
        return set(os.pread(fd, min(names_bytes, 1 << 20), names_at).split(b"\0"))
    except (OSError, struct.error, OverflowError, ValueError) as error:
        raise ELFError(str(error)) from error


class Row:
    """How to get from a function's registers to its caller's: the CFA is a register's value plus an offset.

    `rules` by register: ("offset", n): saved at CFA + n; ("register", r): in that one; ("undefined", 0).
    """

    __slots__ = ("cfa_offset", "cfa_register", "return_register", "rules", "signal_frame", "start")

    def __init__(self, start: int, return_register: int, *, signal_frame: bool) -> None:
        self.start = start
        self.return_register = return_register
        self.signal_frame = signal_frame
        self.cfa_register = -1  # told by an expression
        self.cfa_offset = 0
        self.rules: Rules = {}


class Image:
    """An ELF file. Raises ELFError."""

    def __init__(self, fd: int) -> None:
        try:
            size = os.fstat(fd).st_size
            self._data = mmap.mmap(fd, size, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise ELFError(str(error)) from error
        self._starts: array[int] = array("Q")
        self._ends: array[int] = array("Q")
        self._names: array[int] = array("Q")
        self._segments: list[tuple[int, int, int]] = []  # offset, address, bytes
        self._frames: tuple[int, int, int] | None = None  # header's address, its table's offset, entries
        try:
            self._read()
        except (struct.error, ValueError, IndexError, OverflowError) as error:
            raise ELFError(str(error)) from error

    def _read(self) -> None:
        data = self._data
        if data[:6] != b"\x7fELF\x02\x01":
            raise ELFError("not an ELF of 64 bits, little endian")
        program_at, section_at = struct.unpack_from("<QQ", data, 32)
        entry_bytes, entries, section_bytes, sections = struct.unpack_from("<HHHH", data, 54)
        for index in range(entries):
            kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", data, program_at + index * entry_bytes)
            if kind == _LOAD:
                self._segments.append((offset, address, size))
            elif kind == _EH_FRAME_HDR:
                version, _, count_encoding, table_encoding = struct.unpack_from("<BBBB", data, offset)
                if (version, count_encoding, table_encoding) == (1, _INT, _DATAREL_INT):
                    self._frames = address, offset + 12, struct.unpack_from("<I", data, offset + 8)[0]
        found: dict[int, tuple[int, int, int]] = {}
        for index in range(min(sections, _MOST_SECTIONS)):
            _, kind, _, _, offset, size, link = struct.unpack_from("<IIQQQQI", data, section_at + index * section_bytes)
            if kind in (_SYMTAB, _DYNSYM) and size // 24 <= _MOST_SYMBOLS and link < sections:
                names_at = struct.unpack_from("<Q", data, section_at + link * section_bytes + 24)[0]
                found[kind] = offset, size, names_at
        table = found.get(_SYMTAB) or found.get(_DYNSYM)
        if table is not None:
            self._read_symbols(*table)

    def _read_symbols(self, offset: int, size: int, names_at: int) -> None:
        view = memoryview(self._data)[offset : offset + size - size % 24]
        try:
            functions: dict[int, tuple[int, int]] = {}
            for name, info, _, section, value, each_size in struct.iter_unpack("<IBBHQQ", view):
                if info & 15 in _FUNCTIONS and section:
                    at = names_at + name
                    if value not in functions or self._data[at] != ord("_"):  # of `read` and `__read` the first
                        functions[value] = value + each_size, at
        finally:
            view.release()
        for start, (end, name_at) in sorted(functions.items()):
            self._starts.append(start)
            self._ends.append(min(end, (1 << 64) - 1))
            self._names.append(name_at)

    def address(self, file_offset: int) -> int:
        """Where a part of the file is in the image's own addresses. Raises ELFError."""
        for offset, address, size in self._segments:
            if offset <= file_offset < offset + size:
                return file_offset - offset + address
        raise ELFError("outside of what is loaded")

    def _offset(self, address: int) -> int:
        for offset, start, size in self._segments:
            if start <= address < start + size:
                return address - start + offset
        raise ELFError("outside of what is loaded")

    def symbol(self, address: int) -> str | None:
        """The function at an address of the image."""
        index = bisect_right(self._starts, address) - 1
        if index < 0 or not (address < self._ends[index] or self._ends[index] == self._starts[index]):
            return None
        at = self._names[index]
        end = self._data.find(b"\0", at, at + _MOST_NAME)
        return self._data[at:end].decode("utf-8", "backslashreplace") or None if end > at else None

    def row(self, address: int) -> Row | None:
        """How to unwind at an address of the image; None where nothing tells. Raises ELFError."""
        if self._frames is None:
            return None
        base, table, count = self._frames
        try:
            low, high = 0, count
            while low < high:
                middle = (low + high) // 2
                if struct.unpack_from("<i", self._data, table + middle * 8)[0] + base <= address:
                    low = middle + 1
                else:
                    high = middle
            if not low:
                return None
            description = struct.unpack_from("<i", self._data, table + (low - 1) * 8 + 4)[0] + base
            return _Frame(self._data, self._offset(description), description).row(address)
        except (struct.error, ValueError, IndexError, KeyError, OverflowError) as error:
            raise ELFError(str(error)) from error


class _Frame:
    """A frame description entry (FDE) with its common part (CIE)."""

    def __init__(self, data: mmap.mmap, at: int, address: int) -> None:
        self._data = data
        self._at = at
        length, pointer = struct.unpack_from("<II", data, at)
        if length in (0, 0xFFFFFFFF) or not pointer:
            raise ELFError("no frame description")
        self._common(at + 4 - pointer)
        if self._encoding not in (_PCREL_INT, _INT):
            raise ELFError("an encoding that isn't known here")
        start, size = struct.unpack_from("<iI", data, at + 8)
        self.start = start + (address + 8 if self._encoding == _PCREL_INT else 0)
        self.end = self.start + size
        self._at = at + 16
        if self._augmented:
            skip = self._uleb()
            self._at += skip
        self._program = self._at, at + 4 + length

    def _common(self, at: int) -> None:
        length, zero, version = struct.unpack_from("<IIB", self._data, at)
        if zero or version not in (1, 3) or length > 1 << 16:
            raise ELFError("no common part")
        end = self._data.find(b"\0", at + 9, at + 9 + 16)
        augmentation = self._data[at + 9 : end]
        self._at = end + 1
        self._code_step = self._uleb()
        self._data_step = self._sleb()
        self._return_register = self._byte() if version == 1 else self._uleb()
        self._augmented = augmentation.startswith(b"z")
        self._encoding = 0
        self._signal_frame = b"S" in augmentation
        if self._augmented:
            after = self._uleb()
            after += self._at
            for letter in augmentation[1:]:
                if letter == ord("R"):
                    self._encoding = self._byte()
                elif letter == ord("P"):
                    self._at += _POINTER_BYTES[self._byte() & 15]
                elif letter == ord("L"):
                    self._at += 1
            self._at = after
        self._initial = self._at, at + 4 + length

    def row(self, address: int) -> Row | None:
        """The row for an address; None when it isn't in this function."""
        if not self.start <= address < self.end:
            return None
        row = Row(self.start, self._return_register, signal_frame=self._signal_frame)
        self._run(*self._initial, row, address, {})
        self._run(*self._program, row, address, dict(row.rules))
        return row

    def _run(self, at: int, end: int, row: Row, address: int, initial: Rules) -> None:
        self._at = at
        here = self.start
        kept: list[tuple[int, int, Rules]] = []
        while self._at < end:
            code = self._byte()
            high, low = code & 0xC0, code & 0x3F
            if high == 0x40 or code in (2, 3, 4):  # advance_loc, 1, 2, 4
                step = low if high else int.from_bytes(self._take(1 << code - 2), "little")
                here += step * self._code_step
                if here > address:
                    return
            elif high == 0x80:
                row.rules[low] = "offset", self._uleb() * self._data_step
            elif high == 0xC0 or code == 6:  # restore, restore_extended
                register = low if high else self._uleb()
                if register in initial:
                    row.rules[register] = initial[register]
                else:
                    row.rules.pop(register, None)
            elif code in (5, 0x2F):  # offset_extended, GNU_negative_offset_extended
                register = self._uleb()
                row.rules[register] = "offset", self._uleb() * self._data_step * (1 if code == 5 else -1)
            elif code == 0x11:  # offset_extended_sf
                register = self._uleb()
                row.rules[register] = "offset", self._sleb() * self._data_step
            elif code == 7:
                row.rules[self._uleb()] = "undefined", 0
            elif code == 8:
                row.rules.pop(self._uleb(), None)
            elif code == 9:
                register = self._uleb()
                row.rules[register] = "register", self._uleb()
            elif code == 0x0A:
                kept.append((row.cfa_register, row.cfa_offset, dict(row.rules)))
            elif code == 0x0B:
                row.cfa_register, row.cfa_offset, row.rules = kept.pop()
            elif code == 0x0C:
                row.cfa_register, row.cfa_offset = self._uleb(), self._uleb()
            elif code == 0x12:
                row.cfa_register, row.cfa_offset = self._uleb(), self._sleb() * self._data_step
            elif code == 0x0D:
                row.cfa_register = self._uleb()
            elif code == 0x0E:
                row.cfa_offset = self._uleb()
            elif code == 0x13:
                row.cfa_offset = self._sleb() * self._data_step
            elif code == 0x0F:  # def_cfa_expression
                row.cfa_register = -1
                skip = self._uleb()
                self._at += skip
            elif code in (0x10, 0x16):  # expression, val_expression
                row.rules[self._uleb()] = "undefined", 0
                skip = self._uleb()
                self._at += skip
            elif code == 0x2E:
                self._uleb()
            elif code:
                raise ELFError(f"call frame instruction {code:#x}")

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _take(self, count: int) -> bytes:
        value = self._data[self._at : self._at + count]
        self._at += count
        return value

    def _uleb(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
        raise ELFError("a number without end")

    def _sleb(self) -> int:
        at = self._at
        value = self._uleb()
        bits = 7 * (self._at - at)
        return value - (1 << bits) if value >> bits - 1 & 1 else value
