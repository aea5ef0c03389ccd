"""What a run starts from: chance, published weights, or what another run learned."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from vit_jax import models, objectives
from vit_jax.errors import UserError
from vit_jax.objectives import Objective
from vit_jax.shapes import Parameters
from vit_jax.train import checkpoints
from vit_jax.train.steps import initial_parameters
from vit_jax.weights import adapt, files, formats, names
from vit_jax.weights.recipe import Recipe

# What a model computes with, besides its arrays; weights are only good with what they were trained with.
NUMERICS = ("activation", "norm_epsilon", "rotary", "standardization", "stem_norm_epsilon")


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model ready for use: the network, its parameters, and what they mean."""

    model: nn.Module
    parameters: Parameters
    recipe: Recipe
    source: str


def trained(path: str) -> Trained:
    """Returns what stands at `path`: a run's workdir (its best checkpoint), a checkpoint's folder, or a file or folder
    of published weights, in one of weights.formats; or what a name such as "augreg:B/16" stands for (weights.names).

    Raises:
      UserError: there is nothing good at `path`.
    """
    place = names.local(path)
    if files.is_weights(place):
        loaded = formats.load(files.read(place))
        recipe = loaded.recipe if place == path else dataclasses.replace(loaded.recipe, source=path)
        return Trained(models.build(**recipe.model), loaded.parameters, recipe, path)
    checkpoint = checkpoints.find(str(path))
    recipe = checkpoint.recipe
    model = models.build(**recipe.model)
    parameters = objectives.of_the_model(checkpoints.restore_parameters(checkpoint))
    return Trained(model, parameters, recipe, str(checkpoint.path))


def refuse_nameless(trained: Trained) -> None:
    """Raises UserError if the model has no head, or one of zeros as in Google's ImageNet-21k files."""
    if not trained.recipe.model["classes"]:
        raise UserError(f"{trained.source} has no head and names no class; fine-tune it first")
    if formats.has_zeroed_head(trained.parameters):
        raise UserError(f"{trained.source} has a head of zeros, which names nothing; fine-tune it first")


def parameters(
    objective: Objective, recipe: Recipe, seed: int, path: str = "", new_head: bool = False
) -> tuple[Recipe, Parameters]:
    """Returns what a run starts from: its recipe, with what it inherits, and its parameters.

    Args:
      objective: with the model that is to be trained.
      recipe: of the run.
      seed: draws what `path` does not give: everything, or a head for other classes (zeros: paper, section 3.2).
      path: where to start from, as `trained` takes it; "" to start from chance.
      new_head: draw the head anew even where the number of classes is the same. Weights that learned no classes, as by
        predicting patches, get one anyhow.

    Raises:
      UserError: nothing good at `path`, another model, or one that computes or sees images differently.
    """
    fresh = initial_parameters(objective, seed, recipe.image_size)
    if not path:
        return recipe, fresh
    upstream = trained(path)
    refuse_differences(upstream, Trained(objective.model, fresh, recipe, ""))
    mine = objectives.of_the_model(fresh)
    new_head |= not upstream.recipe.model["classes"]
    theirs = upstream.recipe
    try:
        fitted = adapt.fit(upstream.parameters, mine, theirs.position_resize, new_head, theirs.patch_resize)
    except UserError as error:
        model = overrides({"model": section(upstream, recipe)})
        raise UserError(f"{error} For the model of the weights, set {model}") from None
    inherited = dataclasses.replace(
        recipe,
        position_resize=theirs.position_resize,
        source=f"from {theirs.source or path}",
        license=theirs.license,
    )
    return inherited, fitted if mine is fresh else fresh | {"model": fitted}


def refuse_differences(upstream: Trained, here: Trained) -> None:
    """Raises UserError if the model `here` computes or sees images otherwise than the one that was trained upstream."""
    one, other = upstream.model, here.model
    alike = type(one) is type(other)  # else the arrays do not fit, and adapt.fit says so
    shared = set(models.options_of(one.size)) & set(models.options_of(other.size)) if alike else set()
    pairs: Mapping[str, tuple[Any, Any]] = {
        **{
            f"model.{name}": (models.option(one, name), models.option(other, name))
            for name in NUMERICS
            if name in shared
        },
        "value_range.mean": (upstream.recipe.mean, here.recipe.mean),
        "value_range.std": (upstream.recipe.std, here.recipe.std),
    }
    unlike = {name: values for name, values in pairs.items() if not _same(*values)}
    if unlike:
        listed = "; with ".join(f"{name} {theirs}, the config has {ours}" for name, (theirs, ours) in unlike.items())
        fields = {name: theirs for name, (theirs, _) in unlike.items()}
        if any(name.startswith("model.") and name[len("model.") :] not in here.recipe.model for name in fields):
            fields = {name: theirs for name, theirs in fields.items() if not name.startswith("model.")}
            fields["model"] = section(upstream, here.recipe)
        raise UserError(f"{upstream.source} was trained with {listed}; set {overrides(fields)}")


def section(upstream: Trained, here: Recipe) -> dict[str, Any]:
    """Returns the `model` section of a config that makes the model of `upstream`, and trains it as `here` does."""
    of_training = set(models.options_of(upstream.model.size)) - {"size", *models.CHOICES}
    whole = upstream.recipe.model | {name: value for name, value in here.model.items() if name in of_training}
    return {name: value for name, value in whole.items() if name not in ("classes", "pre_logits")}


def overrides(fields: Mapping[str, Any]) -> str:
    """Returns the words that give fields of the config these values on a command line.

    >>> print(overrides({"model.activation": "silu", "value_range.std": (0.5, 0.5, 0.5), "source": {"kind": "digits"}}))
    --config.model.activation=silu '--config.value_range.std=(0.5, 0.5, 0.5)' '--config.source={"kind": "digits"}'
    """
    written = {name: str(value).replace("'", '"') for name, value in fields.items()}  # the shell's quotes go round them
    return shlex.join(f"--config.{name}={text}" for name, text in written.items())


def _same(one: Any, other: Any) -> bool:
    return one == other if isinstance(one, str) else bool(np.allclose(one, other, rtol=1e-6, atol=0))
