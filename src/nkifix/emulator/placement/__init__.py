"""Where tensors lie on chip: addresses that a kernel chooses, what shares them, and what that forbids.

``plan`` computes places, ``arena`` knows who wrote each byte last, ``declare`` checks a declaration.
Source: "NKI direct allocation developer guide" and ``nki.compiler`` reference, Neuron SDK 2.26.
"""
