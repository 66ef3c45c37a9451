"""Where torch computes: on the host, or on a GPU."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Literal

import torch

from engine.errors import InputError

Device = Literal["cpu", "cuda"]
#: which process of its machine this is, as torchrun, Open MPI, MPICH, Slurm say it
PLACES = "LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"


def at_hand(name: Device) -> torch.device:
    """The device, if it is there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device = \"cuda\": torch sees no GPU on this machine")
    return torch.device(name)


def begin(name: Device, alone=False) -> torch.device:
    """The device, to be computed on; on a GPU torch is told to add in a fixed order, so that a run gives the same bits twice.

    Processes of a machine take its GPUs in turn; alone : must this one have its own?
    """
    if at_hand(name).type == "cpu":
        return torch.device("cpu")
    place, there = next((int(os.environ[key]) for key in PLACES if key in os.environ), 0), torch.cuda.device_count()
    if alone and place >= there:
        raise InputError(f"device = \"cuda\": process {place + 1} of this machine needs a GPU of its own, and there are {there}; "
                         "start fewer processes")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # else every new array is written once more
    torch.cuda.set_device(place % there)
    return torch.device(name, place % there)


def find_toolkit():
    """Compiling for a GPU needs CUDA's headers: those of pip's packages (extra ``gpu``), where torch finds no others."""
    from torch.utils import cpp_extension

    nvidia, header = importlib.util.find_spec("nvidia"), "include/cuda.h"
    places = [] if nvidia is None else nvidia.submodule_search_locations or []
    own = [Path(place, f"cu{str(torch.version.cuda).split('.')[0]}") for place in places]
    homes = [Path(cpp_extension.CUDA_HOME or "nowhere"), *own]
    found = next((home for home in homes if (home / header).is_file()), homes[0])
    if found != homes[0]:
        cpp_extension.CUDA_HOME = os.environ["CUDA_HOME"] = str(found)
