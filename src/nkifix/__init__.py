"""nkifix: run, fix and prove the flash-attention kernel of neuronx-distributed-inference, with no hardware."""

__version__ = "0.1.0"
