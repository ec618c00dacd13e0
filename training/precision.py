"""Arithmetic in which this machine's processor is fast."""

import torch


def quick() -> torch.dtype:
    """bfloat16 where the processor computes in it, else float32.

    Probabilities change by a hundredth. With AVX-512 a teacher takes a third of the time; without
    it bfloat16 is imitated, and takes longer than float32.
    """
    fast = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.bfloat16 if fast else torch.float32


def autocast() -> torch.autocast:
    """The context in which networks compute as `quick` says."""
    return torch.autocast("cpu", torch.bfloat16, enabled=quick() is torch.bfloat16)
