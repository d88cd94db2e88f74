"""The command line where no server is needed: help, usage errors, exit statuses, no daemon."""

import json
import os
import signal
import subprocess
import time

import pytest

WEFT = os.environ.get("WEFT") or os.environ.get("WEFT_BIN") or "weft"
LIMIT_S = 60


def weft(*args, home=None, env=None, **kwargs):
    """Runs weft with nothing of ours in its environment; the completed process."""
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    environ.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    if home is not None:
        environ["WEFT_HOME"] = str(home)
    environ.update(env or {})
    return subprocess.run([WEFT, *args], env=environ, capture_output=True, text=True, timeout=LIMIT_S, **kwargs)


def one_line(text):
    assert text.endswith("\n") and text.count("\n") == 1, text
    return text[:-1]


VERBS = [line.split()[0] for line in weft("help").stdout.splitlines() if line[:2] == "  " and line[2].islower()]


def test_all_commands_of_this_release_are_listed():
    assert set(VERBS) >= set(
        "server invite join leave agent publish get pause resume cancel grant ungrant rm shares snapshots devices "
        "status verify doctor version help".split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_explains_itself(verb):
    by_option, by_help = weft(verb, "--help"), weft("help", verb)
    assert by_option.returncode == by_help.returncode == 0
    assert by_option.stdout == by_help.stdout
    assert by_option.stderr == by_help.stderr == ""
    assert by_help.stdout.startswith(f"usage: weft {verb}")
    assert max(map(len, by_help.stdout.splitlines())) <= 80


def test_version_is_one_line_or_json():
    assert one_line(weft("version").stdout) == one_line(weft("--version").stdout)
    assert weft("version").stdout.startswith("weft ")
    assert set(json.loads(weft("version", "--json").stdout)) >= {"version", "protocol", "home_format"}


@pytest.mark.parametrize("args, says", [
    (["stauts"], "did you mean status?"),
    (["nonsense"], "`weft help` lists them"),
    (["publish"], "PATH is missing"),
    (["publish", "."], "--share SHARE is missing"),
    (["publish", ".", "--share", "a", "--lable", "x"], "did you mean --label?"),
    (["get", "a"], "DEST is missing"),
    (["get", "a/b", "x"], "is not a name"),
    (["grant", "a", "b", "all"], "one of read|write"),
    (["invite", "--expires", "never"], "is not a time"),
    (["help", "stauts"], "did you mean status?"),
    (["--home"], "--home needs a value"),
    (["agent", "--advertise", "x:y"], "--advertise"),
])
def test_a_usage_error_is_one_line_and_status_2(args, says):
    r = weft(*args)
    assert r.returncode == 2
    assert r.stdout == ""
    assert says in one_line(r.stderr)
    assert len(r.stderr) < 200


@pytest.mark.parametrize("args", [
    [], ["status"], ["shares"], ["shares", "--json"], ["get", "a", "b"], ["publish", ".", "--share", "a"], ["leave"],
    ["invite"], ["cancel", "1"],
])
def test_without_a_daemon_every_question_ends_with_status_3(args, tmp_path):
    r = weft(*args, home=tmp_path / "none")
    assert r.returncode == 3
    assert r.stdout == ""
    line = one_line(r.stderr)
    assert f"{tmp_path}/none holds nothing yet" in line and "`weft join INVITE`" in line
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("args, files, start", [
    (["status"], ["format"], "agent"), (["status"], ["format", "server.db"], "server"), (["invite"], ["format"], "server"),
])
def test_without_a_daemon_of_a_home_that_is_made_its_start_is_named(args, files, start, tmp_path):
    for name in files:
        (tmp_path / name).touch()
    r = weft(*args, home=tmp_path)
    assert r.returncode == 3
    assert one_line(r.stderr).endswith(f"no daemon is running for {tmp_path}; start it with `weft {start}`")


def test_a_socket_that_nobody_listens_on_is_no_daemon(tmp_path):
    import socket
    s = socket.socket(socket.AF_UNIX)
    s.bind(str(tmp_path / "control.sock"))
    s.close()
    assert weft("status", home=tmp_path).returncode == 3


def test_a_home_with_a_very_long_path_works(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True, mode=0o700)
    assert weft("status", home=deep).returncode == 3


def test_the_home_option_counts_more_than_the_environment(tmp_path):
    r = weft("--home", str(tmp_path / "a"), "status", home=tmp_path / "b")
    assert f"{tmp_path}/a" in r.stderr


@pytest.mark.parametrize("text, says", [
    ("lisen = 1\n", "weft.conf:1: unknown key 'lisen'; did you mean listen?"),
    ("# a\n\nthreads = many\n", "weft.conf:3: threads: 'many' is not a number"),
    ("name\n", "weft.conf:1: not of the form"),
])
def test_a_wrong_line_of_the_configuration_is_named_with_status_2(text, says, tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "weft.conf").write_text(text)
    r = weft("agent", home=tmp_path)
    assert r.returncode == 2
    assert says in one_line(r.stderr)


def test_an_invite_that_is_none_is_refused_and_the_secret_is_not_repeated(tmp_path):
    r = weft("join", "weft1-secretsecretsecret", home=tmp_path / "home")
    assert r.returncode == 2
    assert "secretsecret" not in one_line(r.stderr)
    r = weft("join", "-", home=tmp_path / "home", input="")
    assert r.returncode == 2


def test_a_home_that_others_may_look_into_is_refused(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    r = weft("agent", home=home)
    assert r.returncode != 0
    assert f"chmod 700 {home}" in one_line(r.stderr)


def test_a_full_disk_behind_standard_output_is_an_error():
    with open("/dev/full", "w") as full:
        r = subprocess.run([WEFT, "help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S)
    assert r.returncode == 1
    assert "standard output" in r.stderr


def checks(r):
    return {(row["check"], row["state"]) for row in json.loads(r.stdout)}


def test_doctor_without_a_home_makes_none(tmp_path):
    r = weft("doctor", "--json", home=tmp_path / "none")
    assert r.returncode == 0
    assert ("home", "warn") in checks(r) and ("daemon", "warn") in checks(r)
    assert not (tmp_path / "none").exists()


def test_doctor_finds_what_is_wrong_with_a_home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    r = weft("doctor", home=home)
    assert r.returncode == 1
    assert f"fail  home: others may look into {home}" in r.stdout and f"chmod 700 {home}" in r.stdout
    home.chmod(0o700)
    (home / "format").write_text("weft home 999\n")
    (home / "weft.conf").write_text("nonsense = 1\n")
    r = weft("doctor", "--json", home=home)
    assert r.returncode == 1
    assert ("home", "fail") in checks(r) and ("config", "fail") in checks(r)


@pytest.fixture
def agent(tmp_path):
    """A daemon that has joined nothing."""
    home = tmp_path / "agent"
    p = subprocess.Popen([WEFT, "--home", str(home), "agent", "--listen", "127.0.0.1:0"],
                         stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + LIMIT_S
    while weft("status", home=home).returncode == 3:
        assert p.poll() is None, p.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield p, home
    if p.poll() is None:
        p.kill()
    p.communicate(timeout=LIMIT_S)


def test_an_agent_answers_and_stops_cleanly(agent):
    p, home = agent
    status = json.loads(weft("status", "--json", home=home).stdout)
    assert status["role"] == "agent" and status["home"] == str(home)
    assert (home / "control.sock").stat().st_mode & 0o777 == 0o600
    assert json.loads(weft("jobs", "--json", home=home).stdout) == []
    r = weft("invite", home=home)
    assert r.returncode == 2 and "server" in one_line(r.stderr)
    p.send_signal(signal.SIGTERM)
    assert p.wait(timeout=LIMIT_S) == 0
    assert weft("status", home=home).returncode == 3


def test_two_daemons_cannot_have_one_home(agent):
    _, home = agent
    r = weft("agent", home=home)
    assert r.returncode == 1
    assert str(home) in r.stderr.splitlines()[-1]


def test_nonsense_on_the_control_socket_does_not_end_the_daemon(agent):
    import socket
    p, home = agent
    for noise in [b"", b"\0", b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\x05\0\0\0\x01\x01\x03get",
                  b"\0\0\0\0\x02", b"\x06\0\0\0\x01\x01\x03get\x00", os.urandom(10000)]:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(LIMIT_S)
            s.connect(str(home / "control.sock"))
            try:
                s.sendall(noise)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except ConnectionError:
                pass  # cut off in the middle of it
    assert p.poll() is None
    assert weft("status", home=home).returncode == 0


def test_doctor_asks_a_running_daemon(agent):
    _, home = agent
    r = weft("doctor", "--json", home=home)
    assert ("daemon", "ok") in checks(r)
    assert ("server", "warn") in checks(r)
