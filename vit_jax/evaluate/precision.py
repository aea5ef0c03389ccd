"""Average precision: how well a class's own images come before all others, ranked by their scores."""

import numpy as np


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Returns the mean, over the `positive` images, of the share that is positive among those that score as high.

    `scores` floats (images,), `positive` bool (images,), one of them at least. Images of one score are ranked
    together, and nothing is interpolated, as in scikit-learn.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))
    0.8333...
    """
    order = np.argsort(-scores, kind="stable")
    last_of_score = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    found = np.cumsum(positive[order])[last_of_score]
    return float((np.diff(found, prepend=0) * found / (last_of_score + 1)).sum() / found[-1])


class Ranking:
    """Keeps the scores of all images, to rank them at the end: 4 bytes for each image and class."""

    def __init__(self):
        self._scores: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def add(self, scores: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> None:
        """Takes a batch: float32 (batch, classes), integers (batch, most) filled up with -1, and 0 where none is."""
        self._scores.append(scores[mask > 0])
        self._labels.append(labels[mask > 0])

    def mean_average_precision(self) -> float:
        """Returns the mean over the classes that an image has; those that none has are left out."""
        labels = np.concatenate(self._labels)
        means = [
            average_precision(
                np.concatenate([scores[:, label] for scores in self._scores]), (labels == label).any(axis=1)
            )
            for label in np.unique(labels[labels >= 0])
        ]
        return float(np.mean(means))
