"""Average precision: how well a class's own images come before all others, ranked by their scores."""

import numpy as np


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Returns the mean, over the `positive` images, of the share that is positive among those that score as high.

    `scores` floats (images,), `positive` bool (images,), one of them at least. Images of one score are ranked
    together, and nothing is interpolated, as in scikit-learn.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))
    0.8333...
    """
    of_positive = np.sort(scores[positive])
    # First how many images reach just so many of the positive scores, then how many are as high as each of these.
    reached = np.bincount(np.searchsorted(of_positive, scores, side="right"), minlength=len(of_positive) + 1)
    as_high = reached[:0:-1].cumsum()[::-1]
    positive_as_high = len(of_positive) - np.searchsorted(of_positive, of_positive, side="left")
    return float((positive_as_high / as_high).mean())


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
        rows, places = np.nonzero(labels >= 0)
        found = labels[rows, places]
        means = []
        for label in np.unique(found):
            positive = np.zeros(len(labels), bool)
            positive[rows[found == label]] = True
            scores = np.concatenate([batch[:, label] for batch in self._scores])
            means.append(average_precision(scores, positive))
        return float(np.mean(means))
