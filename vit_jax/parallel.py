"""The mesh of devices, and where each array lies on it."""

import re
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vit_jax.errors import UserError
from vit_jax.shapes import PyTree

# (pattern of a parameter's path, how its axes are split). The first match counts. Data parallel: all whole everywhere.
Rules = Sequence[tuple[str, P]]
DATA_PARALLEL: Rules = ((".*", P()),)


def make_mesh(data: int = -1) -> Mesh:
    """Returns a mesh of `data` devices along its one axis "data"; -1 takes all there are."""
    if jax.process_count() > 1:
        raise UserError("several hosts were found; so far a run takes one host with all of its devices")
    devices = jax.devices()
    count = len(devices) if data == -1 else data
    if not 1 <= count <= len(devices):
        raise UserError(f"a mesh of {data} devices was asked for; there are {len(devices)}")
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:count])


def path_of(path: Sequence[object]) -> str:
    """Returns the slash-separated name of a leaf, as in "encoder/block03/attention/query/kernel"."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def shardings(mesh: Mesh, tree: PyTree, rules: Rules = DATA_PARALLEL) -> PyTree:
    """Returns, for each leaf of `tree`, the sharding that the first rule matching its path gives it."""

    def place(path: Sequence[object], _: object) -> NamedSharding:
        name = path_of(path)
        for pattern, spec in rules:
            if re.fullmatch(pattern, name):
                return NamedSharding(mesh, spec)
        raise UserError(f"no sharding rule matches {name}; end the rules with ('.*', P())")

    return jax.tree_util.tree_map_with_path(place, tree)


def place(mesh: Mesh, tree: PyTree, rules: Rules = DATA_PARALLEL) -> PyTree:
    """Returns the arrays of `tree` on the mesh, as the rules have it."""
    return jax.device_put(tree, shardings(mesh, tree, rules))


def check_batch_size(mesh: Mesh, batch_size: int, pieces: int = 1) -> None:
    """Raises UserError unless `pieces` equal parts of a batch each split evenly over the mesh."""
    devices = mesh.shape["data"]
    if batch_size % (devices * pieces):
        nearest = -(-batch_size // (devices * pieces)) * devices * pieces
        raise UserError(
            f"batch_size {batch_size} does not divide into {pieces} part(s) over {devices} devices; try {nearest}"
        )


def whole_batch_size(mesh: Mesh, batch_size: int) -> int:
    """Returns the least batch size from `batch_size` on that splits evenly over the mesh."""
    devices = mesh.shape["data"]
    return -(-batch_size // devices) * devices


def place_batch(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Returns the batch on the mesh, its rows split along "data"."""
    rows = NamedSharding(mesh, P("data"))
    return {name: jax.make_array_from_process_local_data(rows, array) for name, array in batch.items()}
