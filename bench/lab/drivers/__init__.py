"""Drivers.  Every class below Driver with a name, in any file of this folder, is a tool.

    class MyTool(Driver):
        name, needs = "mytool", ("mytoold",)
        def version(self): ...            # one line
        def prepare(self): ...            # NOT timed: hash, make metadata, start the seed and wait until it serves; daemons on
                                          # peers may start and stand by
        def fetch(self, peer): ...        # timed from here; must not block
        # if the default does not do: missing(), can(topology), done(peer), failed(peer), output(peer), kill(host),
        # figures(size)

By default a peer is done when the process that fetch() stored in self.proc[peer] has exited with 0 and output(peer) has the
full size, and has failed when it exited with anything else.
"""
import importlib
import os
import pkgutil
import shutil
import subprocess

ALL = {}
OPTIONS = {}  # what the command line says to drivers


def which(command):
    return shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class Driver:
    name, needs = None, ()
    trees = False  # whether it can bring a tree, and the next version of one

    def __init_subclass__(cls):
        if cls.__dict__.get("name"):  # of its own
            ALL[cls.name] = cls

    def __init__(self, hosts, data):
        self.hosts, self.data, self.size, self.proc = hosts, data, data.size, {}

    @classmethod
    def missing(cls):
        """What must be installed first; None if nothing."""
        return next((n for n in cls.needs if not which(n)), None)

    @classmethod
    def can(cls, topo):
        """Whether it makes sense there."""
        return cls.trees or "data" not in topo

    def version(self):
        return ""

    def prepare(self):
        raise NotImplementedError

    def fetch(self, peer):
        raise NotImplementedError

    def output(self, peer):
        return os.path.join(self.hosts.dir(peer), "data.bin")

    def done(self, peer):
        return self.proc[peer].poll() == 0 and self.full(peer)

    def failed(self, peer):
        return self.proc[peer].poll() not in (None, 0)

    def kill(self, host):
        """The host dies, without a word."""
        self.hosts.die(host)

    def figures(self, size):
        """What only the tool itself can tell; asked when the clock has stopped and everything still runs."""
        return {}

    # -- helpers

    def full(self, peer):
        """Whether it has the size that it must have; of a tree, only the digest can tell."""
        if self.data.is_tree:
            return True
        try:
            return os.stat(self.output(peer)).st_size == self.size
        except OSError:
            return False

    def publish(self, folder=""):
        """The file as data.bin in the seed's folder (a hard link: nothing is copied)."""
        folder = os.path.join(self.hosts.dir("seed"), folder)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "data.bin")
        os.link(self.data.path, path)
        return path


class MarkerDriver(Driver):
    """A tool that stays up: a peer is done when its `.done` file exists."""

    def done(self, peer):
        return os.path.exists(os.path.join(self.hosts.dir(peer), ".done")) and self.full(peer)

    def failed(self, peer):
        return peer in self.proc and self.proc[peer].poll() is not None


def first_line(*argv):
    r = subprocess.run(argv, capture_output=True, text=True)
    return (r.stdout or r.stderr).strip().split("\n")[0]


def load():
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module("drivers." + module.name)
    return ALL
