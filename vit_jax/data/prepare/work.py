"""A plan carried out, by processes of this machine or by Apache Beam on many; gone on with wherever it stopped."""

import contextlib
import fcntl
import functools
import importlib
import multiprocessing
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from vit_jax.data.examples import Source
from vit_jax.data.prepare import files, manifest, plan
from vit_jax.data.prepare.plan import Plan
from vit_jax.data.prepare.shards import UNFINISHED, Shards
from vit_jax.data.workers import serve_parent
from vit_jax.errors import UserError

Splits: TypeAlias = Mapping[str, "Making"]
Job: TypeAlias = tuple[str, int]  # a split and the number of a shard of it
Carry: TypeAlias = Callable[[Splits, list[Job]], None]  # makes all these shards

PLAN = "plan.json"  # in UNFINISHED
NAMED = 20  # bad images in an error; all are in a file beside


@runtime_checkable
class Making(Protocol):
    """The shards of a split, each made by itself, wherever and whenever that is."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def make(self, number: int) -> None:
        """Makes a shard, if it is not finished."""
        ...


def prepare(settled: Plan, sources: Mapping[str, Source], folder: Path, carry: Carry) -> tuple[dict[str, Any], bool]:
    """Returns the manifest of `folder`, with everything in it, and whether anything had to be made.

    What an earlier run finished is checked by its hash and kept. Raises UserError, and leaves a folder that is not
    finished, for another plan than it was begun by, for bad images, all of them named, and where it cannot be written.
    """
    with alone(folder):
        found = manifest.read(folder)
        refuse_foreign(folder, found)
        earlier = manifest.terms_of(found) if found else files.read_json(folder / UNFINISHED / PLAN)
        if earlier is not None:
            plan.refuse_another(settled, folder, earlier)
        if found and manifest.is_whole(folder, found):
            return found, False
        begin(folder, plan.as_terms(settled), found)
        splits = {
            split: Shards(
                folder,
                settled.name,
                split,
                settled.splits[split].shards,
                source,
                plan.root_of(settled.source),
                settled.short_side,
                settled.skip_bad,
            )
            for split, source in sources.items()
        }
        make_all(splits, folder, carry)
        _refuse_bad(splits)
        return manifest.finish(folder, settled, splits.values()), True


def make_all(splits: Splits, folder: Path, carry: Carry) -> None:
    """Makes all shards of all splits in `folder`; whatever happens, no part of one is left."""
    try:
        carry(splits, [(split, number) for split, shards in splits.items() for number in range(shards.count)])
    finally:
        _clear_parts(folder)


def locally(processes: int, say: Callable[[str], None]) -> Carry:
    """Makes shards in `processes` processes of this machine, saying where they are; 1: in this one."""

    def carry(splits: Splits, jobs: list[Job]) -> None:
        if processes == 1:
            for done, job in enumerate(jobs, 1):
                _make(splits, job)
                say(f"{done} of {len(jobs)} shards")
            return
        # Not forked: a fork of a process with threads can hang, and JAX has threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(jobs)), context, _start, (splits,)) as pool:
            try:
                for done, future in enumerate(as_completed([pool.submit(_make_here, job) for job in jobs]), 1):
                    future.result()
                    say(f"{done} of {len(jobs)} shards")
            except BrokenProcessPool:
                raise UserError(
                    "a worker process was ended, perhaps for want of memory; start again, with fewer --processes: "
                    "what is finished stays"
                ) from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():
                    process.terminate()
                raise

    return carry


def on_beam(options: str) -> Carry:
    """Makes shards on Apache Beam, whose pipeline `options` ("--runner=…") name; all workers must see the folder.

    Raises UserError where Beam is not installed.
    """
    try:
        beam: Any = importlib.import_module("apache_beam")
        pipeline_options: Any = importlib.import_module("apache_beam.options.pipeline_options")
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; install the extra [beam]") from None

    def carry(splits: Splits, jobs: list[Job]) -> None:
        try:
            given = pipeline_options.PipelineOptions(shlex.split(options))
            with beam.Pipeline(options=given) as pipeline:
                numbers = pipeline | beam.Create(jobs) | beam.Reshuffle()
                _ = numbers | beam.Map(functools.partial(_make, splits))
        except Exception as error:  # whatever a runner raises; a worker's own words come last
            raise UserError(f"Apache Beam: {str(error).strip().splitlines()[-1]}") from None

    return carry


def _make(splits: Splits, job: Job) -> None:
    split, number = job
    splits[split].make(number)


def _start(splits: Splits) -> None:
    """Readies a worker process for what it makes shards of."""
    global _splits
    _splits = splits
    serve_parent()


def _make_here(job: Job) -> None:
    _make(_splits, job)


_splits: Splits = {}  # in a worker process


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes the folder, and refuses a second one who prepares it at the same time."""
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f'"{folder}" is being prepared by another process; wait, or give another --out') from None
    finally:
        os.close(descriptor)


def refuse_foreign(folder: Path, found: Mapping[str, Any] | None) -> None:
    """Raises UserError where a folder that nobody began to prepare holds files."""
    if found is None and not (folder / UNFINISHED / PLAN).exists():
        if {path.name for path in folder.iterdir()} - {UNFINISHED}:
            raise UserError(f'"{folder}" holds other files already; give a new folder as --out')


def begin(folder: Path, terms: Mapping[str, Any], found: Mapping[str, Any] | None) -> None:
    """Clears away what was cut short, and writes down by which plan the folder is made."""
    unfinished = folder / UNFINISHED
    with files.writing(unfinished):
        unfinished.mkdir(exist_ok=True)
    _clear_parts(folder)
    for complaint in unfinished.glob("*.bad.json"):
        complaint.unlink()
    if found:
        manifest.reopen(folder, found)
    files.write_json(unfinished / PLAN, dict(terms))


def _clear_parts(folder: Path) -> None:
    """Removes what was cut short while it was written."""
    for part in (*folder.glob(".*.part"), *(folder / UNFINISHED).glob(".*.part")):
        part.unlink(missing_ok=True)


def _refuse_bad(splits: Mapping[str, Shards]) -> None:
    """Raises UserError naming the images that could not be prepared, if there are any."""
    bad = []
    for shards in splits.values():
        for number in range(shards.count):
            bad += files.read_json(shards.complaint(number)) or []
    if not bad:
        return
    named = "; ".join(each["why"] for each in bad[:NAMED])
    folder = next(iter(splits.values())).folder
    if len(bad) > NAMED:
        whole = folder / UNFINISHED / "bad.json"
        files.write_json(whole, bad)
        named += f"; and {len(bad) - NAMED} more, all in {whole}"
    raise UserError(f"{len(bad)} images are bad, and --skip-bad would leave them out: {named}")
