"""Which images are there twice: exactly, by a hash of their pixels; nearly, by their sketches."""

import itertools

import numpy as np

ALIKE = 0.93  # the correlation of two sketches from which on two images are taken for copies
DISTANCE = 12  # bits in which their hashes may differ
# Two hashes that differ in at most 8 bits are equal in at least 3 of 11 parts, however the bits are dealt out.
# Whatever is equal in 3 parts is looked at: every pair up to 8 bits apart is found, and most up to 12.
PARTS, EQUAL = 11, 3
NEIGHBOURS = 256  # that an image is compared with in each of the 165 sortings: where thousands look alike, it is late


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
    lengths = np.sqrt((sketches.astype(np.float32) ** 2).sum(axis=1))
    known = np.flatnonzero(lengths)
    found = np.zeros(0, np.int64)
    parts = [sum(1 << bit for bit in range(part, 64, PARTS)) for part in range(PARTS)]
    for chosen in itertools.combinations(parts, EQUAL):
        keys = hashes[known] & np.uint64(sum(chosen))
        order = np.argsort(keys, kind="stable")
        pairs = _close(keys[order], known[order], hashes)
        pairs = pairs[likeness(sketches, lengths, pairs) >= alike]
        found = np.union1d(found, pairs.min(axis=1) * len(hashes) + pairs.max(axis=1))
    pairs = np.stack(np.divmod(found, max(len(hashes), 1)), axis=1)
    return pairs, likeness(sketches, lengths, pairs)


def _close(keys: np.ndarray, images: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Returns the pairs (pairs, 2) of `images`, which are sorted by their `keys`, of equal keys and close hashes."""
    found = [np.zeros((0, 2), np.int64)]
    rows = np.arange(len(keys))
    for step in range(1, NEIGHBOURS + 1):
        rows = rows[: np.searchsorted(rows, len(keys) - step)]  # the others have no neighbour so far on
        rows = rows[keys[rows] == keys[rows + step]]
        if not len(rows):
            break
        one, other = images[rows], images[rows + step]
        close = np.bitwise_count(hashes[one] ^ hashes[other]) <= DISTANCE
        found.append(np.stack([one[close], other[close]], axis=1))
    return np.concatenate(found)


def likeness(sketches: np.ndarray, lengths: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns the correlation of the two sketches of each of `pairs` (pairs, 2), float32 (pairs,)."""
    one, other = pairs.T
    products = np.einsum("pw,pw->p", sketches[one].astype(np.float32), sketches[other].astype(np.float32))
    return products / (lengths[one] * lengths[other])
