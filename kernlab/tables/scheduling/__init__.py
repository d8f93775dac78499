"""Tables of CPUs, their queues, RCU and delays."""
