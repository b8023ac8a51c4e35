"""Scalars: small array programs unrolled into scalars. Private."""
