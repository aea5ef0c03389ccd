"""Which example stands at each place of the endless stream that batches are cut from, in memory that never grows.

An order is computed, not stored: a keyed permutation of 0 … n - 1 that is asked for any of its places.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from vit_jax.data.examples import Source, labels_of
from vit_jax.data.sources.mixture import Mixture
from vit_jax.errors import UserError

ROUNDS = 12  # of the permutation: as few as give each order of five examples equally often
SLOTS = 1 << 16  # that weights share: how finely they are told apart


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How often a training shows what, and what it does without.

    Attributes:
      repeats: how many times a batch holds each of its examples, differently cropped ("batch augmentation", arXiv
        1901.09335), `batch_size / repeats` rows apart, so that mixup with the row before blends different images.
      balance: evens out the classes: one of n examples has its turn in proportion to n ** (1 - balance), so that 0
        leaves them as they are and 1 shows all classes equally often.
      unreadable_share: how large a part of the images may be unreadable before the training stops.
    """

    repeats: int = 1
    balance: float = 0.0
    unreadable_share: float = 0.001

    def __post_init__(self):
        if self.repeats < 1:
            raise UserError(f"repeats is {self.repeats}; give at least 1")
        for name in ("balance", "unreadable_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; give a share, 0 to 1")


PLAIN = Sampling()


@dataclasses.dataclass(frozen=True)
class Groups:
    """Examples in groups, and how often each group has its turn.

    Attributes:
      sizes: int64 (groups,), how many examples each has.
      shares: int64 (groups,), how many of every `sum(shares)` places of the stream are its own.
      members: the examples' indices, group after group; None where they are 0, 1, 2, …
    """

    sizes: np.ndarray
    shares: np.ndarray
    members: np.ndarray | None = None

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Where each group's examples begin, int64 (groups,)."""
        return np.cumsum(self.sizes) - self.sizes

    @functools.cached_property
    def turn_ends(self) -> np.ndarray:
        """Where each group's turns end among the places that all share, int64 (groups,)."""
        return np.cumsum(self.shares)


@dataclasses.dataclass(frozen=True)
class Order:
    """Gives the index of the example at each place of the stream, a pure function of the seed and the place.

    A group's examples all have their turn once, in an order of its own, before any has it again. Where there are
    several groups, every `sum(shares)` places in a row hold exactly the share of each, shuffled.

    >>> order = Order(Groups(np.array([5]), np.array([1])), seed=0, batch_size=5)
    >>> sorted(order(np.arange(5)).tolist()), order(np.arange(5)).tolist() == order(np.arange(5, 10)).tolist()
    ([0, 1, 2, 3, 4], False)
    """

    groups: Groups
    seed: int
    batch_size: int
    repeats: int = 1

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Returns int64 (places,): the examples at these places, each at least 0."""
        if self.repeats > 1:
            batch, row = np.divmod(places, self.batch_size)
            distinct = self.batch_size // self.repeats
            places = batch * distinct + row % distinct
        group, turn = self._turns(places)
        sizes = self.groups.sizes[group]
        epoch, place = np.divmod(turn, sizes)
        index = permuted(place, sizes, _key(self.seed, 1, group, epoch))
        index += self.groups.starts[group]
        return index if self.groups.members is None else self.groups.members[index].astype(np.int64)

    def _turns(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the group at each place, and how many of its turns came before."""
        shares, ends = self.groups.shares, self.groups.turn_ends
        if len(shares) == 1:
            return np.zeros_like(places), places
        block, place = np.divmod(places, ends[-1])
        slot = permuted(place, np.full_like(place, ends[-1]), _key(self.seed, 0, block))
        group = np.searchsorted(ends, slot, side="right")
        return group, block * shares[group] + slot - (ends[group] - shares[group])


def build(source: Source, sampling: Sampling, batch_size: int, seed: int) -> Order:
    """Returns the order in which a training reads `source`; a mixture's parts have their turns by its weights.

    Raises:
      UserError: the sampling does not fit the source or the batch size.
    """
    repeats, balance = sampling.repeats, sampling.balance
    if batch_size % repeats:
        raise UserError(f"batch_size {batch_size} does not divide into {repeats} repeats; choose one that does")
    if isinstance(source, Mixture):
        if balance:
            raise UserError("a mixture has its weights already; give balance 0")
        groups = Groups(np.array([len(part) for part in source.sources]), shared(source.weights))
    elif balance:
        labels = labels_of(source)
        sizes = np.bincount(labels)
        present = sizes[sizes > 0]
        groups = Groups(present, shared(present ** (1.0 - balance)), np.argsort(labels, kind="stable").astype(np.int32))
    else:
        groups = Groups(np.array([len(source)]), np.array([1]))
    return Order(groups, seed, batch_size, repeats)


def shared(weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns whole numbers in proportion to `weights`, at least 1 each, that sum to `SLOTS` or four for each weight.

    >>> shared([3.0, 1.0])
    array([49152, 16384])
    """
    wanted = np.asarray(weights, float)
    wanted = wanted / wanted.sum() * max(SLOTS, 4 * len(wanted))
    shares = np.maximum(np.floor(wanted), 1).astype(np.int64)
    rest = round(wanted.sum()) - int(shares.sum())
    # What rounding down left over goes to those it took most from; what the least share of 1 gave, the largest give.
    if rest > 0:
        shares[np.argsort(shares - wanted, kind="stable")[:rest]] += 1
    while rest < 0:
        shares[np.argmax(shares)] -= 1
        rest += 1
    return shares


def permuted(places: np.ndarray, sizes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Returns int64: for each place in 0 … size - 1 where the permutation of that size and key takes it.

    A Feistel network on the pair (place // columns, place % columns), each half turned by a hash of the other, walked
    until it lands below the size again (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). A turn
    before and one after it make it even for the smallest sizes too.
    """
    size = sizes.astype(np.uint64)
    columns = np.ceil(np.sqrt(sizes)).astype(np.uint64)
    rows = (size + columns - 1) // columns
    before, after = _hashed(keys + np.uint64(ROUNDS)), _hashed(keys + np.uint64(ROUNDS + 1))
    result = _walked((places.astype(np.uint64) + before % size) % size, rows, columns, keys)
    while (outside := np.flatnonzero(result >= size)).size:
        result[outside] = _walked(result[outside], rows[outside], columns[outside], keys[outside])
    return ((result + after % size) % size).astype(np.int64)


def _walked(places: np.ndarray, rows: np.ndarray, columns: np.ndarray, keys: np.ndarray) -> np.ndarray:
    row, column = places // columns, places % columns
    for number in range(0, ROUNDS, 2):
        row = (row + _hashed(column + keys + np.uint64(number)) % rows) % rows
        column = (column + _hashed(row + keys + np.uint64(number + 1)) % columns) % columns
    return row * columns + column


def _key(seed: int, *words: int | np.ndarray) -> np.ndarray:
    """Returns uint64, one for each entry of the words: a hash of the seed and all of them."""
    key = np.full(1, seed % 2**64, np.uint64)
    for word in words:
        key = _hashed(_hashed(key) + np.asarray(word).astype(np.uint64))
    return key


def _hashed(words: np.ndarray) -> np.ndarray:
    """Returns uint64: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
