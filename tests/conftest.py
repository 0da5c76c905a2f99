"""Settings of the whole suite: strict rank promotion, a persistent compilation cache, one CPU device."""

import pathlib
import tempfile

import jax
import matplotlib

matplotlib.use("Agg")
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(tempfile.gettempdir()) / "dnas-test-compilation-cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
