"""ftrace: the ring buffers of a dump and trace.dat files, their events in columns."""
