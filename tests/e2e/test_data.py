"""What the data promises: what is published and what is not, what is read again, what is the same everywhere, what arrives."""
import os
import random
import shutil
import socket
import stat
import subprocess
import threading
import time

import pytest

from weft import (DONE, IS_ROOT, NOBODY, PARTLY, add_odd_names, assert_same, let_in, make_tree, noise, snapshot_of, write)


AGE = 0.05  # a change may hide in the tick of the clock it was made in: such files are read once more


def entries(root):
    """Relative paths of all that lies in ROOT."""
    return {os.path.relpath(os.path.join(d, n), root) for d, ds, fs in os.walk(root) for n in ds + fs}


def test_what_cannot_be_published_is_named_and_the_rest_is(net, tmp_path):
    src = tmp_path / "src"
    write(src / "kept", b"kept")
    os.mkfifo(src / "fifo")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(src / "socket"))
    write(src / "closed", b"nobody reads this")
    (src / "closed").chmod(0)
    (src / "closed dir").mkdir()
    write(src / "closed dir" / "in", b"x")
    (src / "closed dir").chmod(0)
    user = None
    if IS_ROOT:
        user = NOBODY
        os.mknod(src / "device", 0o644 | stat.S_IFCHR, os.makedev(1, 3))
        for p in (src, *src.iterdir()):
            os.chown(p, NOBODY, NOBODY, follow_symlinks=False)
        let_in(src)
    publisher = net.agent("publisher", user=user)
    r = publisher.run("publish", src, "--share", "tree", check=False)
    (src / "closed dir").chmod(0o755)
    assert r.returncode == PARTLY
    for name in ["fifo", "socket", "closed", "closed dir"] + (["device"] if IS_ROOT else []):
        assert any(line.startswith(f"{name}: ") or f"/{name}: " in line or f" {name}: " in line
                   for line in r.stderr.splitlines()), (name, r.stderr)
    net.server.run("grant", "tree", "--all", "read")
    reader = net.agent("reader")
    reader.run("get", "tree", tmp_path / "dest")
    assert entries(tmp_path / "dest") == {"kept"}


def test_weftignore_leaves_out_what_git_would(net, tmp_path):
    """The same rules in both files: what git would add is what is published, short of the rules themselves."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    src = tmp_path / "src"
    rules = b"*.o\n!keep.o\n/top\nbuild/\nsub/**/deep\n# comment\n\\#odd\nwith space\\ \n[a-c]?.tmp\n**/cache/*\n!**/cache/x\n"
    names = ["a.o", "keep.o", "top", "sub/top", "build/in", "sub/build/in", "sub/build2", "sub/a/b/deep/in", "sub/deep",
             "#odd", "with space ", "with space", "b1.tmp", "d1.tmp", "cache/x", "cache/y", "sub/cache/y", "nested/a.o",
             "nested/only/this"]
    for name in names:
        write(src / name, name.encode())
    for ignore in (".weftignore", ".gitignore"):
        write(src / ignore, rules)
        write(src / "nested" / ignore, b"!*.o\nonly\n")
    write(src / ".weft-anything", b"ours")
    write(src / "sub" / ".weft" / "trash", b"ours")
    git = ["git", "-C", str(src), "-c", "core.excludesFile=/dev/null"]
    subprocess.run([*git, "init", "-q"], check=True)
    listed = subprocess.run([*git, "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"], check=True,
                            capture_output=True).stdout
    want = {os.fsdecode(n) for n in listed.split(b"\0") if n}
    want = {n for n in want if not any(part.startswith(".weft") for part in n.split("/"))}
    shutil.rmtree(src / ".git")
    a = net.agent("a")
    a.run("publish", src, "--share", "tree")
    a.run("get", "tree", tmp_path / "dest")
    files = {n for n in entries(tmp_path / "dest") if not (tmp_path / "dest" / n).is_dir()}
    assert files == want


def test_only_what_changed_is_read_again(net, tmp_path):
    src = make_tree(tmp_path / "src", files=60)
    a = net.agent("a")

    def publish():
        time.sleep(AGE)
        return a.json("publish", src, "--share", "tree")

    files = [p for p in src.rglob("f*") if p.is_file() and not p.is_symlink()]
    first = publish()
    assert first["files_read"] == first["files"]
    victim = files[0]
    data, times = victim.read_bytes(), victim.stat()
    # Nothing at all; the content behind its old size and times; another inode; touched; its mode alone.
    assert publish()["files_read"] == 0
    victim.write_bytes(bytes(255 - b for b in data))
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert publish()["files_read"] == 1
    write(src / "other", victim.read_bytes())
    os.replace(src / "other", victim)
    assert publish()["files_read"] == 1
    os.utime(victim)
    assert publish()["files_read"] == 1
    victim.chmod(0o640)
    assert publish()["files_read"] <= 1  # its ctime is another one
    assert publish()["unchanged"]
    a.run("get", "tree", tmp_path / "dest")
    assert_same(src, tmp_path / "dest")


def test_what_somebody_else_published_is_known_by_its_second_publish(net, tmp_path):
    """A directory that was brought up to date by other means stands for the head from then on."""
    src = make_tree(tmp_path / "src", files=40)
    a, b = net.agent("a"), net.agent("b")
    copy = tmp_path / "copy"
    first = a.json("publish", src, "--share", "tree")
    net.server.run("grant", "tree", "b", "write")
    subprocess.run(["cp", "-a", src, copy], check=True)
    write(copy / "big0", noise(random.Random(8), 500_000))
    second = b.json("publish", copy, "--share", "tree")
    assert second["id"] != first["id"]
    subprocess.run(["cp", "-a", copy / "big0", src / "big0"], check=True)
    shutil.copystat(copy, src)
    time.sleep(AGE)
    again = a.json("publish", src, "--share", "tree")
    assert again["unchanged"] and again["id"] == second["id"] and again["files_read"] == 1
    assert a.json("publish", src, "--share", "tree")["files_read"] == 0
    # It is that snapshot which it is compared with.
    assert a.json("verify", "tree")["differences"] == 0
    write(src / "big0", b"damaged")
    r = a.run("verify", "tree", check=False)
    assert r.returncode == PARTLY and "big0" in r.stdout + r.stderr


def test_a_file_that_changes_while_it_is_read_is_never_published_torn(net, tmp_path):
    """Each content is one byte over and over: half of one and half of another would be seen."""
    src = tmp_path / "src"
    write(src / "still", b"still")
    size, stop = 3 << 20, threading.Event()
    write(src / "restless", b"a" * size)

    def rewrite():
        for i in range(1 << 30):
            if stop.is_set():
                return
            with open(src / "restless", "r+b") as f:
                f.write(bytes([97 + i % 26]) * size)

    writer = threading.Thread(target=rewrite)
    writer.start()
    a = net.agent("a")
    try:
        r = a.run("publish", src, "--share", "tree", "--no-wait", check=False)
        assert r.returncode in (DONE, PARTLY), r.stderr
        assert r.returncode == DONE or "restless" in r.stderr
    finally:
        stop.set()
        writer.join()
    a.wait_for_jobs()
    assert a.run("publish", src, "--share", "tree", check=False).returncode == DONE
    a.run("get", "tree", tmp_path / "dest")
    got = (tmp_path / "dest" / "restless").read_bytes()
    assert len(got) == size and len(set(got)) == 1
    assert_same(src, tmp_path / "dest")


def test_modes_times_holes_and_names_arrive(net, tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    add_odd_names(src)
    times = [0, -1, 1, 999_999_999, -1_500_000_001, 1_700_000_000_123_456_789, 4_102_444_800_000_000_001]
    for i, mtime in enumerate(times):
        write(src / f"time{i}", b"t", mtime_ns=mtime)
    for mode in (0o400, 0o444, 0o600, 0o755, 0o777, 0o4755, 0o2711, 0o1666):
        write(src / f"mode{mode:o}", b"m", mode=mode)
    for i, mode in enumerate((0o700, 0o755, 0o500, 0o2775, 0o1777)):
        (src / f"empty{i}").mkdir()
        (src / f"empty{i}").chmod(mode)
        os.utime(src / f"empty{i}", ns=(0, 1_500_000_000_000_000_000 + i))
    write(src / "full" / "of" / "files", b"x")
    os.utime(src / "full" / "of", ns=(0, 1_234_567_890_123_456_789))
    os.utime(src / "full", ns=(0, 987_654_321))
    with open(src / "holes", "wb") as f:
        f.truncate(100 << 20)
        f.seek(50 << 20)
        f.write(b"island")
    with open(src / "nothing but a hole", "wb") as f:
        f.truncate((1 << 30) + 7)
    a = net.agent("a")
    row = a.json("publish", src, "--share", "tree")
    assert row["bytes"] > 1 << 30 and row["bytes_read"] < 1 << 20
    a.run("get", "tree", tmp_path / "dest")
    assert_same(src, tmp_path / "dest")
    for p in (tmp_path / "dest").rglob("mode*"):
        assert p.stat().st_mode & 0o7000 == 0
    assert (tmp_path / "dest" / "holes").stat().st_blocks * 512 <= 256 << 10
    assert (tmp_path / "dest" / "nothing but a hole").stat().st_blocks == 0
    for p in (*src.glob("empty*"), *(tmp_path / "dest").glob("empty*")):
        p.chmod(0o755)


def test_verify_names_what_differs_and_not_what_the_user_added(net, tmp_path):
    src = make_tree(tmp_path / "src", files=30)
    a, b = net.agent("a"), net.agent("b")
    a.run("publish", src, "--share", "tree")
    net.server.run("grant", "tree", "b", "read")
    dest = tmp_path / "dest"
    b.run("get", "tree", dest)
    write(dest / "d0" / "mine", b"mine")
    r = b.json("verify", "tree")
    assert r["differences"] == 0 and r["files"] == sum(1 for w in snapshot_of(src).values() if w[0] == "file")
    (dest / "big1").unlink()
    with open(dest / "big0", "r+b") as f:
        f.write(b"x")
    r = b.run("verify", "tree", check=False)
    assert r.returncode == PARTLY and "big1" in r.stdout and "missing" in r.stdout and "content differs" in r.stdout
    assert "is not in the snapshot" in b.fails(1, "verify", "tree", "no such file")
    assert b.json("verify", "tree", "odd")["differences"] == 0
    assert b.json("verify", "tree", dest / "odd")["differences"] == 0
    assert b.run("verify", "tree", dest / "big0", check=False).returncode == PARTLY
    # One file alone, and what is no longer there.
    write(tmp_path / "single", b"one")
    a.run("publish", tmp_path / "single", "--share", "single")
    assert a.json("verify", "single")["files"] == 1
    write(tmp_path / "single", b"two")
    r = a.run("verify", "single", check=False)
    assert r.returncode == PARTLY and f"{tmp_path}/single: content differs" in r.stdout + r.stderr
    os.rename(dest, tmp_path / "elsewhere")
    r = b.run("verify", "tree", check=False)
    assert r.returncode == PARTLY and f"{dest}: missing" in r.stdout + r.stderr
