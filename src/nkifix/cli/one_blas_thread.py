"""Importing this keeps BLAS to one thread, where the user has not chosen: more gain nothing on 128 x 512 tiles.

It must be imported before numpy.
"""

from __future__ import annotations

import os

for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
