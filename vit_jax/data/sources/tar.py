"""Where the files in a tar lie: its headers are read, and nothing else of it.

The formats are POSIX.1-2001 ("ustar" and "pax") and GNU's, as https://www.gnu.org/software/tar/manual/html_node/Standard.html
describes them. Nothing is unpacked, so that a name such as "../a.jpg" is a name and no more.
"""

import re
from collections.abc import Iterator
from io import BufferedIOBase
from typing import NamedTuple

from vit_jax.errors import UserError, one_line

BLOCK = 512  # bytes; headers and contents begin at whole ones
REGULAR, FOLDER = (b"\0", b"0", b"7"), b"5"
LONG_NAME, LONG_LINK, PAX, PAX_FOR_ALL = b"L", b"K", b"x", b"g"  # they say more of the file after them
PACKED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}  # how their files begin
MOST = 2**20  # bytes of a name, or of what pax says of a file


class Member(NamedTuple):
    """A regular file in a tar: its bytes are `offset` to `offset + size` of it."""

    name: str
    offset: int
    size: int


def members(file: BufferedIOBase, size: int, path: str) -> Iterator[Member]:
    """Yields the files in a tar of `size` bytes, in their order.

    Raises:
      UserError: it is packed, no tar, damaged, cut short, or holds a link or a sparse file, whose bytes lie elsewhere.
    """
    place = 0
    name, length = b"", -1  # as headers before that of the file itself say it, who override it
    while True:
        if place == 0 and (begins := _read(file, 0, min(2, size), size, path)) in PACKED:
            raise UserError(
                f'"{path}" is packed by {PACKED[begins]}, which must be read from its beginning; unpack it '
                "(gunzip, ...): JPEG and PNG are packed already"
            )
        header = _read(file, place, BLOCK, size, path)
        if not any(header):
            break
        if _number(header[148:156], path, place) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
            raise UserError(
                f'"{path}" is {"damaged" if place else "no tar"}: byte {place:,} begins no file; write it anew'
            )
        kind = header[156:157]
        content = _number(header[124:136], path, place)
        if kind in REGULAR and length >= 0:
            content = length
        begin = place + BLOCK
        place = begin + -(-content // BLOCK) * BLOCK
        if kind in (LONG_NAME, PAX):
            if content > MOST:
                raise UserError(
                    f'"{path}" is damaged: byte {begin - BLOCK:,} begins a name of {content:,} bytes; write it anew'
                )
            said = _read(file, begin, content, size, path)
            if kind == LONG_NAME:
                name = said.rstrip(b"\0")
                continue
            records = _records(said, path, begin)
            name = records.get(b"path", name)
            length = int(records.get(b"size", length))
            if any(key.startswith(b"GNU.sparse.") for key in records):
                raise _not_whole(path, name or _name(header), "a sparse file")
            continue
        if kind in (LONG_LINK, PAX_FOR_ALL):
            continue
        full_name, name, length = name or _name(header), b"", -1
        if kind in REGULAR and not full_name.endswith(b"/"):  # a folder, in the oldest format
            if begin + content > size:
                raise _cut_short(path, size)
            yield Member(full_name.decode(errors="surrogateescape"), begin, content)
        elif kind not in (*REGULAR, FOLDER):
            what = {b"1": "a hard link", b"2": "a symbolic link", b"S": "a sparse file"}.get(kind, "no file")
            raise _not_whole(path, full_name, what)
    file.seek(place)
    if any(any(chunk) for chunk in iter(lambda: file.read(2**20), b"")):
        raise UserError(
            f'"{path}" goes on behind its end at byte {place:,}; join tars with tar --concatenate, not with cat'
        )


def _read(file: BufferedIOBase, start: int, count: int, size: int, path: str) -> bytes:
    if start + count > size:
        raise _cut_short(path, size)
    file.seek(start)
    return file.read(count)


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    # What follows in GNU's own format is no prefix.
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _number(field: bytes, path: str, place: int) -> int:
    """Returns a number in octal digits, or, where its first bit is set, in bytes."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    if not re.fullmatch(b"[0-7]*", digits):  # a sign, which int would read, would lead back
        raise UserError(f'"{path}" is {"damaged" if place else "no tar"}: byte {place:,} begins no file; write it anew')
    return int(digits or b"0", 8)


def _records(said: bytes, path: str, place: int) -> dict[bytes, bytes]:
    """Returns what a pax header says: each record is its own length, a space, key=value and a line end."""
    records = {}
    try:
        while said:
            digits = said.partition(b" ")[0]
            length = int(digits)
            if length <= len(digits):
                raise ValueError("a record that does not hold its own length")
            record, said = said[len(digits) + 1 : length], said[length:]
            key, _, value = record.partition(b"=")
            records[key] = value.removesuffix(b"\n")
        int(records.get(b"size", 0))
    except ValueError:
        raise UserError(f'"{path}" is damaged: byte {place:,} begins no pax header; write it anew') from None
    return records


def _cut_short(path: str, size: int) -> UserError:
    return UserError(
        f'"{path}" is cut short: its {size:,} bytes end before the marks of its end; copy or write it anew'
    )


def _not_whole(path: str, name: bytes, what: str) -> UserError:
    title = one_line(name.decode(errors="replace"))
    return UserError(
        f'"{title}" in "{path}" is {what}; write it with tar --dereference --hard-dereference, not --sparse'
    )
