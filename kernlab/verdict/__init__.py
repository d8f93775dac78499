"""Why did it die? Rules over tables and log, each with evidence, doubt, and the cell that shows it."""
