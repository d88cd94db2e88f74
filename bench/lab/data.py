"""What is distributed: made once, kept for the next run, and compared by hash afterwards.

file       one file that does not compress
files      many small ones
versions   a tree that the peers have, and the next version of it: edited in many places, one big file moved
"""
import hashlib
import os
import pathlib
import random
import shutil

TMP = pathlib.Path(os.environ.get("WEFT_LAB_DIR", "/dev/shm/weft-lab"))
MIB = 1 << 20
SEED = 4  # trees are the same on every machine
PER_DIRECTORY = 1000
EDITED_FILE_MIB = 16
MOVED_MIB = 100


class Data:
    """`path` is what the origin has; `base` what the peers have already, None if nothing; `size` the bytes in `path`."""

    def __init__(self, path, size, digest, base=None, edited=0):
        self.path, self.size, self.digest, self.base, self.edited = pathlib.Path(path), size, digest, base, edited

    @property
    def is_tree(self):
        return self.path.is_dir()

    def right(self, path):
        """Whether PATH has every byte of it, under the right names."""
        return os.path.exists(path) and digest_of(pathlib.Path(path)) == self.digest


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(MIB):
            digest.update(block)
    return digest.hexdigest()


def digest_of(path):
    """Of a file's content; of a tree's names and contents."""
    if not path.is_dir():
        return sha256(path)
    digest = hashlib.sha256()
    for name in names_in(path):
        digest.update(f"{name}\0{sha256(path / name)}\n".encode())
    return digest.hexdigest()


def names_in(root):
    """Regular files below it, in order, without what a tool keeps for itself."""
    found = []
    for where, dirs, names in os.walk(root):
        dirs[:] = [d for d in dirs if not d.startswith(".")]
        found += [os.path.relpath(os.path.join(where, n), root) for n in names if not n.startswith(".")]
    return sorted(found)


def kept(name, make):
    """TMP/name, made now if it is not there whole; gives its path and digest."""
    TMP.mkdir(parents=True, exist_ok=True)
    path, note = TMP / name, TMP / f"{name}.sha256"
    if not note.exists():
        shutil.rmtree(path, ignore_errors=True)
        make(path)
        note.write_text(digest_of(path))
    return path, note.read_text()


def random_file(path, mib, rng=None):
    with open(path, "wb") as f:
        for _ in range(mib):
            f.write(rng.randbytes(MIB) if rng else os.urandom(MIB))


def small_files(root, count, size):
    rng = random.Random(SEED)
    for i in range(count):
        if i % PER_DIRECTORY == 0:
            folder = root / f"d{i // PER_DIRECTORY:03d}"
            folder.mkdir(parents=True)
        (folder / f"f{i:06d}").write_bytes(rng.randbytes(size))


def first_version(root, mib):
    """Files of 16 MiB, and one of 100 MiB that is to be moved."""
    rng = random.Random(SEED)
    (root / "a").mkdir(parents=True)
    random_file(root / "a" / "big", MOVED_MIB, rng)
    for i in range((mib - MOVED_MIB) // EDITED_FILE_MIB):
        random_file(root / f"part{i:02d}", EDITED_FILE_MIB, rng)


def next_version(root, before, places, length):
    """`before` with LENGTH bytes changed in each of PLACES places, and the big file elsewhere.  In every other place as many
    bytes take the place of the old ones; in the others a few more, so that all that follows is shifted."""
    rng = random.Random(SEED + 1)
    shutil.copytree(before, root)  # times stay, as with a build that writes only what changed
    (root / "b").mkdir()
    os.rename(root / "a" / "big", root / "b" / "large")
    (root / "a").rmdir()
    parts = sorted(root.glob("part*"))
    for i in range(places):
        path = parts[i * len(parts) // places]
        content = bytearray(path.read_bytes())
        at = rng.randrange(len(content) - length)
        content[at:at + length] = rng.randbytes(length + (rng.randrange(1, 64) if i % 2 else 0))
        path.write_bytes(content)


def of(topo):
    """The data of a topology."""
    kind = topo.get("data", {"kind": "file"})
    if kind["kind"] == "files":
        count, size = kind["count"], kind["size"]
        path, digest = kept(f"files-{count}-{size}", lambda p: small_files(p, count, size))
        return Data(path, count * size, digest)
    if kind["kind"] == "versions":
        return versions(kind)
    path, digest = kept(f"data-{topo['file_mib']}", lambda p: random_file(p, topo["file_mib"]))
    return Data(path, topo["file_mib"] * MIB, digest)


def versions(kind):
    mib, places = kind["mib"], kind["places"]
    length = mib * MIB // 100 // places  # 1 % of the bytes in all
    base, _ = kept(f"version1-{mib}", lambda p: first_version(p, mib))
    path, digest = kept(f"version2-{mib}-{places}", lambda p: next_version(p, base, places, length))
    return Data(path, sum((path / n).stat().st_size for n in names_in(path)), digest, base, places * length)
