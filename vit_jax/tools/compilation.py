"""Compiled programs are kept from run to run."""

import os
from pathlib import Path

import jax


def keep_compiled(folder: Path = Path("~/.cache/vit_jax")) -> None:
    """Keeps what JAX compiles in `folder`, unless JAX_COMPILATION_CACHE_DIR names another ("" for none).

    A program is found again by its code, its shapes and the compiler's version; only the time that it takes changes.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder.expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
