"""How strongly to augment: the seven settings of AugReg (arXiv 2106.10270), by the names of its published configs."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Strength(NamedTuple):
    """What a config takes from here: `config.train["augment"]`, and the strength of mixup, 0 for none."""

    augment: Mapping[str, Any]
    mixup: float


STRENGTHS = {
    "none": Strength({}, 0.0),
    "light1": Strength({"randaugment": {"layers": 2, "magnitude": 0}}, 0.0),  # not nothing: see RandAugment
    "light2": Strength({"randaugment": {"layers": 2, "magnitude": 10}}, 0.2),
    "medium1": Strength({"randaugment": {"layers": 2, "magnitude": 15}}, 0.2),
    "medium2": Strength({"randaugment": {"layers": 2, "magnitude": 15}}, 0.5),
    "strong1": Strength({"randaugment": {"layers": 2, "magnitude": 20}}, 0.5),
    "strong2": Strength({"randaugment": {"layers": 2, "magnitude": 20}}, 0.8),
}
