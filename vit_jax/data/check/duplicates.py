"""Which images are there twice: exactly, by a hash of their pixels; nearly, by their sketches."""

import itertools
from collections.abc import Iterator

import numpy as np

# The correlation of two sketches from which on two images are taken for copies. 231 pairs of CIFAR-10's train and test
# reach it, each of one picture; among those from 0.90 to 0.93 are strangers, birds and planes in a plain sky.
ALIKE = 0.93
DISTANCE = 12  # bits in which their hashes may differ
# Two hashes that differ in at most 8 bits are equal in at least 3 of 11 parts, however the bits are dealt out.
# Whatever is equal in 3 parts is looked at: every pair up to 8 bits apart is found, and most up to 12.
PARTS, EQUAL = 11, 3
NEIGHBOURS = 100  # that an image is compared with in each of the 165 sortings: a bound where thousands look alike
MANY = 10_000_000  # pairs, at which the search ends: such images are alike by nature
BLOCK = 1 << 16  # pairs whose sketches are compared at a time


def exact(content: np.ndarray) -> np.ndarray:
    """Returns pairs of indices (pairs, 2): every image that has an earlier equal, after the first of its equals.

    `content` is uint64 (images, 2). Pairs are sorted by their second index.
    """
    order = np.lexsort((content[:, 1], content[:, 0]))  # stable: equals stay in their order
    ordered = content[order]
    again = np.concatenate([[False], (ordered[1:] == ordered[:-1]).all(axis=1)])[: len(order)]
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
    pairs = np.stack([order[first[again]], order[again]], axis=1)
    return pairs[np.argsort(pairs[:, 1])]


def near(sketches: np.ndarray, alike: float = ALIKE) -> tuple[np.ndarray, np.ndarray]:
    """Returns pairs of indices (pairs, 2), the lower first, and how much alike each is, float32 (pairs,), at most 1.

    `sketches` is int8 (images, 64), of different images; those that are all 0 are like none. Not all pairs are
    compared: see PARTS.
    """
    hashes = np.packbits(sketches > 0, axis=1).view(np.uint64).ravel()
    lengths = np.sqrt(np.einsum("iw,iw->i", sketches, sketches, dtype=np.float32))
    known = np.flatnonzero(lengths)
    known = known[np.argsort(hashes[known], kind="stable")]  # of equal keys, those of near hashes are neighbours
    found = np.zeros(0, np.int64)
    parts = [sum(1 << bit for bit in range(part, 64, PARTS)) for part in range(PARTS)]
    for chosen in itertools.combinations(parts, EQUAL):
        keys = hashes[known] & np.uint64(sum(chosen))
        order = np.argsort(keys, kind="stable")
        codes = [found]
        for pairs in _close(keys[order], known[order], hashes):
            pairs = pairs[likeness(sketches, lengths, pairs) >= alike]
            codes.append(pairs.min(axis=1) * len(hashes) + pairs.max(axis=1))
        found = np.unique(np.concatenate(codes))
        if len(found) > MANY:
            break
    pairs = np.stack(np.divmod(found, max(len(hashes), 1)), axis=1)
    return pairs, likeness(sketches, lengths, pairs)


def _close(keys: np.ndarray, images: np.ndarray, hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the pairs (pairs, 2) of `images`, which are sorted by their `keys`, of equal keys and close hashes."""
    rows = np.arange(len(keys))
    for step in range(1, NEIGHBOURS + 1):
        rows = rows[: np.searchsorted(rows, len(keys) - step)]  # the others have no neighbour so far on
        rows = rows[keys[rows] == keys[rows + step]]
        if not len(rows):
            return
        one, other = images[rows], images[rows + step]
        close = np.bitwise_count(hashes[one] ^ hashes[other]) <= DISTANCE
        yield np.stack([one[close], other[close]], axis=1)


def likeness(sketches: np.ndarray, lengths: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns the correlation of the two sketches, of these lengths, of each of `pairs`, float32 (pairs,)."""
    found = np.zeros(len(pairs), np.float32)
    for start in range(0, len(pairs), BLOCK):
        one, other = pairs[start : start + BLOCK].T
        products = np.einsum("pw,pw->p", sketches[one], sketches[other], dtype=np.float32)
        found[start : start + BLOCK] = products / (lengths[one] * lengths[other])
    return found
