"""`data prepare`: any source of images as ArrayRecord shards."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from vit_jax.errors import UserError, construct
from vit_jax.tools import configuration
from vit_jax.tools.arguments import Parser

SHARDED = ("out", "splits", "name", "short_side", "shards", "processes", "beam", "skip_bad")
# What is prepared, and the options that are read with it.
READ = {
    "data": ("kind", *SHARDED),
    "config": SHARDED,
    "tfds": ("data_dir",),
    "tfrecord": ("out", "processes", "beam"),
}
AGAIN = "prepared already, every file as its hash says"
SPLIT = re.compile(r"(?:(?P<name>\w+)=)?(?P<split>(?P<whole>[\w-]+)(?:\[.*\])?)")


def prepare(arguments: list[str]) -> int:
    """Turns images into ArrayRecord shards with a manifest of hashes; the same command goes on where it stopped."""
    given, config = read_command(arguments)
    if given.tfds:
        return _prepare_tfds(given)
    if not given.out:
        raise UserError("--out is wanted, the folder to write, as in --out=prepared/birds")
    _refuse_address(given.out)
    if given.tfrecord:
        return _convert(given)

    from vit_jax.data import sources
    from vit_jax.data.prepare import plan, work
    from vit_jax.data.sources import folder

    section = config["source"] if config else {"kind": given.kind, "path": given.data}
    if config:
        usual = _splits_of(config)
    else:
        usual = ",".join(folder.splits(given.data)) if given.kind == "folder" else "train,val"
    splits = read_splits(given.splits or usual)
    opened = {name: construct(sources.build, "config.source", split=split, **section) for name, split in splits.items()}
    name = given.name or _as_name(section.get("name") or section.get("path") or section["kind"])
    settled = plan.settle(name, opened, section, given.short_side, given.skip_bad, given.shards)
    for split, terms in settled.splits.items():
        print(f"{split}: {terms.examples} examples, {terms.shards} shards", file=sys.stderr)
    manifest, made = work.prepare(settled, opened, Path(given.out).expanduser(), _carry(given))
    _report(given.out, manifest, "prepared" if made else AGAIN)
    return 0


def read_command(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any] | None]:
    """Returns the options, and the config if one is given, changed as the command line says."""
    parser = Parser("data prepare", prepare.__doc__ or "")
    parser.add_argument("--data", metavar="PATH", help="a folder with a subfolder of images for each class")
    parser.add_argument("--kind", default="folder", help="what PATH is instead, such as webdataset (default: folder)")
    configuration.add_to(parser)
    parser.add_argument("--tfds", metavar="NAME", help="a dataset of the TensorFlow Datasets catalogue, by its builder")
    parser.add_argument("--data-dir", metavar="DIR", default="", help="where to prepare it (default: tfds' own)")
    parser.add_argument("--tfrecord", metavar="DIR", help="a dataset that tfds prepared as TFRecord")
    parser.add_argument("--out", metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--splits",
        help='as in train,val or "train[:90%%]" (default: those of the folder; of a config: those that it names)',
    )
    parser.add_argument("--name", help="what the files' names begin with (default: that of the data)")
    parser.add_argument(
        "--short-side", type=int, default=0, metavar="N", help="shrinks images whose shorter side is above N pixels"
    )
    parser.add_argument("--shards", type=int, default=0, metavar="N", help="of each split (default: one for 256 MB)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="of this machine (default 1)")
    parser.add_argument("--beam", metavar="OPTIONS", help='runs on Apache Beam, as in --beam="--runner=DirectRunner"')
    parser.add_argument("--skip-bad", action="store_true", help="leaves out images that cannot be decoded, and says so")
    given, left = parser.parse_known_args(arguments)
    if sum(map(bool, (given.data, given.config, given.tfds, given.tfrecord))) != 1:
        raise UserError("give one of --data, --config, --tfds and --tfrecord, as in --data=photos --out=prepared")
    _refuse_unread(parser, given)
    if given.config:
        return given, configuration.changed(given.config, left, parser).to_dict()
    for word in left:
        parser.unexpected(word)
    return given, None


def _refuse_unread(parser: Parser, given: argparse.Namespace) -> None:
    """Raises UserError for an option that says nothing about what is prepared."""
    origin = next(origin for origin in READ if getattr(given, origin))
    for option, value in vars(given).items():
        if value != parser.get_default(option) and option not in (origin, *READ[origin]):
            raise UserError(f"--{option.replace('_', '-')} says nothing beside --{origin}; leave it out")


def read_splits(words: str) -> dict[str, str]:
    """Returns what each split that is written holds.

    >>> read_splits("train=train[:90%],validation[:500]")
    {'train': 'train[:90%]', 'validation': 'validation[:500]'}
    """
    splits = {}
    for word in words.split(","):
        found = SPLIT.fullmatch(word)
        if not found:
            raise UserError(f'cannot read "{word}" of --splits; write train, train[:90%] or held_out=train[90%:]')
        name = found["name"] or found["whole"]
        if name in splits:
            raise UserError(f'--splits writes "{name}" twice; name them apart, as in train=train[:90%],val=train[90%:]')
        splits[name] = found["split"]
    return splits


def _splits_of(config: dict[str, Any]) -> str:
    """Returns the splits that a config trains and is examined on, whole."""
    names = [config[part]["split"].partition("[")[0] for part in ("train", "evaluate")]
    return ",".join(dict.fromkeys(names))


def _as_name(words: str) -> str:
    """Returns the last word of a path as a name for files.

    >>> _as_name("cifar10:3.0.2"), _as_name("gs://bucket/My Birds/"), _as_name("/data/102flowers")
    ('cifar10', 'my_birds', 'images_102flowers')
    """
    last = words.rstrip("/").rpartition("/")[2] if "://" in words else Path(words).expanduser().resolve().name
    word = re.sub(r"[^a-z0-9_]+", "_", last.partition(":")[0].lower()).strip("_")
    return word if word[:1].isalpha() else f"images_{word}".rstrip("_")


def _prepare_tfds(given: argparse.Namespace) -> int:
    from vit_jax.data.prepare import from_tfds

    _refuse_address(given.data_dir)
    folder, found, made = from_tfds.prepare(given.tfds, given.data_dir)
    _report(str(folder), found, "prepared" if made else AGAIN)
    return 0


def _convert(given: argparse.Namespace) -> int:
    from vit_jax.data.prepare import from_tfds

    found, made = from_tfds.convert(given.tfrecord, Path(given.out).expanduser(), _carry(given))
    _report(given.out, found, "converted" if made else AGAIN)
    return 0


def _refuse_address(place: str) -> None:
    if "://" in place:
        raise UserError(f'"{place}" is no folder of this machine; prepare into one, then copy it there whole')


def _carry(given: argparse.Namespace) -> Any:
    """Returns what makes the shards."""
    from vit_jax.data.prepare import work

    if given.processes < 1:
        raise UserError(f"{given.processes} processes; give at least 1")
    return work.on_beam(given.beam) if given.beam is not None else work.locally(given.processes, _say)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _report(place: str, manifest: dict[str, Any], done: str) -> None:
    for split, found in manifest["splits"].items():
        size = sum(shard["bytes"] for shard in found["shards"])
        shrunk = sum(shard.get("shrunk", 0) for shard in found["shards"])
        left_out = sum(len(shard.get("left_out", ())) for shard in found["shards"])
        print(
            f"{split}: {found['examples']} examples, {size / 1e6:.1f} MB in {len(found['shards'])} shards"
            + (f", {shrunk} shrunk" if shrunk else "")
            + (f", {left_out} left out" if left_out else "")
        )
    print(f"{place}: {done}")
