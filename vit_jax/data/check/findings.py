"""From what was found in the images of some splits to findings: what it is, how grave, how often, what to do."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vit_jax.data.check import duplicates
from vit_jax.data.check.look import STRETCHED, TINY, Flaw
from vit_jax.data.check.reading import Survey

ERROR, WARNING, NOTE = "error", "warning", "note"
FEW = 10  # images, below which a class has few
UNEVEN = 10  # times the smallest class, from which on classes are unevenly filled
TAKE_OUT = "mend them or take them out: a training shows others instead, an evaluation stops"
KEEP_ONE = "keep one of each pair: what is learned from must not be examined on"
LOOK = "look at the pairs; where they are different pictures that look alike, raise --alike"

# What a flaw is called, how grave it is, and what to do.
FLAWS: dict[Flaw, tuple[str, str, str]] = {
    Flaw.UNREADABLE: (ERROR, "that cannot be read", TAKE_OUT),
    Flaw.NOT_AN_IMAGE: (ERROR, "of no known format", TAKE_OUT),
    Flaw.DAMAGED: (ERROR, "truncated or damaged", TAKE_OUT),
    Flaw.TOO_LARGE: (ERROR, "too large to be honest (decompression bombs)", "make them smaller or take them out"),
    Flaw.HUGE: (WARNING, "huge: slow to decode", "make them smaller once, before training"),
    Flaw.ONE_PIXEL: (WARNING, "of a single pixel", "take them out; they stand for a failed download, mostly"),
    Flaw.TINY: (WARNING, f"under {TINY} pixels high or wide", "take them out; there is nothing to see"),
    Flaw.CONSTANT: (WARNING, "of a single colour", "take them out, unless the colour is what is to be learned"),
    Flaw.STRETCHED: (WARNING, f"over {STRETCHED} times as long as wide", "a square crop shows a small part; cut them"),
    Flaw.ANIMATED: (WARNING, "of several frames or pages", "the first is used; save the others as files of their own"),
    Flaw.CMYK: (NOTE, "in CMYK", "nothing: converted to RGB, without their colour profile"),
    Flaw.GREY: (NOTE, "grey", "nothing: the one channel is used three times"),
    Flaw.TRANSPARENT: (NOTE, "with transparency", "nothing: laid on white"),
    Flaw.DEEP: (NOTE, "of more than 8 bits a channel", "nothing: rounded to 8 bits"),
    Flaw.ROTATED: (NOTE, "turned by EXIF", "nothing: set upright"),
    Flaw.WRONG_SUFFIX: (NOTE, "of another format than the name says", "nothing: the content counts"),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
      kind: a word for machines.
      level: "error", what would stop or falsify a training; "warning", what is seldom meant; "note", good to know.
      says: what was found, for people, after its count.
      remedy: what to do, or what is done.
      count: how often.
      images: which: indices over all splits, (count, 1), or pairs (count, 2); none where classes are meant.
      alike: of pairs, how much the two are alike, (count,), at most 1.
      classes: which, where classes are meant.
    """

    kind: str
    level: str
    says: str
    remedy: str
    count: int
    images: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 1), int))
    alike: np.ndarray | None = None
    classes: Sequence[str] = ()


def findings(
    splits: Mapping[str, Survey],
    class_names: Sequence[str],
    image_size: Sequence[int] | None = None,
    alike: float = duplicates.ALIKE,
) -> list[Finding]:
    """Returns what was found, the gravest first.

    Args:
      splits: by name; the first is what is learned from, the others are examined on.
      class_names: of all of them.
      image_size: (height, width) that the model sees, where it is known.
      alike: from which correlation of their sketches on two images are near duplicates; see `duplicates`.
    """
    facts = np.concatenate([survey.facts for survey in splits.values()])
    found = [*_flawed(facts), *_small(facts, image_size), *_classes(splits, class_names), *_twice(splits, alike)]
    return sorted(found, key=lambda finding: (ERROR, WARNING, NOTE).index(finding.level))


def _flawed(facts: np.ndarray) -> Iterator[Finding]:
    for flaw, (level, says, remedy) in FLAWS.items():
        which = np.flatnonzero(facts["flaws"] & flaw)
        if len(which):
            yield _images(flaw.name or "", level, says, remedy, which)


def _images(kind: str, level: str, says: str, remedy: str, which: np.ndarray) -> Finding:
    said = f"image{'s' * (len(which) != 1)} {says}"
    return Finding(kind.lower(), level, said, remedy, len(which), which[:, None])


def _small(facts: np.ndarray, image_size: Sequence[int] | None) -> Iterator[Finding]:
    if image_size is None:
        return
    height, width = image_size
    sound = facts["height"] > 0
    which = np.flatnonzero(sound & ((facts["height"] < height) | (facts["width"] < width)))
    if len(which):
        says = f"smaller than the {height} x {width} pixels that the model sees"
        yield _images("enlarged", NOTE, says, "nothing: enlarged", which)


def _classes(splits: Mapping[str, Survey], class_names: Sequence[str]) -> Iterator[Finding]:
    for number, (split, survey) in enumerate(splits.items()):
        counts = survey.classes
        empty = [name for name, count in zip(class_names, counts, strict=True) if not count]
        if empty:
            level, remedy = (WARNING, "the evaluation says nothing of them") if number else (ERROR, "add images")
            says = f"class{'es' * (len(empty) != 1)} without an image in {split}"
            yield Finding("empty_class", level, says, remedy, len(empty), classes=empty)
    counts, split = next((survey.classes, split) for split, survey in splits.items())
    few = [name for name, count in zip(class_names, counts, strict=True) if 0 < count < FEW]
    if few:
        says = f"class{'es' * (len(few) != 1)} with fewer than {FEW} images in {split}"
        yield Finding("few", WARNING, says, "add images, or join classes", len(few), classes=few)
    filled = counts[counts > 0]
    if len(filled) and filled.max() >= UNEVEN * filled.min():
        ends = [class_names[int(i)] for i in (counts.argmax(), np.where(counts, counts, counts.max()).argmin())]
        says = f"times as many images in the largest class of {split} as in the smallest"
        remedy = "balance them, or mind that accuracy speaks for the large ones"
        yield Finding("imbalance", WARNING, says, remedy, int(filled.max() // filled.min()), classes=ends)


def _twice(splits: Mapping[str, Survey], alike: float) -> Iterator[Finding]:
    """Yields what there is twice: within a split, in two splits, under two labels; first exactly, then nearly."""
    names = list(splits)
    split = np.repeat(np.arange(len(names)), [len(survey.facts) for survey in splits.values()])
    facts = np.concatenate([survey.facts for survey in splits.values()])
    sound = np.flatnonzero(np.concatenate([survey.sound for survey in splits.values()]))

    same = sound[duplicates.exact(facts["content"][sound])]
    unlike = facts["label"][same[:, 0]] != facts["label"][same[:, 1]]
    if unlike.any():
        remedy = "decide which label is right"
        yield _pairs("conflict", ERROR, "copies under two labels", remedy, same[unlike])
    for one, other, which in _by_splits(names, split, same):
        if one == other:
            yield _pairs("copies", WARNING, f"copies within {one}", "keep one of each", same[which])
        else:
            yield _pairs("leakage", ERROR, f"copies in {one} and {other}", KEEP_ONE, same[which])

    if alike > 1:
        return
    first = np.setdiff1d(sound, same[:, 1])  # of those that are equal
    first = first[facts["flaws"][first] & Flaw.CONSTANT == 0]
    pairs, likeness = duplicates.near(facts["sketch"][first], alike)
    order = np.argsort(-likeness, kind="stable")
    pairs, likeness = first[pairs[order]], likeness[order]
    unlike = facts["label"][pairs[:, 0]] != facts["label"][pairs[:, 1]]
    if unlike.any():
        says = "near copies under two labels"
        yield _pairs("near_conflict", WARNING, says, LOOK, pairs[unlike], likeness[unlike])
    for one, other, which in _by_splits(names, split, pairs):
        if one == other:
            says = f"near copies within {one}"
            yield _pairs("near_copies", WARNING, says, LOOK, pairs[which], likeness[which])
        else:
            images = len(np.unique(pairs[which, 1]))
            says = f"near copies in {one} and {other}: {images:,} images of {other}"
            yield _pairs("near_leakage", ERROR, says, f"{KEEP_ONE}. Or {LOOK}", pairs[which], likeness[which])


def _pairs(
    kind: str, level: str, says: str, remedy: str, pairs: np.ndarray, likeness: np.ndarray | None = None
) -> Finding:
    alike = np.ones(len(pairs)) if likeness is None else likeness
    said = f"pair{'s' * (len(pairs) != 1)} of {says}"
    return Finding(kind, level, said, remedy, len(pairs), pairs, alike)


def _by_splits(names: list[str], split: np.ndarray, pairs: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields, for every two splits that share some of the pairs, their names and which pairs, bool (pairs,)."""
    one, other = split[pairs].T if len(pairs) else np.zeros((2, 0), int)
    for first, name in enumerate(names):
        for second in range(first, len(names)):
            which = (one == first) & (other == second)
            if which.any():
                yield name, names[second], which
