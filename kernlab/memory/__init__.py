"""Page frames in, bytes at physical and kernel virtual addresses out; knows nothing of types."""

from kernlab.memory.address_space import Located, Memory, Status

__all__ = ["Located", "Memory", "Status"]
