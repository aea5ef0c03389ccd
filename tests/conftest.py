"""Eight CPU devices, no silent broadcasting, and every array annotation of vit_jax checked at run time."""

import os
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
# Tests compile far longer than they compute, so they compile without LLVM's optimisations.
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"]
)

# What was compiled once is kept, for the other workers and for the next time. jax writes there without a lock:
# a half-written entry is compiled again, and pyproject.toml silences the warning that it brings.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "xla")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook("vit_jax", "beartype.beartype")
