"""One thread's stack in, what a kernel engineer reads of it out: as text and as HTML."""
