"""An executed notebook or a dump into a report: one HTML file that needs nothing else."""
