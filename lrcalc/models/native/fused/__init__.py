"""The native backbone in fused kernels, once differentiable, for a GPU.

The torch code of `lrcalc.models.native` is the reference, and what runs elsewhere and wherever
more derivatives are wanted.
"""
