"""Registers of programs, a machine a module."""
