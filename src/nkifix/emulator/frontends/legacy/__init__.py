"""The legacy language, ``neuronxcc.nki``: names, signatures and legacy-only rules, nothing else."""
