"""Images, one at a time: decoded, cut to size, distorted. On the host; nothing here imports JAX."""
