"""Leads: rules over evidence, each with the cell that shows more."""
