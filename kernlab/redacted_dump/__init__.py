"""A redacted dump in a file: written as a kdump, with a manifest of what went, and proven against the original.

kernlab.redacted_dump.redact("vmcore", "vmcore.redacted", map_path="map.json")
"""

from __future__ import annotations

from kernlab.redacted_dump.proof import Proof
from kernlab.redacted_dump.write import Redacted, redact

__all__ = ["Proof", "Redacted", "redact"]
