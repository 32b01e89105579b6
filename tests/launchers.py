"""What starts two ranks: torchrun's program, and the environment that srun gives each."""

from __future__ import annotations

import sys
from pathlib import Path

TORCHRUN = str(Path(sys.executable).with_name("torchrun"))
MODULE = ["-m", "ganctl"]
SRUN = [
    {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "train",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_PROCID": rank,
        "SLURM_NODEID": rank,
        "SLURM_LOCALID": "0",
    }
    for rank in "01"
]
