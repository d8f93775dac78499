"""The flight recorder of a running machine: a tracefs instance kept full of the newest events, and marks within."""
