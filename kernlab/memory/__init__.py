"""Page frames in, bytes at physical and kernel virtual addresses out; knows nothing of types."""

from kernlab.memory.address_space import AddressSpace, Located, Status

__all__ = ["AddressSpace", "Located", "Status"]
