"""Everything that needs torch. Tensors stop at the edge of this package: out come domain values."""
