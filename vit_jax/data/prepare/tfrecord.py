"""A dataset that tfds prepared as TFRecord, converted to ArrayRecord: the same records, every checksum looked at."""

import functools
import importlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vit_jax.data import storage
from vit_jax.data.prepare import files
from vit_jax.data.prepare.shards import OPTIONS, UNFINISHED
from vit_jax.errors import UserError

HEAD = struct.Struct("<QI")  # the length of a record, and its checksum
TAIL = struct.Struct("<I")  # the record's


@dataclass(frozen=True)
class Converted:
    """The shards of one split, each a TFRecord file made an ArrayRecord file."""

    folder: Path
    split: str
    sources: tuple[str, ...]  # local or gs://
    lengths: tuple[int, ...]  # the records that each should have

    @property
    def count(self) -> int:
        """The number of shards."""
        return len(self.sources)

    def file(self, number: int) -> str:
        """Returns the file name of a shard, as tfds has them."""
        return self.sources[number].rpartition("/")[2].replace(".tfrecord-", ".array_record-")

    def note(self, number: int) -> Path:
        """Returns where a shard's note is."""
        return self.folder / UNFINISHED / f"{self.file(number)}.json"

    def make(self, number: int) -> None:
        """Converts a file, if that is not done.

        Raises UserError where a record or the number of them is not as it was written, or it cannot be written.
        """
        from array_record.python.array_record_module import ArrayRecordWriter

        note = files.read_json(self.note(number))
        if note is not None and files.is_unchanged(self.folder, note):
            return
        path, source, count = self.folder / self.file(number), self.sources[number], 0
        with files.placed(path) as part, storage.open_for_reading(source) as stream:
            with files.writing(path):
                writer = ArrayRecordWriter(str(part), OPTIONS)
            for record in read(stream, source):
                count += 1
                with files.writing(path):
                    writer.write(record)
            with files.writing(path):
                writer.close()
            if count != self.lengths[number]:
                raise UserError(
                    f'"{source}" has {count} records and its dataset_info.json says {self.lengths[number]}; get it anew'
                )
            described = files.described(part) | {"file": path.name, "examples": count}
            files.write_json(self.note(number), described)


def read(stream: Any, name: str) -> Iterator[bytes]:
    """Yields the records of a TFRecord file, open for reading bytes.

    Each is its length, the length's CRC-32C, the record and its CRC-32C, little-endian; both are checked. Raises
    UserError naming the file and the record where one differs, or the file ends within a record.
    """
    number = 0
    while head := stream.read(HEAD.size):
        if len(head) < HEAD.size:
            raise UserError(_cut(name, number))
        length, checksum = HEAD.unpack(head)
        if checksum != masked_crc32c(head[:8]):
            raise UserError(f'the length of record {number} of "{name}" is not what was written; get the file anew')
        record = stream.read(length)
        tail = stream.read(TAIL.size)
        if len(record) < length or len(tail) < TAIL.size:
            raise UserError(_cut(name, number))
        if TAIL.unpack(tail)[0] != masked_crc32c(record):
            raise UserError(f'record {number} of "{name}" is not what was written; get the file anew')
        yield record
        number += 1


def masked_crc32c(data: bytes) -> int:
    """Returns the CRC-32C of `data` as TFRecord files have it: turned by 15 bits, a number added.

    >>> hex(masked_crc32c(b"123456789"))  # whose CRC-32C is 0xe3069283 (RFC 3720, appendix B.4 has the polynomial)
    '0xc78ab0e5'
    """
    checksum = _crc32c()(data)
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _crc32c() -> Callable[[bytes], int]:
    try:
        return importlib.import_module("google_crc32c").value
    except ImportError:
        raise UserError("TFRecord's checksums need google-crc32c; pip install google-crc32c") from None


def _cut(name: str, number: int) -> str:
    return f'"{name}" ends within record {number}; get the file anew'
