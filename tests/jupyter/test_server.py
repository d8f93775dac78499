"""The summary route on a Jupyter server: what it tells, what it refuses, and what bounds it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import textwrap

import pytest

pytest.importorskip("jupyter_server", reason="Jupyter Server is not installed (the extra 'lab')")
pytest.importorskip(
    "pytest_jupyter.jupyter_server", reason="pytest-jupyter is not installed (the extra 'dev')"
)

# Imported, its fixtures are this module's alone; as a plugin it would give every test an event loop.
from pytest_jupyter.jupyter_server import *  # noqa: F403
from tornado.httpclient import HTTPClientError

from kernlab.jupyter import server

#: What a child is made to be, in the place of kernlab.display.summary: its arguments are the path.
GOOD = "import json, sys; print(json.dumps({'title': sys.argv[1], 'rows': []}))"


@pytest.fixture
def jp_server_config():
    return {"ServerApp": {"jpserver_extensions": {"kernlab.jupyter.server": True}}}


@pytest.fixture
def wait(jp_asyncio_loop):
    """Runs one coroutine to its end."""
    return jp_asyncio_loop.run_until_complete


@pytest.fixture
def ask(jp_fetch, wait):
    """`ask(path)`: the status of the route's answer, and the answer as JSON (or text)."""

    def asked(path, **more):
        try:
            answer = wait(jp_fetch("kernlab", "summary", params={"path": path}, **more))
        except HTTPClientError as error:
            return error.code, error.response.body.decode()
        return answer.code, json.loads(answer.body)

    return asked


@pytest.fixture
def root(jp_root_dir, jp_serverapp):
    """The folder that the server serves."""
    return jp_root_dir


@pytest.fixture
def child(monkeypatch, tmp_path):
    """`child(code)`: from now on a program of this code answers, and counts how often it ran; `child.runs()`."""
    counted = tmp_path / "runs"
    real = asyncio.create_subprocess_exec

    class Child:
        def __call__(self, code):
            program = tmp_path / "child.py"
            program.write_text(f"open({str(counted)!r}, 'a').write('.')\n" + textwrap.dedent(code))

            async def instead(*command, **kwargs):
                assert command[:3] == (sys.executable, "-m", "kernlab.display.summary")
                return await real(sys.executable, str(program), *command[3:], **kwargs)

            monkeypatch.setattr(server.asyncio, "create_subprocess_exec", instead)

        @staticmethod
        def runs():
            return len(counted.read_text()) if counted.exists() else 0

    return Child()


def put(place, content=b"not a dump"):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def test_a_dump_is_summarised(ask, root, dump_files):
    (root / "crash dump.vmcore").write_bytes(dump_files("debian-6.1").vmcore.read_bytes())
    status, said = ask("crash dump.vmcore")
    assert status == 200
    assert "6.1." in said["title"]
    assert said["why"] == "The machine was crashed on purpose (SysRq)"
    assert "sysrq triggered crash" in dict(said["rows"])["last words"]
    assert {"died", "running", "machine", "kernel", "dump", "left out"} <= {name for name, _ in said["rows"]}
    assert said["problems"] == []
    # The file browser's own form of a path.
    assert ask("/crash dump.vmcore")[1] == said


def test_what_is_no_dump_is_said_to_be_none(ask, root):
    put(root / "notes.txt", b"<img src=x onerror=alert(1)>")
    status, said = ask("notes.txt")
    assert status == 200
    assert set(said) == {"error"}
    assert "notes.txt" in said["error"]


def test_nothing_outside_the_root_is_opened(ask, root, child, tmp_path):
    child(GOOD)
    outside = put(tmp_path / "outside.vmcore")
    (tmp_path / "root_dir-neighbour").mkdir()
    put(tmp_path / "root_dir-neighbour" / "vmcore")
    put(root / "inner" / "vmcore")
    (root / "out").symlink_to(outside)
    (root / "inner" / "up").symlink_to("../..")
    (root / "chain").symlink_to("out")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    refused = (
        *("../outside.vmcore", "inner/../../outside.vmcore", "..", "../root_dir-neighbour/vmcore"),
        *(str(outside), f"/{outside}", "//etc/passwd", "/etc/passwd", "%2e%2e/outside.vmcore"),
        *("inner/../inner/vmcore", "..\\outside.vmcore", "file:" + "//" + "/etc/passwd", "~/vmcore"),
        *("out", "chain", "inner/up/outside.vmcore", "loop", "dangling", "inner/vmcore/"[:-1] + "/more"),
        *("", "/", ".", "inner", "pipe", "missing", "\0", "inner/vmcore\0", "inner/vmcore ", " inner/vmcore"),
        *("x" * 300, "x/" * 2000 + "x", "x/" * 10_000, "é" * 3000),
    )
    assert {path[:40]: ask(path)[0] for path in refused} == dict.fromkeys(
        (path[:40] for path in refused), 404
    )
    assert child.runs() == 0
    # A link that stays inside is a file like another.
    (root / "within").symlink_to("inner/vmcore")
    status, said = ask("within")
    assert (status, said["title"]) == (200, str(root.resolve() / "inner" / "vmcore"))


def test_what_the_refusal_says_tells_nothing_of_the_machine(ask, root, tmp_path):
    put(tmp_path / "outside.vmcore")
    there, missing = ask("../outside.vmcore"), ask("../nothing-here.vmcore")
    assert there == missing
    assert str(tmp_path) not in there[1]


def test_hidden_files_stay_hidden_by_any_name(ask, root, child, jp_serverapp):
    child(GOOD)
    put(root / ".secret" / "vmcore")
    put(root / ".vmcore")
    (root / "plain").symlink_to(".vmcore")
    (root / "folder").symlink_to(".secret")
    asked = (".vmcore", ".secret/vmcore", "plain", "folder/vmcore", "folder/../.vmcore")
    assert [ask(path)[0] for path in asked] == [404] * len(asked)
    assert child.runs() == 0
    jp_serverapp.contents_manager.allow_hidden = True
    assert [ask(path)[0] for path in asked[:-1]] == [200] * 4


def test_who_has_no_token_is_refused(ask, root, child):
    child(GOOD)
    put(root / "vmcore")
    assert ask("vmcore", headers={"Authorization": ""})[0] == 403
    assert ask("../vmcore", headers={"Authorization": "token wrong"})[0] == 403
    assert child.runs() == 0


def test_who_may_not_read_contents_is_refused(ask, root, child, jp_serverapp, monkeypatch):
    child(GOOD)
    put(root / "vmcore")
    asked = []

    def nobody(handler, user, action, resource):
        asked.append((action, resource))
        return resource != "contents"

    monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", nobody)
    assert ask("vmcore")[0] == 403
    assert asked == [("read", "contents")]
    assert child.runs() == 0


def test_a_request_without_a_path_is_a_bad_one(jp_fetch, wait):
    with pytest.raises(HTTPClientError) as refused:
        wait(jp_fetch("kernlab", "summary"))
    assert refused.value.code == 400


def test_a_summary_is_kept_while_its_file_stays_as_it_is(ask, root, child):
    child(GOOD)
    file = put(root / "vmcore")
    assert [ask("vmcore")[0] for _ in range(3)] == [200] * 3
    assert child.runs() == 1
    put(file, b"another dump")
    ask("vmcore")
    assert child.runs() == 2
    # Same size, same time, another file.
    known = file.stat()
    other = put(root / "other", b"third   dump")
    os.utime(other, ns=(known.st_atime_ns, known.st_mtime_ns))
    other.replace(file)
    ask("vmcore")
    assert child.runs() == 3


def test_few_summaries_are_kept(ask, root, child, monkeypatch):
    child(GOOD)
    monkeypatch.setattr(server, "_MOST_KEPT", 2)
    for name in "abc":
        put(root / name)
        ask(name)
    ask("c")
    ask("b")
    assert child.runs() == 3
    ask("a")
    assert child.runs() == 4


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import os; os.abort()", id="aborted"),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", id="killed"),
        pytest.param("raise SystemExit(1)", id="silent"),
        pytest.param("print('{\"title\": \"cut', end='')", id="cut"),
        pytest.param('print(\'{"title": "failed"}\'); raise SystemExit(3)', id="failed after its answer"),
        pytest.param("print('[\"again\"]')", id="a list"),
        pytest.param("print('7')", id="a number"),
        pytest.param("print('null')", id="null"),
        pytest.param("print('[' * 100_000)", id="too deep"),
        pytest.param("import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\x00')", id="no text"),
    ],
)
def test_a_child_that_fails_is_reported_and_asked_anew(ask, root, child, code):
    child(code)
    put(root / "vmcore")
    status, said = ask("vmcore")
    assert status == 200
    assert set(said) == {"error"}
    assert "open the dump in a notebook" in said["error"]
    child(GOOD)
    assert "title" in ask("vmcore")[1], "what failed once is not kept"


def test_a_child_that_takes_too_long_is_killed(ask, root, child, jp_serverapp, tmp_path):
    child("import os, sys, time; open(sys.argv[1] + '.pid', 'w').write(str(os.getpid())); time.sleep(600)")
    put(root / "vmcore")
    summaries(jp_serverapp).seconds = 3.0
    status, said = ask("vmcore")
    assert status == 200
    assert "3 s" in said["error"]
    pid = int((root / "vmcore.pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    child(GOOD)
    assert "title" in ask("vmcore")[1]


def test_a_child_that_says_too_much_is_cut_off(ask, root, child):
    child("""\
        import os, sys
        open(sys.argv[1] + '.pid', 'w').write(str(os.getpid()))
        while True:
            sys.stdout.write('[' * 65536)
    """)
    put(root / "vmcore")
    status, said = ask("vmcore")
    assert status == 200
    assert "longer than a summary may be" in said["error"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((root / "vmcore.pid").read_text()), 0)


def test_a_file_that_vanishes_is_not_found(ask, root, child, monkeypatch):
    child('import os, sys; os.unlink(sys.argv[1]); print(\'{"error": "no such file"}\')')
    put(root / "vmcore")
    assert ask("vmcore")[0] == 404
    # Between the look and the summary.
    put(root / "vmcore")
    child(GOOD)
    found = server.inside

    def late(top, path):
        real = found(top, path)
        os.unlink(real)
        return real

    monkeypatch.setattr(server, "inside", late)
    before = child.runs()
    assert ask("vmcore")[0] == 404
    assert child.runs() == before


def test_a_file_that_changes_while_it_is_read_is_read_again(ask, root, child):
    child("import sys; open(sys.argv[1], 'ab').write(b'more'); print('{\"title\": \"first\"}')")
    put(root / "vmcore")
    assert ask("vmcore")[1] == {"title": "first"}
    child(GOOD)
    assert ask("vmcore")[1]["title"] != "first"


def test_few_children_run_and_few_requests_wait(jp_fetch, wait, root, child, jp_serverapp, tmp_path):
    gate = tmp_path / "gate"
    child(f"""\
        import os, sys, time
        open(sys.argv[1] + '.began', 'w').close()
        while not os.path.exists({str(gate)!r}):
            time.sleep(0.02)
        print('{{"title": "done"}}')
    """)
    served = summaries(jp_serverapp)
    served.workers, served.waiting = 2, 3
    for number in range(8):
        put(root / f"{number}.vmcore")

    async def one(number):
        try:
            return (await jp_fetch("kernlab", "summary", params={"path": f"{number}.vmcore"})).code
        except HTTPClientError as error:
            return error.code

    async def all_at_once():
        asked = [asyncio.ensure_future(one(number)) for number in range(8)]
        while sum(task.done() for task in asked) < 3 or len(list(root.glob("*.began"))) < 2:
            await asyncio.sleep(0.02)
        began = len(list(root.glob("*.began")))
        gate.touch()
        return began, await asyncio.gather(*asked)

    began, codes = wait(all_at_once())
    assert began == 2
    assert sorted(codes) == [200] * 5 + [503] * 3
    # Nobody is turned away for what is over.
    assert wait(one(7)) == wait(one(6)) == 200


def test_two_who_ask_for_the_same_dump_wait_for_one_child(jp_fetch, wait, root, child, jp_serverapp):
    child('import time; time.sleep(0.3); print(\'{"title": "done"}\')')
    summaries(jp_serverapp).workers = 1
    put(root / "vmcore")

    async def twice():
        return await asyncio.gather(
            *(jp_fetch("kernlab", "summary", params={"path": "vmcore"}) for _ in range(2))
        )

    assert [answer.code for answer in wait(twice())] == [200, 200]
    assert child.runs() == 1


def summaries(app):
    """What the running server makes its summaries with."""
    for rule in app.web_app.wildcard_router.rules + app.web_app.default_router.rules:
        for inner in getattr(rule.target, "rules", [rule]):
            given = getattr(inner, "target_kwargs", None) or {}
            if "summaries" in given:
                return given["summaries"]
    raise AssertionError("the server has no summary route")
