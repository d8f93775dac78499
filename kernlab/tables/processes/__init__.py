"""Tables of who runs: threads, their memory maps, and what the maps hold."""
