"""One training step: pure, jitted once, its state donated."""

from collections.abc import Callable
from functools import partial

import einops
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vit_jax import parallel
from vit_jax.objectives import Objective
from vit_jax.shapes import Parameters, PyTree
from vit_jax.train import pattern_rates
from vit_jax.train.averages import Average
from vit_jax.train.pattern_rates import Rates
from vit_jax.train.sharpness import Sharpness

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
NO_AVERAGE = Average()


@flax.struct.dataclass
class State:
    """What a step reads and writes, and a checkpoint holds."""

    step: PyTree  # int32, the number of steps taken
    parameters: PyTree
    optimizer_state: PyTree
    average: PyTree = None  # of the parameters over the steps, where the run keeps one

    @property
    def evaluated(self) -> Parameters:
        """The parameters to evaluate, and to use afterwards: their average where there is one."""
        return self.parameters if self.average is None else self.average


def initial_parameters(objective: Objective, seed: int, image_size: tuple[int, int]) -> Parameters:
    """Returns what is to be learned, drawn from `seed`, for RGB images of (height, width)."""
    key = jax.random.fold_in(jax.random.key(seed), 0)
    return jax.jit(lambda key: objective.initial(key, image_size))(key)


def initial_state(
    mesh: Mesh, optimizer: optax.GradientTransformation, parameters: Parameters, average: Average = NO_AVERAGE
) -> State:
    """Returns the state before the first step, laid out on the mesh."""
    start = partial(_start, optimizer, average)
    layout = parallel.shardings(mesh, jax.eval_shape(start, parameters))
    return jax.jit(start, out_shardings=layout)(parameters)


def layout_of(
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    image_size: tuple[int, int],
    average: Average = NO_AVERAGE,
) -> State:
    """Returns the shapes and shardings of a state, with no array behind them."""
    shapes = jax.eval_shape(lambda: _start(optimizer, average, initial_parameters(objective, 0, image_size)))
    layout = parallel.shardings(mesh, shapes)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes, layout
    )


def _start(optimizer: optax.GradientTransformation, average: Average, parameters: Parameters) -> State:
    return State(jnp.zeros((), jnp.int32), parameters, optimizer.init(parameters), average.start(parameters))


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    rate: optax.Schedule,
    seed: int,
    accumulate: int = 1,
    rates: Rates = (),
    average: Average = NO_AVERAGE,
    sharpness: Sharpness | None = None,
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """Returns the jitted step (state, batch) -> (next state, metrics); the state that is passed in is consumed.

    The step's randomness is a function of (seed, step) alone.

    Args:
      objective: whose loss is to fall.
      optimizer: turns gradients into updates.
      rate: its learning rate by step, which is logged.
      seed: of augmentation and dropout.
      accumulate: parts that the batch is run in, one after the other, their gradients averaged: the same step in less
        memory.
      rates: the optimiser's, by pattern; no gradient is computed for what they freeze.
      average: of the parameters, as the state that comes in was begun with.
      sharpness: how to avoid sharp minima, at the cost of a second gradient; metrics are those without it.
    """

    def train_step(state: State, batch: Batch, objective: Objective) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step + 1)  # 0 drew the initial parameters
        prepare_key, model_key = jax.random.split(key)
        prepared = objective.prepare(batch, prepare_key)

        def gradients_at(parameters: Parameters) -> tuple[Parameters, Metrics]:
            return gradients_of(objective, parameters, prepared, model_key)

        gradients, metrics = gradients_at(state.parameters)
        descent = gradients
        if sharpness:
            descent = sharpness.gradients(lambda there: gradients_at(there)[0], state.parameters, gradients, state.step)
        updates, optimizer_state = optimizer.update(descent, state.optimizer_state, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        metrics |= {
            "gradient_norm": optax.tree.norm(gradients),
            "parameter_norm": optax.tree.norm(parameters),
            "learning_rate": jnp.float32(rate(state.step)),
        }
        averaged = average.update(state.average, parameters, state.step)
        return State(state.step + 1, parameters, optimizer_state, averaged), metrics

    def gradients_of(
        objective: Objective, parameters: Parameters, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, Metrics]:
        def loss(parameters: Parameters, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
            return mean_loss(objective, pattern_rates.frozen(rates, parameters), batch, key)

        one_part = jax.grad(loss, has_aux=True)
        if accumulate == 1:
            return one_part(parameters, batch, key)
        # Each device's rows are dealt out to the parts, so no row moves to another device.
        deal = partial(einops.rearrange, pattern="(rows part) ... -> part rows ...", part=accumulate)
        parts = {name: deal(array) for name, array in batch.items()}
        keys = jax.random.split(key, accumulate)
        shapes = jax.eval_shape(one_part, parameters, jax.tree.map(lambda array: array[0], parts), key)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def add(total, part_and_key):
            return jax.tree.map(jnp.add, total, one_part(parameters, *part_and_key)), None

        total, _ = jax.lax.scan(add, zeros, (parts, keys))
        return jax.tree.map(lambda leaf: leaf / accumulate, total)

    jitted = jax.jit(train_step, donate_argnums=0)
    return lambda state, batch: jitted(state, batch, objective)


def mean_loss(objective: Objective, parameters: Parameters, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
    """Returns the mean loss of a prepared batch, and the means of all that is logged, the loss among them."""
    means = {name: each.mean() for name, each in objective.losses(parameters, batch, key).items()}
    return means["loss"], means
