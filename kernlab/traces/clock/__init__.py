"""The clocks that log, traces and tasks take their times by, on one axis."""
