import itertools

import flawed
import numpy as np
import PIL.Image

from vit_jax.data.check import duplicates
from vit_jax.data.check.look import sketch


def test_exact_copies_stand_beside_the_first():
    content = np.array([[1, 1], [2, 1], [1, 1], [1, 2], [2, 1], [1, 1]], np.uint64)
    assert duplicates.exact(content).tolist() == [[0, 2], [1, 4], [0, 5]]
    assert duplicates.exact(content[:0]).shape == duplicates.exact(content[:2]).shape == (0, 2)


def test_near_copies_are_found_and_strangers_are_not():
    """Two hundred pictures, and of every fourth all the copies that there are."""
    pictures = [flawed.picture(seed) for seed in range(200)]
    copies = [copy(image) for image in pictures[::4] for copy in flawed.COPIES.values()]
    pairs, alike = duplicates.near(np.stack([sketch(image) for image in pictures + copies]))
    originals = np.array([*range(200), *np.repeat(np.arange(0, 200, 4), len(flawed.COPIES))])
    assert (originals[pairs[:, 0]] == originals[pairs[:, 1]]).all()
    assert (pairs[:, 0] < pairs[:, 1]).all() and (alike >= duplicates.ALIKE).all()
    wanted = {(original, 200 + place) for place, original in enumerate(originals[200:])}
    assert len(wanted & set(map(tuple, pairs.tolist()))) >= 0.99 * len(wanted)


def test_every_pair_is_found_whose_hashes_differ_in_eight_bits():
    """Against all pairs compared one by one; and none is said to be alike that is not."""
    rng = np.random.default_rng(0)
    seeds = rng.integers(-127, 128, (300, 64)).astype(np.int8)
    moved = np.clip(seeds.astype(int) + rng.normal(0, 25, seeds.shape).round(), -127, 127).astype(np.int8)
    sketches = rng.permutation(np.concatenate([seeds, moved]))
    units = sketches / np.linalg.norm(sketches.astype(float), axis=1, keepdims=True)
    correlation = units @ units.T
    bits = sketches > 0
    must, may = set(), set()
    for one, other in itertools.combinations(range(len(sketches)), 2):
        differ = (bits[one] != bits[other]).sum()
        if correlation[one, other] >= 0.9:
            may.add((one, other))
            if differ <= 8:
                must.add((one, other))
    pairs, alike = duplicates.near(sketches, 0.9)
    found = set(map(tuple, pairs.tolist()))
    assert len(must) > 100 and must <= found <= may
    np.testing.assert_allclose(alike, correlation[tuple(pairs.T)], rtol=1e-5)


def test_what_shows_nothing_is_like_nothing():
    assert len(duplicates.near(np.zeros((50, 64), np.int8))[0]) == 0
    assert len(duplicates.near(np.zeros((0, 64), np.int8))[0]) == 0


def test_random_and_smooth_pictures_are_told_apart():
    rng = np.random.default_rng(0)
    noise = [PIL.Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(1_000)]
    smooth = [PIL.Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((64, 64), 3) for _ in noise]
    assert len(duplicates.near(np.stack([sketch(image) for image in noise + smooth]))[0]) <= 1
