"""A CPU stand-in for ``neuronxcc.nki`` that runs kernel files unmodified and refuses what hardware would.

    with serving():
        from my_kernels import flash_fwd     # imports neuronxcc.nki
        out = flash_fwd[batch, heads](q, k, v)

Nothing here ran on a NeuronCore: results are emulated. docs/fidelity.md lists every choice.
"""

from nkifix.emulator.faults import EmulatorWarning, KernelFault, UndefinedReadFault
from nkifix.emulator.params import Params, Target
from nkifix.emulator.serve import real_compiler, serving

__all__ = [
    "EmulatorWarning",
    "KernelFault",
    "Params",
    "Target",
    "UndefinedReadFault",
    "real_compiler",
    "serving",
]
