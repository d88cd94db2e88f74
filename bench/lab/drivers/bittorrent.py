"""BitTorrent clients, with a tracker of our own on the seed's address (it outlives the seed)."""
import hashlib
import http.client
import json
import os
import pathlib
import sys

from drivers import MarkerDriver, first_line

LAB = pathlib.Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"  # the one that sees Debian's python3-libtorrent
TRACKER_PORT = 6969


def bencode(x):
    if isinstance(x, int):
        return b"i%de" % x
    if isinstance(x, str):
        x = x.encode()
    if isinstance(x, bytes):
        return b"%d:%s" % (len(x), x)
    return b"d" + b"".join(bencode(k) + bencode(x[k]) for k in sorted(x)) + b"e"


def make_torrent(data, path, tracker, piece):
    pieces = []
    with open(data, "rb") as f:
        while block := f.read(piece):
            pieces.append(hashlib.sha1(block).digest())
    info = {"name": "data.bin", "length": os.path.getsize(data), "piece length": piece, "pieces": b"".join(pieces)}
    pathlib.Path(path).write_bytes(bencode({"announce": tracker, "info": info}))


def done_hook(folder):
    """A program that says that all is there."""
    path = os.path.join(folder, "hook")
    pathlib.Path(path).write_text(f"#!/bin/sh\n: >{folder}/.done\n")
    os.chmod(path, 0o755)
    return path


class BitTorrent(MarkerDriver):
    """Torrent, tracker and seed; standby(peer) may start a client that waits."""
    piece_kib = None

    def prepare(self):
        hosts = self.hosts
        self.publish()
        self.torrent = os.path.join(hosts.work, "data.torrent")
        piece = (self.piece_kib or (256 if self.size <= 256 << 20 else 1024)) << 10
        make_torrent(self.data.path, self.torrent, f"http://{hosts.addr['seed']}:{TRACKER_PORT}/announce", piece)
        log = pathlib.Path(hosts.work, "tracker.log")
        with open(log, "wb") as out:
            hosts.spawn("seed", [sys.executable, LAB / "bt_tracker.py", TRACKER_PORT], infra=True, stdout=out)
        hosts.wait_port("seed", TRACKER_PORT)
        self.start_seed()
        hosts.wait_until("the seed's announce", lambda: f"{hosts.addr['seed']} left=0" in log.read_text())
        for p in hosts.peers:
            self.standby(p)
        self.all_stand_by()

    def standby(self, peer):
        pass

    def all_stand_by(self):
        pass


class Aria2(BitTorrent):
    """A peer's client starts with the clock: it has no way to stand by."""
    name, needs = "aria2", ("aria2c",)

    def version(self):
        return first_line("aria2c", "--version")

    def _run(self, host, *more):
        d = self.hosts.dir(host)
        return self.hosts.spawn(host, ["aria2c", "--no-conf", "--quiet", "--dir=" + d, "--enable-dht=false", "--seed-ratio=0.0",
                                       "--file-allocation=none", "--on-bt-download-complete=" + done_hook(d), *more, self.torrent])

    def start_seed(self):
        self._run("seed", "--check-integrity=true")

    def fetch(self, peer):
        self.proc[peer] = self._run(peer)


class Libtorrent(BitTorrent):
    """libtorrent-rasterbar's defaults, without DHT and port mapping."""
    name = "libtorrent"
    mode = "default"

    @classmethod
    def missing(cls):
        there = os.access(PYTHON, os.X_OK) and first_line(PYTHON, "-c", "import libtorrent; print(1)") == "1"
        return None if there else "python3-libtorrent"

    def version(self):
        return "libtorrent-rasterbar " + first_line(PYTHON, "-c", "import libtorrent as l; print(l.__version__)")

    def _run(self, host, role):
        return self.hosts.spawn(host, [PYTHON, LAB / "bt_libtorrent.py", self.mode, self.torrent, self.hosts.dir(host), role])

    def start_seed(self):
        self._run("seed", "seed")

    def standby(self, peer):
        self.proc[peer] = self._run(peer, "wait")

    def all_stand_by(self):
        for p in self.hosts.peers:
            self.hosts.wait_until(f"{p} to stand by", lambda p=p: os.path.exists(self.hosts.dir(p) + "/.ready"))

    def fetch(self, peer):
        open(self.hosts.dir(peer) + "/.go", "w").close()


class LibtorrentTuned(Libtorrent):
    """Tuned, super seeding."""
    name = "libtorrent-tuned"
    mode = "tuned"


class LibtorrentNoSuper(Libtorrent):
    """Tuned, but the seed is an ordinary seed."""
    name = "libtorrent-tuned-nosuper"
    mode = "nosuper"


class LibtorrentSmall(LibtorrentNoSuper):
    """Tuned, ordinary seed, small pieces."""
    name = "libtorrent-tuned-64k"
    piece_kib = 64


class Transmission(BitTorrent):
    """Daemons stand by without the torrent; it is added over RPC."""
    name, needs = "transmission", ("transmission-daemon",)
    settings = {}

    def __init__(self, *args):
        super().__init__(*args)
        self.rpc = {}

    def version(self):
        return first_line("transmission-daemon", "--version")

    def _daemon(self, host):
        d = self.hosts.dir(host)
        os.makedirs(d + "/cfg")
        settings = {"download-dir": d, "dht-enabled": False, "lpd-enabled": True, "port-forwarding-enabled": False,
                    "rpc-whitelist-enabled": False, "rpc-bind-address": "127.0.0.1", "download-queue-enabled": False,
                    "seed-queue-enabled": False, "script-torrent-done-enabled": True,
                    "script-torrent-done-filename": done_hook(d), **self.settings}
        pathlib.Path(d, "cfg", "settings.json").write_text(json.dumps(settings))
        self.proc[host] = self.hosts.spawn(host, ["transmission-daemon", "-f", "-g", d + "/cfg"])

    def _connect(self, host):
        """An open RPC connection and its session id; a socket stays in the namespace that it was made in."""
        self.hosts.wait_port(host, 9091)
        with self.hosts.ns(host):
            c = http.client.HTTPConnection("127.0.0.1", 9091)
            c.connect()
        c.auto_open = 0
        c.request("POST", "/transmission/rpc", "{}")
        r = c.getresponse()
        session = r.headers["X-Transmission-Session-Id"]
        r.read()
        if c.sock is None:
            with self.hosts.ns(host):
                c.connect()
        return c, session

    def _add(self, host):
        c, session = self.rpc[host]
        c.request("POST", "/transmission/rpc", json.dumps(
            {"method": "torrent-add", "arguments": {"filename": self.torrent, "paused": False}}),
            {"X-Transmission-Session-Id": session})

    def start_seed(self):
        self._daemon("seed")
        self.rpc["seed"] = self._connect("seed")
        self._add("seed")

    def standby(self, peer):
        self._daemon(peer)

    def all_stand_by(self):
        for p in self.hosts.peers:
            self.rpc[p] = self._connect(p)

    def fetch(self, peer):
        self._add(peer)


class TransmissionTcp(Transmission):
    name = "transmission-tcp"
    settings = {"utp-enabled": False, "upload-slots-per-torrent": 50}
