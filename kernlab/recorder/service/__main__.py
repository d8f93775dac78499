"""The service as a program: this folder, or a zip archive of its files, run by Python with nothing of kernlab.

Python takes neither for a package, and their modules import each other as those of one: it is made here.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

if __name__ == "__main__":
    package = ModuleType("kernlab_recorder")
    package.__path__ = [os.path.dirname(__file__)]
    sys.modules[package.__name__] = package
    sys.exit(importlib.import_module(f"{package.__name__}.command_line").main())
