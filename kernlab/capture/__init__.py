"""Capturing dumps: would a crash of this machine leave one (`status`), and guests that crash on purpose (the lab)."""
