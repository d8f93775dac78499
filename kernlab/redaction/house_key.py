"""A secret of this machine's user in, a dump's own key of it out: redacting a dump again gives the same names."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

KEY_BYTES = 32


def dump_key(identity: bytes) -> bytes:
    """The key (32 bytes) of the dump that `identity` names: the same each time here, and nobody else's.

    Two dumps get unlike keys, so that who gets both redacted cannot join them; a map that is handed on joins them.
    """
    return hashlib.blake2b(identity, key=_secret(), digest_size=KEY_BYTES, person=b"kernlab dump").digest()


def _secret() -> bytes:
    """What $XDG_STATE_HOME/kernlab/redaction.key holds, made at the first call; where it cannot be kept, a new one."""
    given = os.environ.get("XDG_STATE_HOME", "")
    try:
        folder = (Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state") / "kernlab"
        place = folder / "redaction.key"
        if not place.exists():
            _keep(place, secrets.token_bytes(KEY_BYTES))
        held = place.read_bytes()
    except (OSError, RuntimeError):
        return secrets.token_bytes(KEY_BYTES)
    # A file that was cut or emptied is no secret.
    return held if len(held) == KEY_BYTES else secrets.token_bytes(KEY_BYTES)


def _keep(place: Path, key: bytes) -> None:
    """Put a key in its place, readable by its owner only; of two processes that do so the first one's stays."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Made with mode 0600.
    descriptor, beside = tempfile.mkstemp(dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key)
        with contextlib.suppress(FileExistsError):
            os.link(beside, place)
    finally:
        os.unlink(beside)
