"""What was given to mount is renamed as the files themselves are; what all machines have stays."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kernlab.redaction.mount_texts import _renamed, _source

#: A redaction that turns names into so many x.
FOUND = SimpleNamespace(
    map=SimpleNamespace(names=SimpleNamespace(of=lambda name, extension: b"x" * len(name)))
)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        (b"/srv/image/top:/srv/image/base", b"/srv/xxxxx/xxx:/srv/xxxxx/xxxx"),
        (b"/var/lib/docker/overlay2/0a/diff", b"/var/xxx/xxxxxx/xxxxxxxx/xx/xxxx"),
        (b"files.example.org:/export/home", b"xxxxxxxxxxxxxxxxx:/xxxxxx/xxxx"),
        (b"//server/share", b"//xxxxxx/xxxxx"),
        (b"scratch", b"xxxxxxx"),
        (b"/", b"/"),
        (b"a\\:b", b"x\\:x"),
        # Only at the root is it what all machines have.
        (b"/data/home", b"/xxxx/xxxx"),
    ],
)
def test_names_in_a_text(text, becomes):
    assert _renamed(FOUND, text) == becomes


@pytest.mark.parametrize(
    ("text", "share", "strict"),
    [
        (b"nas.example.org:/export/a", b"HOST:/export/a", b"HOST:/xxxxxx/x"),
        (b"//files/share", b"HOST/share", b"HOST/xxxxx"),
        (b"10.1.2.3:/export", b"10.1.2.3:/export", b"xxxxxxxx:/xxxxxx"),
        (b"/srv/a:/srv/b", b"/srv/a:/srv/b", b"/srv/x:/srv/x"),
        (b"scratch", b"scratch", b"xxxxxxx"),
    ],
)
def test_no_level_keeps_the_name_of_a_server(monkeypatch, text, share, strict):
    monkeypatch.setattr("kernlab.redaction.mount_texts.host_name", lambda found, name: b"HOST")
    for level, becomes in ((False, share), (True, strict)):
        found = SimpleNamespace(map=FOUND.map, strict=level)
        assert _source(found, text) == becomes.replace(
            b"HOST/", b"//HOST/" if text[:2] == b"//" else b"HOST/"
        )
