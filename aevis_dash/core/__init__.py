"""Everything that needs torch. Tensors stop at the edge of this package: it gives out numpy arrays and domain
values.
"""
