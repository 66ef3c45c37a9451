"""Data-parallel training under ``torchrun``: what a process adds to the others' sums; alone, nothing happens."""

from __future__ import annotations

import os

import torch

from plugins.equivariant.devices import Device, begin


class Processes:
    """rank, size, device, and sums over processes, by gloo of what is on CPUs and by nccl of what is on GPUs, one for each."""

    def __init__(self, device: Device = "cpu"):
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = begin(device, alone=self.size > 1)
        self._mine = False
        if self.size > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl")
            self._mine = True

    @property
    def first(self):
        return self.rank == 0

    def sum(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Each tensor summed over processes, in one message for each dtype."""
        if self.size == 1:
            return tensors
        out = list(tensors)
        for dtype in sorted({t.dtype for t in tensors}, key=str):  # the order of a set differs between processes
            rows = [k for k, t in enumerate(tensors) if t.dtype == dtype]
            flat = torch.cat([tensors[k].reshape(-1) for k in rows])
            torch.distributed.all_reduce(flat)
            for k, part in zip(rows, flat.split([tensors[k].numel() for k in rows])):
                out[k] = part.view_as(tensors[k])
        return out

    def largest(self, *values: float) -> list[float]:
        """The largest of all processes' values, the same on all."""
        if self.size == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return found.tolist()

    def barrier(self):
        if self.size > 1:
            torch.distributed.barrier()

    def close(self):
        if self._mine:
            torch.distributed.destroy_process_group()
