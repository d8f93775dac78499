"""Page frames in, bytes at physical and kernel virtual addresses out; knows nothing of types."""

from kernlab.memory.address_space import Memory, Status

__all__ = ["Memory", "Status"]
