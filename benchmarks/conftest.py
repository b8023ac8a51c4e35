"""What every benchmark starts with."""

import jax

# Before any jax call.
jax.config.update("jax_enable_x64", True)
