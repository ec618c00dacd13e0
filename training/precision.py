"""Chooses the arithmetic in which this machine's processor is fast."""

import torch


def autocast() -> torch.autocast:
    """The context in which networks compute in bfloat16, if the processor supports it.

    Probabilities change by less than a hundredth on average. Without AVX-512, bfloat16 is emulated
    and takes longer than float32.
    """
    fast = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast("cpu", torch.bfloat16, enabled=fast)
