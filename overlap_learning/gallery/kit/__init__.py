"""Kit: what all figures share. It imports nothing by itself, so that the list of figures needs no plotting."""
