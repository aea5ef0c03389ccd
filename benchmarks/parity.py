"""Do the published hybrids and ResNets compute here, at full size, what timm's own computes?

    python benchmarks/parity.py [--names R50+B/16,R50x1] [--float64]

For each size: timm's model of 1000 classes is built, every tensor redrawn (norms, biases, positions and tokens too),
the weights written under Google's names, read as any published file is, and both models look at the same image of 224
pixels, timm in float64. Prints the counts of parameters, and the largest difference of the logits relative to the
largest logit or 1; --float64 adds the difference with float64 here too (all but the head), which leaves the rounding
out. The largest models are counted, not run. Needs the packages of the `parity` extra beside those of requirements.txt.
"""

import argparse
import importlib
import sys
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax import models
from vit_jax.models import counts
from vit_jax.models.sizes import Size, by_name
from vit_jax.weights import bit, google
from vit_jax.weights.files import File

# timm's name; the count in google-research/vision_transformer's own tests (models_test.py), which know no BiT.
MODELS = {
    "R+Ti/16": ("vit_tiny_r_s16_p8_224", 6_337_704),
    "R26+S/32": ("vit_small_r26_s32_224", 36_431_912),
    "R26+B/32": ("vit_base_r26_s32_224", 101_383_976),
    "R50+B/16": ("vit_base_r50_s16_224", 98_659_112),
    "R50+L/32": ("vit_large_r50_s32_224", 328_994_856),
    "R50x1": ("resnetv2_50x1_bit", None),
    "R101x1": ("resnetv2_101x1_bit", None),
    "R50x3": ("resnetv2_50x3_bit", None),
    "R101x3": ("resnetv2_101x3_bit", None),
    "R152x2": ("resnetv2_152x2_bit", None),
    "R152x4": ("resnetv2_152x4_bit", None),
}
TOO_LARGE = ("R101x3", "R152x4")  # for a machine of 24 GiB: these are counted alone
# timm computes with its own epsilons and activation, whatever the weights were trained with.
OF_TIMM = {
    "hybrid": {"activation": "gelu_exact", "standardization": "timm", "stem_norm_epsilon": 1e-5},
    "bit": {"standardization": "timm", "norm_epsilon": 1e-5},
}


def main() -> int:
    """Prints a line for each size; returns 1 if a count differs, or a logit by more than 1e-5."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", default=",".join(MODELS), help="sizes with commas between them (default: all)")
    parser.add_argument("--float64", action="store_true", help="compute here in float64 as well")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", given.float64)

    columns = ("size", "timm's name", "timm", "here", "Google", "float32", "float64", "seconds")
    print("{:9}  {:22}{:>13}{:>13}{:>13}{:>9}{:>9}{:>9}".format(*columns))
    agree = True
    for name in given.names.split(","):
        theirs, published = MODELS[name]
        started = time.perf_counter()
        here, there = counts.parameters(models.build(name, classes=1000), (224, 224)), counted(theirs)
        found = [] if name in TOO_LARGE else differences(name, theirs, given.float64)
        agree &= here == there == (published or there) and max(found, default=0.0) <= 1e-5
        numbers = f"{there:13,}{here:13,}{f'{published:,}' if published else '':>13}"
        errors = "".join(f"{difference:9.1e}" for difference in found)
        print(f"{name:9}  {theirs:22}{numbers}{errors:18}{time.perf_counter() - started:9.0f}", flush=True)
    return int(not agree)


def counted(theirs: str) -> int:
    """Returns how many parameters timm's model has, without making it."""
    _, torch, timm = resnets()
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in timm.create_model(theirs, num_classes=1000).parameters())


def differences(name: str, theirs: str, float64: bool) -> list[float]:
    """Returns the largest relative difference of the logits in float32, and in float64 if that is asked for."""
    make, torch, timm = resnets()
    random, size = np.random.default_rng(0), by_name(name)
    images = random.normal(size=(1, 224, 224, 3)).astype(np.float32)
    their_model = timm.create_model(theirs, num_classes=1000).double().eval()
    state = make.redrawn(random, their_model)
    their_model.load_state_dict(state)
    with torch.no_grad():
        wanted = their_model(torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2)).numpy()

    if isinstance(size, Size):
        assert size.stem is not None
        arrays, read, kind = make.google_hybrid(state, size.stem.units, size.heads), google.load, "hybrid"
    else:
        arrays, read, kind = make.google_bit(state, size.units), bit.load, "bit"
    del their_model, state
    loaded = read(File(arrays))
    model = models.build(**loaded.recipe.model | OF_TIMM[kind])
    assert model.size == size

    found = []
    for dtype in (jnp.float32, jnp.float64) if float64 else (jnp.float32,):
        parameters = jax.tree.map(partial(jnp.asarray, dtype=dtype), loaded.parameters)
        logits = jax.jit(partial(models.apply, model.copy(dtype=dtype)))(parameters, jnp.asarray(images, dtype))
        found.append(float(np.abs(np.asarray(logits) - wanted).max() / max(1, np.abs(wanted).max())))
    return found


@cache
def resnets() -> tuple[Any, Any, Any]:
    """Returns the module that made the golden arrays, torch and timm."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))
    make = importlib.import_module("make_resnets")  # before timm: it stands in for torchvision where that is absent
    return make, importlib.import_module("torch"), importlib.import_module("timm")


if __name__ == "__main__":
    sys.exit(main())
