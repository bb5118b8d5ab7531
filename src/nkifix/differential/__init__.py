"""Differential testing: cases, an oracle, tolerances from the data, and runs of kernels on them."""
