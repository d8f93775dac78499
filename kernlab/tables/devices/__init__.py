"""Tables of devices, interrupts, timers and work."""
