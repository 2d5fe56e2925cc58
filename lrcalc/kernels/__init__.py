"""Fused kernels (Triton) for a GPU, in place of many passes of torch over memory.

Each does what torch code elsewhere in the package does, which is its reference and what runs
without a GPU or without Triton.
"""
