"""Masked patch prediction: what was on the patches whose embeddings were spoilt (paper, appendix B.1.2)."""

import dataclasses
from typing import ClassVar, Protocol

import einops
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int, Num

from vit_jax.data import augment
from vit_jax.errors import UserError, pick
from vit_jax.models.vit import Vit
from vit_jax.objectives import patches
from vit_jax.objectives.classify import static
from vit_jax.objectives.patches import MaskEmbedding, Predictions
from vit_jax.shapes import Images, Losses, Parameters, Patches, PatchFlags, PatchIndices, Pixels, TakenIndices, Tokens

Answers = Num[jax.Array, "batch taken answers"]
EveryAnswer = Num[jax.Array, "batch patches answers"]
ColorClasses = Int[jax.Array, "batch rows columns"]
ByPatch = Float[jax.Array, "batch taken"]


class Target(Protocol):
    """What is to be predicted of a patch of (height, width) pixels."""

    def outputs(self, patch: tuple[int, int]) -> int:
        """Returns how many numbers a prediction takes."""
        ...

    def answers(self, pixels: Pixels, patch: tuple[int, int]) -> EveryAnswer:
        """Returns what is right, for every patch."""
        ...

    def losses(self, predictions: Predictions, answers: Answers) -> dict[str, ByPatch]:
        """Returns the `loss` by patch, and what else is logged."""
        ...


@dataclasses.dataclass(frozen=True)
class Colors:
    """The mean colour of each of `cells` x `cells` parts of a patch, 3 bits a channel: one of 512 classes.

    In parallel where there are several; the loss is the mean of their cross-entropies.
    """

    cells: int

    def outputs(self, patch: tuple[int, int]) -> int:
        """Returns 512 logits for each cell; raises UserError if the cells do not tile the patch."""
        if patch[0] % self.cells or patch[1] % self.cells:
            raise UserError(f"a patch of {patch[0]}x{patch[1]} does not divide into {self.cells}x{self.cells} cells")
        return 512 * self.cells**2

    def answers(self, pixels: Pixels, patch: tuple[int, int]) -> EveryAnswer:
        """Returns the classes of a patch's cells, row by row."""
        cell = patch[0] // self.cells, patch[1] // self.cells
        classes = color_classes(pixels, cell)
        return patches.cut(classes[..., None], (self.cells, self.cells))[..., 0]

    def losses(self, predictions: Predictions, answers: Answers) -> dict[str, ByPatch]:
        """Returns as `accuracy` the share of cells whose likeliest class is right."""
        logits = einops.rearrange(predictions, "batch taken (cells classes) -> batch taken cells classes", classes=512)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, answers)
        correct = logits.argmax(axis=-1) == answers
        return {"loss": losses.mean(axis=-1), "accuracy": correct.mean(axis=-1, dtype=jnp.float32)}


@dataclasses.dataclass(frozen=True)
class AllPixels:
    """Every pixel of a patch, scaled to [-1, 1]; the loss is the mean of the squared differences (L2)."""

    def outputs(self, patch: tuple[int, int]) -> int:
        """Returns 3 numbers a pixel."""
        return 3 * patch[0] * patch[1]

    def answers(self, pixels: Pixels, patch: tuple[int, int]) -> EveryAnswer:
        """Returns a patch's pixels row by row, red, green and blue of each."""
        cut = patches.cut(pixels.astype(jnp.float32) / 127.5 - 1.0, patch)
        return einops.rearrange(cut, "batch patches pixels channels -> batch patches (pixels channels)")

    def losses(self, predictions: Predictions, answers: Answers) -> dict[str, ByPatch]:
        """Returns the `loss` alone."""
        return {"loss": jnp.square(predictions - answers).mean(axis=-1)}


# The paper's three, in its order; it reports the first, and found the last slightly worse.
TARGETS: dict[str, Target] = {"mean_color": Colors(1), "downsized": Colors(4), "pixels": AllPixels()}


def color_classes(pixels: Pixels, cell: tuple[int, int]) -> ColorClasses:
    """Returns, for each cell of (height, width) pixels, its mean colour as red x 64 + green x 8 + blue, each 0 to 7."""
    height, width = cell
    totals = einops.reduce(
        pixels.astype(jnp.int32),
        "batch (rows height) (columns width) channels -> batch rows columns channels",
        "sum",
        height=height,
        width=width,
    )
    levels = totals // (32 * height * width)  # exact, which a mean in floats is not
    return jnp.einsum("brcl,l->brc", levels, jnp.array([64, 8, 1]))


class Predictor(nn.Module):
    """The model, its patch embeddings spoilt before positions are added, and a dense layer that reads each token.

    Parameters of its own: `mask` (width,), and `prediction`.
    """

    model: Vit
    outputs: int

    @nn.compact
    def __call__(
        self,
        images: Images,
        taken: TakenIndices,
        source: PatchIndices,
        masked: PatchFlags,
        train: bool,
    ) -> Predictions:
        """Returns what is predicted, in float32, of the patches that are `taken`; `spoilt` says the rest."""
        mask = self.param("mask", nn.initializers.normal(0.02), (self.model.size.width,))
        embedded = self.model.embed(images)
        tokens = self.model.in_line(spoilt(embedded, mask, source, masked))
        tokens = self.model.encode(tokens, self.model.angles(embedded), train)
        of_patches = tokens[:, -source.shape[1] :]
        read = patches.take(of_patches, taken).astype(jnp.float32)
        return nn.Dense(self.outputs, name="prediction")(read)


def spoilt(embedded: Patches, mask: MaskEmbedding, source: PatchIndices, masked: PatchFlags) -> Patches:
    """Returns `mask` where a patch is `masked`, else the embedding of the patch of that image that `source` says."""
    flat: Tokens = einops.rearrange(embedded, "batch rows columns width -> batch (rows columns) width")
    mask = mask.astype(flat.dtype)
    flat = jnp.where(masked[..., None], mask[None, None], patches.take(flat, source))
    return flat.reshape(embedded.shape)


@flax.struct.dataclass
class MaskedPatches:
    """Learns to say what is on patches that it sees badly or not at all; the loss asks for those alone.

    Attributes:
      model: without classes.
      mean, std: of the value range, by channel, where pixels lie in [0, 1].
      target: which of `TARGETS`.
      corrupted: share of an image's patches that are to be predicted; exactly that many of each.
      masked, replaced: chances that the embedding of such a patch gives way to the learned mask embedding, or to that
        of another patch, drawn evenly from the others of the image; the rest is kept as it is.
      loss: none that says how logits become probabilities, since there are no classes.
    """

    names_classes: ClassVar[bool] = False

    model: Vit = static()
    mean: tuple[float, float, float] = static()
    std: tuple[float, float, float] = static()
    target: str = static(default="mean_color")
    corrupted: float = static(default=0.5)
    masked: float = static(default=0.8)
    replaced: float = static(default=0.1)

    loss: ClassVar[str] = ""

    def __post_init__(self):
        patches.check(self.model)
        pick(TARGETS, self.target, "target").outputs(self.model.size.stride)
        if min(self.masked, self.replaced) < 0 or self.masked + self.replaced > 1:
            raise UserError(f"masked {self.masked} and replaced {self.replaced} are chances, together at most 1")

    @property
    def predictor(self) -> Predictor:
        """The network that is trained, the model in it."""
        return Predictor(self.model, TARGETS[self.target].outputs(self.model.size.stride))

    def initial(self, key: jax.Array, image_size: tuple[int, int]) -> Parameters:
        """Returns the parameters drawn from `key`: "model", "mask" and "prediction"."""
        images = jnp.zeros((1, *image_size, 3), jnp.float32)
        some = jnp.zeros((1, patches.count(images, self.model.size.stride)), jnp.int32)
        return dict(self.predictor.init(key, images, some, some, some > 0, False)["params"])

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Returns `image` as normalised floats, what `Predictor` wants to know, and the `answers` of what is taken."""
        pixels, patch = batch["image"], self.model.size.stride
        rows, every = pixels.shape[0], patches.count(pixels, patch)
        number = patches.share_of(every, self.corrupted, "objective.corrupted")
        order_key, fate_key, other_key = jax.random.split(key, 3)

        taken = patches.random_order(order_key, rows, every)[:, :number]
        fate = jax.random.uniform(fate_key, taken.shape)
        another = (taken + jax.random.randint(other_key, taken.shape, 1, every)) % every
        is_replaced = (self.masked <= fate) & (fate < self.masked + self.replaced)
        itself = einops.repeat(jnp.arange(every), "patches -> rows patches", rows=rows)
        put = jax.vmap(lambda before, places, values: before.at[places].set(values))
        return {
            "image": augment.normalize(pixels, self.mean, self.std),
            "taken": taken,
            "source": put(itself, taken, jnp.where(is_replaced, another, taken)),
            "masked": put(jnp.zeros(itself.shape, bool), taken, fate < self.masked),
            "answers": patches.take(TARGETS[self.target].answers(pixels, patch), taken),
        }

    def losses(self, parameters: Parameters, batch: dict[str, jax.Array], key: jax.Array | None) -> dict[str, Losses]:
        """Returns the means over an image's corrupted patches of what the target measures."""
        given = (batch[name] for name in ("image", "taken", "source", "masked"))
        predictions = patches.apply(self.predictor, parameters, key, *given)
        measured = TARGETS[self.target].losses(predictions, batch["answers"])
        return {name: by_patch.mean(axis=1) for name, by_patch in measured.items()}
