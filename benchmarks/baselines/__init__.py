"""What the package is compared with: the same computations, written without it."""
