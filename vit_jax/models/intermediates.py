"""What happens inside a model, on request: `model.apply(…, mutable=["intermediates"])` returns it beside the logits."""

import flax.linen as nn
import jax


def keep(module: nn.Module, name: str, value: jax.Array) -> None:
    """Keeps `value` among the intermediates, as `<module's path>/<name>`; nothing at all unless they were asked for."""
    module.sow("intermediates", name, value, reduce_fn=lambda _, newest: newest, init_fn=lambda: value)
