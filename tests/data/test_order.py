import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from vit_jax.data import order, sources
from vit_jax.data.examples import Arrays
from vit_jax.data.order import Groups, Order, Sampling, permuted, shared
from vit_jax.data.sources.mixture import Mixture
from vit_jax.errors import UserError


def plain(size, seed=0, batch_size=1):
    return Order(Groups(np.array([size]), np.array([1])), seed, batch_size)


def labelled(*counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return Arrays(np.zeros((len(labels), 2, 2), np.uint8), labels, [str(label) for label in range(len(counts))])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 99, 1000, 65_537])
def test_an_epoch_has_every_example_once_and_the_next_another_order(size):
    epochs = plain(size)(np.arange(3 * size)).reshape(3, size)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(size))
    if size > 10:
        assert len({epoch.tobytes() for epoch in epochs}) == 3


def test_every_order_of_few_examples_is_as_likely():
    keys = np.random.default_rng(0).integers(0, 2**63, 60_000).astype(np.uint64)
    for size, orders, most in ((3, 6, 26), (4, 24, 60), (5, 120, 185)):  # chi squared, 99.99%
        drawn = np.stack([permuted(np.full(len(keys), p), np.full(len(keys), size), keys) for p in range(size)], 1)
        counts = np.array(list(Counter(map(tuple, drawn.tolist())).values()))
        expected = len(keys) / orders
        assert len(counts) == orders
        assert ((counts - expected) ** 2 / expected).sum() < most


@pytest.mark.parametrize("size", [1000, 300_000_000])
def test_neighbours_in_the_source_are_none_in_the_stream(size):
    places = np.arange(min(size, 200_000))
    indices = plain(size, seed=5)(places)
    assert abs(np.corrcoef(places, indices)[0, 1]) < 4 / np.sqrt(len(places))
    assert abs(np.corrcoef(indices[1:], indices[:-1])[0, 1]) < 4 / np.sqrt(len(places))
    steps = np.abs(np.diff(indices))
    assert (steps == 1).mean() < 2 / size + 5 * np.sqrt(2 / size / len(places))
    parts = np.bincount(indices * 10 // size, minlength=10)  # as drawn without replacement, at most
    assert ((parts - len(places) / 10) ** 2 / (len(places) / 10)).sum() < 34


def test_seeds_and_epochs_have_orders_of_their_own():
    firsts = {plain(1000, seed)(np.arange(1000)).tobytes() for seed in range(5)}
    assert len(firsts) == 5
    assert plain(1000, seed=1)(np.arange(1000)).tobytes() != plain(1000, seed=0)(np.arange(1000, 2000)).tobytes()


WORD = 2**64


def splitmix(word):
    word = (word + 0x9E3779B97F4A7C15) % WORD
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB % WORD
    return word ^ word >> 31


def by_hand(seed, size, place):
    """One example of an order, in whole numbers of any size: what the stream is for good, whatever NumPy becomes."""
    epoch, place = divmod(place, size)
    key = seed
    for word in (1, 0, epoch):
        key = splitmix((splitmix(key) + word) % WORD)
    columns = math.isqrt(size - 1) + 1
    rows = -(-size // columns)
    place = (place + splitmix(key + 12)) % size
    while True:
        row, column = divmod(place, columns)
        for number in range(0, 12, 2):
            row = (row + splitmix((column + key + number) % WORD)) % rows
            column = (column + splitmix((row + key + number + 1) % WORD)) % columns
        place = row * columns + column
        if place < size:
            return (place + splitmix((key + 13) % WORD)) % size


@pytest.mark.parametrize("size", [1, 2, 5, 1000, 1_281_167, 14_197_122, 300_000_000])
def test_the_order_is_this_one_for_good(size):
    places = np.concatenate([np.arange(20), np.random.default_rng(0).integers(0, 10**13, 50)])
    for seed in (0, 3):
        expected = [by_hand(seed, size, place) for place in places.tolist()]
        assert plain(size, seed)(places).tolist() == expected


def test_a_place_is_found_without_the_places_before_it():
    ahead = plain(300_000_000)
    tracemalloc.start()
    found = ahead(np.arange(10**15, 10**15 + 4096))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
    assert len(set(found.tolist())) > 4000
    np.testing.assert_array_equal(found[1000:1010], ahead(np.arange(10**15 + 1000, 10**15 + 1010)))


def test_a_mixture_has_its_weights_in_every_stretch_and_each_part_its_own_epochs():
    mixture = Mixture([labelled(10), labelled(700)], [3.0, 1.0])
    ordered = order.build(mixture, Sampling(), 8, seed=0)
    block = int(ordered.groups.shares.sum())
    indices = ordered(np.arange(block))
    small = indices[indices < 10]
    assert len(small) / block == pytest.approx(0.75, abs=1e-4)
    assert np.ptp(np.bincount(small, minlength=10)) <= 1, "ten examples share its turns evenly"
    assert np.ptp(np.bincount(indices[indices >= 10] - 10, minlength=700)) <= 1
    early = (indices[:1000] < 10).mean()
    assert early == pytest.approx(0.75, abs=0.06), "shuffled, not one part after the other"
    again = ordered(np.arange(block, 2 * block))
    assert not np.array_equal(again, indices)
    assert (again < 10).sum() == len(small)


@pytest.mark.parametrize(("balance", "expected"), [(0.0, [0.9, 0.1]), (1.0, [0.5, 0.5]), (0.5, [0.75, 0.25])])
def test_balance_evens_out_the_classes(balance, expected):
    source = labelled(90, 10)
    ordered = order.build(source, Sampling(balance=balance), 10, seed=0)
    indices = ordered(np.arange(int(ordered.groups.shares.sum()) * (100 if balance == 0 else 1)))
    shares = np.bincount(source.labels[indices], minlength=2) / len(indices)
    np.testing.assert_allclose(shares, expected, atol=1e-4)
    assert set(indices.tolist()) == set(range(100))
    assert np.ptp(np.bincount(indices[indices < 90], minlength=90)) <= 1


def test_balance_leaves_out_no_small_class_and_invents_none():
    source = labelled(5000, 0, 1)
    indices = order.build(source, Sampling(balance=0.1), 10, seed=0)(np.arange(1 << 16))
    counts = np.bincount(source.labels[indices], minlength=3)
    assert counts[1] == 0
    assert counts[2] > 0


def test_copies_stand_apart_in_their_batch():
    ordered = order.build(labelled(50), Sampling(repeats=3), batch_size=12, seed=0)
    indices = ordered(np.arange(10 * 12)).reshape(10, 3, 4)
    assert (indices == indices[:, :1]).all()
    distinct = indices[:, 0].reshape(-1)
    np.testing.assert_array_equal(distinct, plain(50)(np.arange(40)))


def test_shares_are_as_the_weights_and_none_is_nothing():
    assert shared([1.0] * 4).tolist() == [1 << 14] * 4
    tiny = shared([1e-9, 1.0, 1e-9])
    assert tiny.sum() == 1 << 16
    assert tiny.min() == 1
    many = shared(np.ones(100_000))
    assert many.sum() == 400_000
    assert set(many.tolist()) == {4}


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"repeats": 0}, "repeats is 0; give at least 1"),
        ({"repeats": 3}, "batch_size 8 does not divide into 3 repeats"),
        ({"balance": 1.5}, "balance is 1.5; give a share"),
        ({"unreadable_share": -1.0}, "unreadable_share is -1.0; give a share"),
    ],
)
def test_a_sampling_that_makes_no_sense(sampling, message):
    with pytest.raises(UserError, match=message):
        order.build(labelled(5), Sampling(**sampling), 8, seed=0)


def test_what_does_not_go_together():
    with pytest.raises(UserError, match="a mixture has its weights already"):
        order.build(Mixture([labelled(5), labelled(6)], [1.0, 1.0]), Sampling(balance=1.0), 8, seed=0)
    several = labelled(3, 4)
    several.most_labels = 2
    with pytest.raises(UserError, match="several labels"):
        order.build(several, Sampling(balance=1.0), 8, seed=0)


DIGITS = {"kind": "digits", "labels": 100, "weight": 0.9}
FRACTALS = {"kind": "fractals", "classes": 3, "per_class": 40, "image_size": (8, 8), "seed": 0, "weight": 0.1}


def test_a_mixture_counts_its_classes_by_name():
    mixture = sources.build("mixture", "train", parts={"second": FRACTALS, "first": DIGITS})
    assert isinstance(mixture, Mixture)
    assert len(mixture.class_names) == 13
    assert mixture.class_names[:10] == tuple("0123456789")
    last = mixture[len(mixture) - 1]
    assert mixture.class_names[last.label] == "fractal 0002"
    same = sources.build("mixture", "train", parts={"a": DIGITS, "b": DIGITS})
    assert same.class_names == tuple("0123456789")
    assert len(same) == 200


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"a": DIGITS}, "at least two parts; got a"),
        ({"a": DIGITS, "b": {"kind": "digits"}}, "the weight of b is None"),
        ({"a": DIGITS, "b": DIGITS | {"weight": 0}}, "the weight of b is 0"),
        ({"a": DIGITS, "b": DIGITS | {"weight": float("inf")}}, "the weight of b is inf"),
        ({"a": DIGITS, "b": {"weight": 1}}, "part b of the mixture has no kind"),
        ({"a": DIGITS, "b": {"kind": "mixture", "parts": {}, "weight": 1}}, "part b is a mixture itself"),
        ({"a": DIGITS, "b": DIGITS | {"labls": 1}}, 'reads no "labls". Did you mean "labels"'),
        ({"a": DIGITS, "b": 7}, "parts.b is a section; got 7"),
    ],
)
def test_a_mixture_that_cannot_be(parts, message):
    with pytest.raises(UserError, match=message):
        sources.build("mixture", "train", parts=parts)
