"""Devices, interrupts, timers, work; structs in, columns out."""
