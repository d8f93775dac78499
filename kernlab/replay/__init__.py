"""What the machine did before it died, on one clock: the timeline, and memory run backwards from the crash."""
