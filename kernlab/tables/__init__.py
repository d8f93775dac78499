"""Only modules that declare tables, one per kernel subsystem, in packages by what people look for (see contents.py)."""
