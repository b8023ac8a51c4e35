"""The tensor of weights through learning, after Pellegrino et al. 2023."""
