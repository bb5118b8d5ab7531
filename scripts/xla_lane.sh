#!/usr/bin/env bash
# The device backend on real torch-xla tensors, without NeuronCores: a second environment with torch 2.9 and
# torch-xla 2.9 (about 7 GB), whose device is the CPU; the kernel itself is computed by the emulator.
#
#   scripts/xla_lane.sh [FOLDER OF THE ENVIRONMENT]     # default: .venv-xla
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=${1:-.venv-xla}
if ! "$venv/bin/python" -c 'import torch_xla, pytest, ml_dtypes, libcst, click, rich, hypothesis' 2>/dev/null; then
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.9.0 torch_xla==2.9.0 \
    click hypothesis libcst ml_dtypes numpy pytest pytest-cov rich
fi

export PJRT_DEVICE=CPU NKIFIX_XLA_LANE=1 OPENBLAS_NUM_THREADS=1 PYTHONPATH="src:.${PYTHONPATH:+:$PYTHONPATH}"
"$venv/bin/python" - <<'PYTHON'
import torch, torch_xla
from torch_xla.core import xla_model

print(f"torch {torch.__version__}, torch_xla {torch_xla.__version__}, device {xla_model.xla_device()}")
PYTHON
"$venv/bin/python" -m pytest -q -p no:cacheprovider --nki-backend device \
  tests/backends tests/test_flash_kernel_compiled.py tests/vendored_kernel/test_on_xla.py
