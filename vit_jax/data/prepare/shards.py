"""One shard: a contiguous range of a source's examples, as an ArrayRecord file and a note of what is in it.

A shard depends on the source, the plan and its own number, and on nothing else, so whoever makes it, and when, and how
often, makes the same bytes. Its note is written before it gets its name: a file with the right name that has no note,
or another one, is not finished.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vit_jax.data.examples import Source
from vit_jax.data.prepare import files, plan, records
from vit_jax.errors import UserError

UNFINISHED = ".unfinished"  # the folder, in the prepared one, of everything that is not finished
# A group of 1 makes every record one read; images are compressed already, and a shard of them is no smaller for zstd.
OPTIONS = "group_size:1,uncompressed"


@dataclass(frozen=True)
class Shards:
    """The shards of one split: what it takes to make any of them, anywhere."""

    folder: Path
    name: str
    split: str
    count: int
    source: Source
    root: str  # what the names of the source's examples begin with
    short_side: int
    skip_bad: bool

    def file(self, number: int) -> str:
        """Returns the file name of a shard, as tfds has them."""
        return f"{self.name}-{self.split}.array_record-{number:05d}-of-{self.count:05d}"

    def examples(self, number: int) -> range:
        """Returns the places in the source of a shard's examples."""
        size = len(self.source)
        return range(number * size // self.count, (number + 1) * size // self.count)

    def note(self, number: int) -> Path:
        """Returns where a shard's note is."""
        return self.folder / UNFINISHED / f"{self.file(number)}.json"

    def complaint(self, number: int) -> Path:
        """Returns where the bad images of a shard are named."""
        return self.folder / UNFINISHED / f"{self.file(number)}.bad.json"

    def is_finished(self, number: int) -> bool:
        """Tells whether a shard is there, whole and unchanged."""
        note = files.read_json(self.note(number))
        return note is not None and files.is_unchanged(self.folder, note)

    def make(self, number: int) -> None:
        """Makes a shard, if it is not finished; names what is bad in a complaint instead if there is anything.

        Raises UserError where it cannot be written.
        """
        if self.is_finished(number):
            return
        path = self.folder / self.file(number)
        with files.placed(path) as part:
            contents = self._write(number, part)
            if contents["left_out"] and not self.skip_bad:
                files.write_json(self.complaint(number), contents["left_out"])
                part.unlink()
                return
            note = files.described(part) | {"file": path.name, "examples": len(contents["labels"])} | contents
            files.write_json(self.note(number), note)

    def _write(self, number: int, part: Path) -> dict[str, Any]:
        """Writes the records; returns the labels of each, how many were shrunk, and which were left out, why."""
        from array_record.python.array_record_module import ArrayRecordWriter

        labels, left_out, shrunk = [], [], 0
        path = self.folder / self.file(number)
        with files.writing(path):
            writer = ArrayRecordWriter(str(part), OPTIONS)
        for index in self.examples(number):
            name = f"{self.split}[{index}]"
            try:
                example = self.source[index]
                name = plan.name_of(example, self.root)
                image, is_shrunk = records.stored(example, self.short_side)
            except UserError as error:
                left_out.append({"name": name, "why": str(error)})
                continue
            labels.append(example.labels)
            shrunk += is_shrunk
            with files.writing(path):
                writer.write(records.encode(image, labels[-1], name))
        with files.writing(path):
            writer.close()
        return {"shrunk": shrunk, "left_out": left_out, "labels": labels}
