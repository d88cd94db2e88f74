"""What the command line makes of a daemon's answers: a scripted daemon speaks the control protocol
(src/control/control_message.h), the real program asks it, on a terminal and without one."""

import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

WEFT = os.environ.get("WEFT", "weft")
LIMIT_S = 60

ROW, PROGRESS, NOTE, DONE = 2, 3, 4, 5
TEXT, INT, SIZE, TIME, DURATION, BOOL, RATE = range(1, 8)


def field(name, kind, value):
    head = bytes([len(name)]) + name.encode() + bytes([kind])
    if kind == TEXT:
        value = value if isinstance(value, bytes) else value.encode()
        return head + struct.pack("<I", len(value)) + value
    return head + struct.pack("<Q", value)


def record(**fields):
    """record(share="a", bytes=(SIZE, 5)): text and plain numbers say their type themselves."""
    out = b""
    for name, v in fields.items():
        kind, value = v if isinstance(v, tuple) else (TEXT if isinstance(v, (str, bytes)) else INT, v)
        out += field(name, kind, value)
    return out


def frame(kind, body):
    return struct.pack("<IB", len(body), kind) + body


def done(code=0, text=None, status=0):
    fields = {"code": code, "status": status}
    if text is not None:
        fields["text"] = text
    return frame(DONE, record(**fields))


class Daemon:
    """Answers every call with the same steps: bytes are sent, numbers are seconds to wait, "hang" keeps the call."""

    def __init__(self, home, steps):
        self.steps, self.requests, self.gone = steps, [], threading.Event()
        home.mkdir(mode=0o700, exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(home / "control.sock"))
        self.socket.listen()
        self.socket.settimeout(LIMIT_S)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                call, _ = self.socket.accept()
            except OSError:
                return
            with call:
                call.settimeout(LIMIT_S)
                self.requests.append(self.read_request(call))
                try:
                    for step in self.steps:
                        if step == "hang":
                            while call.recv(1):
                                pass
                        elif isinstance(step, bytes):
                            call.sendall(step)
                        else:
                            time.sleep(step)
                except OSError:
                    pass
                self.gone.set()

    @staticmethod
    def read_request(call):
        def exactly(n):
            got = b""
            while len(got) < n:
                more = call.recv(n - len(got))
                assert more
                got += more
            return got
        length, kind = struct.unpack("<IB", exactly(5))
        body = exactly(length)
        assert kind == 1 and body[0] == 1
        verb = body[2:2 + body[1]].decode()
        at, args = 2 + body[1] + 1, []
        for _ in range(body[at - 1]):
            n = body[at]
            name = body[at + 1:at + 1 + n].decode()
            at += 1 + n
            size, = struct.unpack_from("<I", body, at)
            args.append((name, body[at + 4:at + 4 + size].decode()))
            at += 4 + size
        assert at == length
        return verb, args


def environment(home):
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm", "TZ": "UTC", "WEFT_HOME": str(home)}
    env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    return env


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def weft(home, *args):
    return subprocess.run([WEFT, *args], env=environment(home), capture_output=True, text=True, timeout=LIMIT_S,
                          cwd=str(home))


GET_PROGRESS = frame(PROGRESS, record(job=7, share="photos", phase="fetch", done=(SIZE, 400 << 20),
                                      total=(SIZE, 1000 << 20), rate=(RATE, 98 << 20), eta=(DURATION, 6000), sources=2))
GET_ROWS = (frame(ROW, record(list="sources", name="server", bytes=(SIZE, 1000 << 20))) +
            frame(ROW, record(job=7, share="photos", snapshot=3, dest="/data", files=12, bytes=(SIZE, 1000 << 20),
                              bytes_fetched=(SIZE, 1000 << 20), duration=(DURATION, 10000))))


def test_get_says_what_it_did(home):
    daemon = Daemon(home, [GET_PROGRESS, GET_ROWS, done()])
    r = weft(home, "get", "photos@3", "there", "--overwrite")
    assert r.returncode == 0
    assert r.stderr == ""
    assert r.stdout == ("photos@3 is in /data: 12 files, 1000.0 MiB in 10 s (100.0 MiB/s)\n"
                        "  1000.0 MiB fetched: server 1000.0 MiB\n")
    assert daemon.requests == [("get", [("overwrite", "1"), ("share", "photos"), ("snapshot", "3"),
                                        ("dest", f"{home}/there")])]


def test_get_in_json_is_one_object(home):
    Daemon(home, [GET_PROGRESS, GET_ROWS, done()])
    r = weft(home, "get", "photos", "there", "--json")
    value = json.loads(r.stdout)
    assert value["sources"] == [{"name": "server", "bytes": 1000 << 20}]
    assert value["snapshot"] == 3 and value["duration"] == 10000


@pytest.mark.parametrize("code, text, status", [
    (1, "not now", 1), (4, "no such share: x", 4), (5, "2 files are in the way", 5), (9, "odd option", 2),
    (10, "the server cannot be reached", 1), (2, "nothing there", 1),
])
def test_an_error_of_the_daemon_is_one_line_with_its_status(home, code, text, status):
    Daemon(home, [done(code, text, status)])
    r = weft(home, "get", "photos", "there")
    assert r.returncode == status
    assert r.stdout == "" and r.stderr == f"weft: get: {text}\n"


def test_notes_go_to_standard_error_and_skipped_files_are_status_5(home):
    steps = [frame(NOTE, record(text="left out: a/socket (a socket)")),
             frame(ROW, record(share="photos", snapshot=1, files=1, skipped=1)), done(0, None, 5)]
    Daemon(home, steps)
    r = weft(home, "publish", ".", "--share", "photos")
    assert r.returncode == 5
    assert r.stderr == "left out: a/socket (a socket)\n"
    assert "  1 left out\n" in r.stdout
    r = weft(home, "-q", "publish", ".", "--share", "photos")
    assert (r.returncode, r.stdout, r.stderr) == (5, "", "")


def test_what_a_stranger_named_does_not_reach_the_terminal_raw(home):
    Daemon(home, [frame(ROW, record(share=b"a\x1b[2Jb\xff", rights="read")),
                  frame(NOTE, record(text="note\x1b[2J\u202egpj")), done(1, "text\x1b[2J\n\u200b\u2066", 1)])
    r = weft(home, "shares")
    assert not set("\x1b\u202e\u200b\u2066") & set(r.stdout + r.stderr)
    assert "a\\x1b[2Jb\\xff" in r.stdout
    r = weft(home, "shares", "--json")
    assert json.loads(r.stdout)[0]["share_hex"] == b"a\x1b[2Jb\xff".hex()


@pytest.mark.parametrize("answer", [b"", b"\0\0\0\0\x09", frame(ROW, b"\xff\xff"), frame(1, b""), b"\xff" * 64,
                                    frame(DONE, b""), frame(DONE, b"\x04code")])
def test_a_daemon_that_talks_nonsense_is_an_error(home, answer):
    Daemon(home, [answer])
    r = weft(home, "shares", "--json")
    # An empty record says code 0: done.
    assert r.returncode == (0 if answer == frame(DONE, b"") else 1)
    if r.returncode != 0:
        assert r.stdout == "" and r.stderr.count("\n") == 1


def on_terminal(home, args, until, columns=80, then=None):
    """Runs weft with a terminal; what was on it, and the exit status.  THEN(process) is called when UNTIL appears."""
    main, sub = pty.openpty()
    import fcntl
    import termios
    fcntl.ioctl(sub, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    p = subprocess.Popen([WEFT, *args], env=environment(home), stdin=sub, stdout=sub, stderr=sub, cwd=str(home),
                         start_new_session=True)
    os.close(sub)
    seen, deadline = b"", time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if not select.select([main], [], [], 0.1)[0]:
            continue
        try:
            more = os.read(main, 65536)
        except OSError:
            break
        if not more:
            break
        seen += more
        if then is not None and until in seen:
            then(p)
            then = None
    status = p.wait(timeout=LIMIT_S)
    os.close(main)
    return seen.decode(), status


def test_progress_is_one_line_that_goes_away(home):
    Daemon(home, [GET_PROGRESS, 0.3, GET_PROGRESS, 0.3, GET_ROWS, done()])
    seen, status = on_terminal(home, ["get", "photos", "there"], b"")
    assert status == 0
    first = seen.split("\r")[1]
    assert first.startswith("photos   40 %  [") and "98.0 MiB/s  6.0 s left" in first
    before_result = seen[:seen.index("photos@3")]
    assert "\n" not in before_result and before_result.endswith("\r\x1b[K")


@pytest.mark.parametrize("columns", [10, 20, 40, 60, 100, 300])
def test_progress_never_passes_the_edge(home, columns):
    import re
    Daemon(home, [GET_PROGRESS, GET_ROWS, done()])
    seen, _ = on_terminal(home, ["get", "photos", "there"], b"", columns=columns)
    line = re.sub(r"\x1b\[[0-9;]*[mK]", "", seen.split("\r")[1])
    assert 0 < len(line) < columns


def test_ctrl_c_detaches_and_says_how_to_cancel(home):
    daemon = Daemon(home, [GET_PROGRESS, "hang"])
    seen, status = on_terminal(home, ["get", "photos", "there"], b"40 %", then=lambda p: p.send_signal(signal.SIGINT))
    assert status == 130
    assert "the transfer goes on as job 7" in seen and "`weft cancel 7`" in seen
    assert daemon.gone.wait(LIMIT_S)


def test_ctrl_c_before_there_is_a_job(home):
    Daemon(home, [frame(NOTE, record(text="wait")), "hang"])
    seen, status = on_terminal(home, ["get", "photos", "there"], b"wait", then=lambda p: p.send_signal(signal.SIGINT))
    assert status == 130
    assert "interrupted" in seen and "cancel" not in seen


def test_colours_only_where_they_are_wanted(home, monkeypatch):
    row = frame(ROW, record(share="a", rights="read"))
    Daemon(home, [row, done()])
    assert "\x1b[1m" in on_terminal(home, ["shares"], b"")[0]
    assert "\x1b" not in weft(home, "shares").stdout
    env = environment(home)
    monkeypatch.setitem(globals(), "environment", lambda _: dict(env, NO_COLOR="1"))
    assert "\x1b" not in on_terminal(home, ["shares"], b"")[0]


def test_lists_for_scripts_are_names_alone(home):
    Daemon(home, [frame(ROW, record(share="photos", rights="read", files=3)),
                  frame(ROW, record(share="two words", rights="write", files=4)), done()])
    assert weft(home, "shares", "-q").stdout == "photos\ntwo words\n"


def test_an_empty_list_says_so(home):
    Daemon(home, [done()])
    r = weft(home, "jobs")
    assert (r.stdout, r.stderr) == ("", "no jobs\n")
    assert weft(home, "jobs", "--json").stdout == "[]\n"
    assert weft(home, "status", "--json").stdout == '{"jobs":[]}\n'


def test_an_invite_is_alone_on_standard_output(home):
    Daemon(home, [frame(ROW, record(invite="weft1-abc", uses=1, expires=(TIME, 1700000000 * 10**9))), done()])
    r = weft(home, "invite")
    assert r.stdout == "weft1-abc\n"
    assert r.stderr == "for 1 machine, until 2023-11-14 22:13:20; there: `weft join INVITE`\n"


def test_join_hands_the_invite_to_a_running_daemon(home):
    daemon = Daemon(home, [frame(ROW, record(name="laptop", device="abc", server="spine")), done()])
    r = subprocess.run([WEFT, "join", "-", "--name", "laptop"], env=environment(home), input="weft1-abc\n",
                       capture_output=True, text=True, timeout=LIMIT_S)
    assert r.returncode == 0
    assert daemon.requests == [("join", [("name", "laptop"), ("invite", "weft1-abc")])]
    assert "server  spine\n" in r.stdout and "`weft shares`" in r.stderr


def test_a_hundred_thousand_rows_are_listed_in_good_time(home):
    rows = b"".join(frame(ROW, record(name=f"device-{i}", device="x" * 55, online=(BOOL, i % 2))) for i in range(100000))
    Daemon(home, [rows, done()])
    begin = time.monotonic()
    assert weft(home, "devices", "-q").stdout.count("\n") == 100000
    assert len(json.loads(weft(home, "devices", "--json").stdout)) == 100000
    assert time.monotonic() - begin < 30
