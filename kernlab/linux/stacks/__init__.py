"""Stacks of all tasks and CPUs, one frame a round: the unwinders, where they begin, and the stacks that there are."""
