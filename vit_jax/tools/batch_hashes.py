"""`data hash`: what batches hold, as hashes, to be compared between machines, data formats and numbers of hosts."""

import hashlib
from collections.abc import Iterator
from itertools import islice

import numpy as np

from vit_jax import data
from vit_jax.data import pipeline
from vit_jax.errors import UserError, construct
from vit_jax.tools import configuration
from vit_jax.tools.arguments import Parser
from vit_jax.train.config import Config


def main(arguments: list[str]) -> int:
    """Prints the hash of every batch, pixels and labels, that a training would read.

    A line has a step, a part of its batch, and the part's SHA-256. Sorted, the lines of all hosts are those of one.
    """
    parser = Parser("data hash", main.__doc__ or "")
    configuration.add_to(parser)
    parser.add_argument("--first", type=int, default=0, help="the step to begin with, as if resumed there (default 0)")
    parser.add_argument("--steps", type=int, default=100, help="how many batches (default 100)")
    parser.add_argument("--parts", type=int, default=1, help="hashes a batch (default 1); a multiple of the hosts")
    parser.add_argument("--host", default="0/1", metavar="HOST/HOSTS", help="reads what this host would (from 0)")
    given, left = parser.parse_known_args(arguments)
    if not given.config:
        raise UserError("--config is wanted, as in --config=configs/scratch.py")
    config = construct(Config, "config", **configuration.changed(given.config, left, parser).to_dict())
    host, hosts = numbers(given.host)
    if min(given.first, given.steps) < 0:
        raise UserError(f"--first is {given.first} and --steps {given.steps}; give 0 or more")
    if given.parts < 1 or given.parts % hosts or config.batch_size % given.parts:
        raise UserError(
            f"{given.parts} parts of a batch of {config.batch_size} among {hosts} hosts; give --parts that the hosts "
            "divide, and that divide the batch"
        )
    _, batches = construct(
        data.training, "config.train", config.source, config.image_size, config.batch_size, config.seed,
        config.threads, config.processes, pipeline.rows_of(host, hosts, config.batch_size), **config.train,
    )  # fmt: skip
    own = given.parts // hosts
    with batches.since(given.first) as ahead:
        for step, batch in enumerate(islice(ahead, given.steps), given.first):
            for part, digest in enumerate(digests(batch, own), host * own):
                print(f"{step:08} {part:04} {digest}", flush=True)
    return 0


def digests(batch: dict[str, np.ndarray], parts: int) -> Iterator[str]:
    """Yields the SHA-256 of each of `parts` equal parts of a batch: names, dtypes, shapes and bytes of its arrays."""
    for arrays in zip(*(np.split(batch[name], parts) for name in sorted(batch)), strict=True):
        digest = hashlib.sha256()
        for name, array in zip(sorted(batch), arrays, strict=True):
            digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
        yield digest.hexdigest()


def numbers(host: str) -> tuple[int, int]:
    """Returns which host it is, and of how many.

    >>> numbers("3/8")
    (3, 8)
    """
    try:
        which, _, hosts = host.partition("/")
        if 0 <= int(which) < int(hosts):
            return int(which), int(hosts)
    except ValueError:
        pass
    raise UserError(f'--host is "{host}"; give which of how many, counted from 0, as in 0/4')
