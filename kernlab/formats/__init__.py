"""A file on disk in, page frames and the file's own metadata out; knows nothing of addresses or types."""

from kernlab.formats.base import DumpFile, FrameStatus, Note
from kernlab.formats.recognise import open_dump_file

__all__ = ["DumpFile", "FrameStatus", "Note", "open_dump_file"]
