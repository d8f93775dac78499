"""The rules, a module for each part of a machine. A module that is put here is asked."""
