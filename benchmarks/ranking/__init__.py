"""Ways to rank the same chunks, compared outside the product: which leg, which fusion, which settings."""
