"""How well an objective does on images that it does not learn from: every image counted once, on any devices."""

import dataclasses
from collections.abc import Iterable, Mapping

import jax
from jax.sharding import Mesh

from vit_jax import parallel
from vit_jax.evaluate.classify import Batch, one_behind
from vit_jax.objectives import Objective
from vit_jax.shapes import Parameters


@dataclasses.dataclass(frozen=True)
class HeldOutResult:
    """What an evaluation found: `means`, over the images seen, of the `loss` and what else the objective logs."""

    means: Mapping[str, float]
    seen: int

    @property
    def score(self) -> float:
        """The loss with its sign turned, so that higher is better."""
        return -self.means["loss"]

    def as_dict(self) -> dict[str, float]:
        """Returns all of it by name."""
        return {**self.means, "seen": self.seen}

    def __str__(self) -> str:
        means = ", ".join(f"{name} {mean:.4f}" for name, mean in self.means.items())
        return f"held-out {means}, {self.seen:,} images"


class HeldOut:
    """An objective that looks at images without learning; what it draws is the same at every evaluation."""

    def __init__(self, objective: Objective, mesh: Mesh):
        self.mesh = mesh

        def sums(parameters: Parameters, batch: dict[str, jax.Array], objective: Objective) -> dict[str, jax.Array]:
            # The first image's place in the data tells one batch from the next.
            key = jax.random.fold_in(jax.random.key(0), batch["index"][0])
            losses = objective.losses(parameters, objective.prepare(batch, key), None)
            return {name: (each * batch["mask"]).sum() for name, each in losses.items()} | {"seen": batch["mask"].sum()}

        jitted = jax.jit(sums)
        self._sums = lambda parameters, batch: jitted(parameters, batch, objective)

    def evaluate(self, parameters: Parameters, batches: Iterable[Batch]) -> HeldOutResult:
        """Returns the result over `batches` of uint8 `image`, `label`, `index` and `mask` (0 for padding).

        `parameters` are all that the objective learned.
        """
        totals: dict[str, float] = {}
        for sums in one_behind(self._sums(parameters, parallel.place_batch(self.mesh, batch)) for batch in batches):
            totals = {name: totals.get(name, 0.0) + float(each) for name, each in sums.items()}
        seen = totals.pop("seen")
        return HeldOutResult({name: total / seen for name, total in totals.items()}, round(seen))
