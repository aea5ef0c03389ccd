"""The masked autoencoder: an encoder sees a quarter of the patches, a decoder paints the rest (2111.06377)."""

from functools import partial
from typing import ClassVar

import einops
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from vit_jax.data import augment
from vit_jax.errors import UserError
from vit_jax.models.architecture import Architecture
from vit_jax.models.positions import SinCos2D, in_line
from vit_jax.models.sizes import Size
from vit_jax.models.vit import Encoder, Vit
from vit_jax.objectives import patches
from vit_jax.objectives.classify import static
from vit_jax.objectives.patches import MaskEmbedding, Predictions
from vit_jax.shapes import Images, Losses, Parameters, PatchPixels, TakenIndices, Tokens

VisibleIndices = Int[jax.Array, "batch visible"]
VisibleTokens = Float[jax.Array, "batch visible width"]


class Autoencoder(nn.Module):
    """The model on visible patches, then a decoder of size `decoder` that predicts the pixels of the hidden ones.

    Parameters of its own: `decoder_embedding`, `mask` (decoder width,), `decoder` and `prediction`.
    """

    model: Vit
    decoder: Size

    @nn.compact
    def __call__(self, images: Images, visible: VisibleIndices, hidden: TakenIndices, train: bool) -> Predictions:
        """Returns the pixels of the `hidden` patches, in float32; those and the `visible` are all of an image."""
        size, count = self.model.size, visible.shape[1]
        tokens = self.encode_visible(images, visible, train)
        dense = partial(nn.Dense, kernel_init=nn.initializers.xavier_uniform())
        tokens = dense(self.decoder.width, dtype=self.model.dtype, name="decoder_embedding")(tokens)
        prefix, seen = tokens[:, :-count], tokens[:, -count:]

        mask = self.param("mask", nn.initializers.normal(0.02), (self.decoder.width,))
        in_place = restored(seen, mask, visible, hidden)
        rows = images.shape[1] // size.stride[0]
        grid = einops.rearrange(in_place, "batch (rows columns) width -> batch rows columns width", rows=rows)
        grid, _ = SinCos2D(self.model.dtype, name="decoder_positions")(grid, prefix)
        made = self.model.architecture
        plain = Architecture(activation=made.activation, norm_epsilon=made.norm_epsilon)
        decoder = Encoder(self.decoder, plain, dtype=self.model.dtype, name="decoder")
        of_patches = decoder(in_line(prefix, grid), None, train)[:, prefix.shape[1] :]
        read = patches.take(of_patches, hidden).astype(jnp.float32)
        return dense(3 * size.stride[0] * size.stride[1], name="prediction")(read)

    def encode_visible(self, images: Images, visible: VisibleIndices, train: bool) -> Tokens:
        """Returns what the model's encoder makes of the class token, if there is one, and the `visible` patches."""
        tokens = self.model.in_line(self.model.embed(images))
        every = patches.count(images, self.model.size.stride)
        prefix, of_patches = tokens[:, :-every], tokens[:, -every:]
        seen = jnp.concatenate([prefix, patches.take(of_patches, visible)], axis=1)
        return self.model.encode(seen, None, train)


def restored(seen: VisibleTokens, mask: MaskEmbedding, visible: VisibleIndices, hidden: TakenIndices) -> Tokens:
    """Returns a token for each patch in the order of the image: those that were `seen`, elsewhere `mask`."""
    masks = jnp.broadcast_to(mask.astype(seen.dtype), (*hidden.shape, mask.size))
    places = jnp.argsort(jnp.concatenate([visible, hidden], axis=1), axis=1)
    return patches.take(jnp.concatenate([seen, masks], axis=1), places)


def standardized(pixels: PatchPixels) -> PatchPixels:
    """Returns each patch less its mean, over its standard deviation: all of its pixels and channels taken together.

    As the published code has it: the unbiased variance, 1e-6 added.
    """
    mean = pixels.mean(axis=(2, 3), keepdims=True)
    variance = pixels.var(axis=(2, 3), keepdims=True, ddof=1)
    return (pixels - mean) * jax.lax.rsqrt(variance + 1e-6)


@flax.struct.dataclass
class MaskedAutoencoder:
    """Learns to paint the patches that were left out; the loss asks for those alone.

    Attributes:
      model: without classes; its encoder sees visible patches and its class token, if it has one.
      mean, std: of the value range, by channel, where pixels lie in [0, 1].
      masked: share of an image's patches that are left out; exactly that many of each.
      normalized: whether each patch's pixels are standardised by themselves to make the target (section 4.1).
      decoder_width, decoder_depth, decoder_heads: of the decoder, whose MLPs are four times as wide (section 4.1).
      loss: none that says how logits become probabilities, since there are no classes.
    """

    names_classes: ClassVar[bool] = False

    model: Vit = static()
    mean: tuple[float, float, float] = static()
    std: tuple[float, float, float] = static()
    masked: float = static(default=0.75)
    normalized: bool = static(default=True)
    decoder_width: int = static(default=512)
    decoder_depth: int = static(default=8)
    decoder_heads: int = static(default=16)

    loss: ClassVar[str] = ""

    def __post_init__(self):
        patches.check(self.model)
        if self.model.architecture.rotary != "none":
            raise UserError(
                "a masked autoencoder's encoder does not know where the few patches lie that it sees, which rotary "
                f'positions ask for; got model.rotary "{self.model.architecture.rotary}": set "none"'
            )
        _ = self.autoencoder  # whose size may be wrong

    @property
    def autoencoder(self) -> Autoencoder:
        """The network that is trained, the model in it."""
        width = self.decoder_width
        return Autoencoder(
            self.model, Size(width, self.decoder_depth, 4 * width, self.decoder_heads, self.model.size.stride)
        )

    def initial(self, key: jax.Array, image_size: tuple[int, int]) -> Parameters:
        """Returns the parameters drawn from `key`: "model", and those of the `Autoencoder`."""
        images = jnp.zeros((1, *image_size, 3), jnp.float32)
        return dict(self.autoencoder.init(key, images, *self.drawn(key, images), False)["params"])

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Returns `image` as normalised floats, and which patches are `visible` and `hidden`."""
        visible, hidden = self.drawn(key, batch["image"])
        return {"image": augment.normalize(batch["image"], self.mean, self.std), "visible": visible, "hidden": hidden}

    def drawn(self, key: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the indices of visible and of hidden patches, drawn for each image."""
        every = patches.count(images, self.model.size.stride)
        number = patches.share_of(every, self.masked, "objective.masked")
        order = patches.random_order(key, images.shape[0], every)
        return order[:, number:], order[:, :number]

    def losses(self, parameters: Parameters, batch: dict[str, jax.Array], key: jax.Array | None) -> dict[str, Losses]:
        """Returns as `loss` the mean squared difference over the pixels of an image's hidden patches."""
        given = (batch[name] for name in ("image", "visible", "hidden"))
        predictions = patches.apply(self.autoencoder, parameters, key, *given)
        pixels = patches.take(patches.cut(batch["image"], self.model.size.stride), batch["hidden"])
        if self.normalized:
            pixels = standardized(pixels)
        wanted = einops.rearrange(pixels, "batch hidden pixels channels -> batch hidden (pixels channels)")
        return {"loss": jnp.square(predictions - wanted).mean(axis=(1, 2))}
