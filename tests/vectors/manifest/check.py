#!/usr/bin/env python3
"""A second implementation of docs/format-manifest.md and docs/format-commit.md, small and slow, against the vectors
beside it.  usage: check.py DIR

Written from the documents, not from the C code: where the two disagree, one of them is wrong.
"""
import hashlib
import pathlib
import struct
import sys

TREE, FILE, CAUSAL, COMMIT = 2, 3, 4, 5


def node_id(kind, data):
    return b"\1" + hashlib.sha256(bytes([kind]) + data).digest()


def varint(v):
    out = b""
    while v >= 0x80:
        out += bytes([v & 0x7F | 0x80])
        v >>= 7
    return out + bytes([v])


def boundary_hash(level, key):
    mask = (1 << 64) - 1
    x = 0xCBF29CE484222325
    for b in bytes([level]) + key:
        x = ((x ^ b) * 0x100000001B3) & mask
    x = ((x ^ (x >> 33)) * 0xFF51AFD7ED558CCD) & mask
    x = ((x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53) & mask
    return (x ^ (x >> 33)) >> 32


def ends(level, key, entry, size):
    if size >= 65536:
        return True
    return size >= 4096 and key != b"" and boundary_hash(level, key) * 12288 < entry << 32


def build(kind, entries):
    """entries: (bytes as stored, cut key, first key, bytes beneath).  Gives [(level, node)] and the root last."""
    level, nodes = 0, []
    while True:
        made, node, first, beneath = [], b"", None, 0
        for i, (stored, cut, key, n) in enumerate(entries):
            if node == b"":
                node, first, beneath = bytes([1, level, 1]), key, 0
            node += stored
            beneath += n
            if ends(level, cut, len(stored), len(node)) or i + 1 == len(entries):
                made.append((node, first, beneath))
                node = b""
        made = made or [(bytes([1, level, 1]), b"", 0)]
        nodes += [(level, node) for node, _, _ in made]
        if len(made) == 1:
            return nodes
        entries = []
        for node, key, n in made:
            name = node_id(kind, node)
            if kind == FILE:
                entries.append((varint(n) + name, name[1:], b"", n))
            else:
                entries.append((bytes([len(key)]) + key + name, key, key, n))
        level += 1


def item(length, chunk):
    """chunk: its 32 bytes, or None for a hole"""
    return varint(length * 2 + (chunk is None)) + (b"" if chunk is None else b"\1" + chunk)


def entry(name, value):
    return (bytes([len(name)]) + name + varint(len(value)) + value, name, name, 0)


def mode_mtime(mode, mtime):
    return struct.pack("<Hq", mode, mtime)


def values(path, label):
    lines = path.read_text().splitlines()
    return [line[len(label) + 1 :] for line in lines if line.startswith(label + " ")]


def check(what, got, want):
    if got != want:
        sys.exit(f"{what}: {got!r}, not {want!r}")


def check_node(path, kind, nodes):
    data = bytes.fromhex("".join(values(path, "node")))
    check(path.name + " id", node_id(kind, data).hex(), values(path, "id")[0])
    check(path.name, [n.hex() for _, n in nodes], [data.hex()])


def check_tree(path, kind, nodes):
    want = sorted(values(path, "node"))
    got = sorted(f"level {l} bytes {len(n)} id {node_id(kind, n).hex()}" for l, n in nodes)
    check(path.name, got, want)


def dir_all(empty):
    f1 = b"\1" + b"\xf1" * 32
    return [
        entry(b"\x01\xff", b"\1" + mode_mtime(0, -1)),
        entry(b"dir", b"\2" + mode_mtime(0o755, 1700000000123456789) + varint(0) + varint(0) + empty),
        entry(b"exec", b"\1" + mode_mtime(0o755, 1) + item(5, b"\xc1" * 32)),
        entry(
            b"holes",
            b"\1" + mode_mtime(0o600, 0) + item(65536, None) + item(131072, b"\xc2" * 32) + item(7, None),
        ),
        entry(b"large", b"\4" + mode_mtime(0o644, 0) + varint(68157440) + f1),
        entry(b"link", b"\3" + b"../dir"),
    ]


def dir_1000():
    return [
        entry(b"%06d" % i, b"\1" + mode_mtime(0o644, i * 10**9) + item(i + 1, bytes([i & 255]) * 32))
        for i in range(1000)
    ]


def file_list(count):
    rows = []
    for i in range(count):
        chunk = None if i % 8 == 7 else hashlib.sha256(b"\1" + struct.pack("<H", i)).digest()
        rows.append((item(65536, chunk), chunk or b"", b"", 65536))
    return rows


def causal_all():
    def device(n, index, new):
        return bytes([index]) + (bytes([n]) * 32 if new else b"")

    def eid(n):
        return bytes([n]) + bytes(15)

    sibling = b"\1" + mode_mtime(0o644, 0)
    return [
        entry(b"a", eid(1) + b"\0" + device(0xD1, 0, True) + varint(1)),
        entry(b"b", eid(2) + b"\1" + device(0xD2, 1, True) + varint(300) + device(0xD1, 0, False) + varint(2)),
        entry(b"c", eid(3) + b"\2" + device(0xD1, 0, False) + varint(3) + b"\1" + b"\xca" * 32),
        entry(
            b"d",
            eid(4) + b"\4" + device(0xD1, 0, False) + varint(4) + b"\1"
            + device(0xD3, 2, True) + varint(9) + varint(len(sibling)) + sibling,
        ),
    ]


def check_boundaries(path):
    for line in values(path, "level"):
        level, _, key, _, want = line.split()
        h = boundary_hash(int(level), bytes.fromhex(key))
        check("boundary of " + key, h * 12288 // 2**32 + 1, int(want))


def cut_units(chunks, unit_size):
    units, unit = [], None
    for c, length in enumerate(chunks):
        for leaf in range((length + 65535) // 65536):
            n = min(65536, length - leaf * 65536)
            if unit and (unit[3] + n > unit_size or unit[2] == 1024):
                units.append(unit)
                unit = None
            unit = unit or [c, leaf, 0, 0]
            unit[2] += 1
            unit[3] += n
    return units + [unit] if unit else units


def check_units(path):
    chunks = [int(x) for x in values(path, "chunks")[0].split()]
    want = {}
    for line in values(path, "size"):
        size, _, *unit = line.split()
        want.setdefault(int(size), []).append([int(x) for x in unit])
    for size in want:
        check(f"units of {size}", cut_units(chunks, size), want[size])


def check_commit(path):
    data = bytes.fromhex("".join(values(path, "commit")))
    check("commit id", node_id(COMMIT, data).hex(), values(path, "id")[0])

    def some(n):
        return b"\1" + bytes([n]) * 32

    body = b"\1" + some(0x51) + some(0x52) + varint(1) + some(0x53) + some(0x54)
    body += varint(7) + varint(600) + varint(2) + varint(500) + b"\2" + some(0x55) + some(0x56)
    # The author's key is the one thing that we take from the vector: it follows the vector of two devices.
    at = len(body) + 1 + 2 * 32 + len(varint(3)) + len(varint(300))
    key = data[at : at + 2 + data[at + 1]]
    author = hashlib.sha256(key[:1] + key[2:]).digest()
    body += varint(2)
    for device, seq in sorted([(author, 3), (b"\xd9" * 32, 300)]):
        body += device + varint(seq)
    label = "v1 \u2713".encode()
    body += key + varint(3) + struct.pack("<Q", 1700000000000 << 16) + bytes([len(label)]) + label
    check("commit body", data[: len(body)].hex(), body.hex())
    check("commit's tail", len(data) - len(body), 2 + data[len(body) + 1])


def main(root):
    empty = build(TREE, [])
    check_node(root / "dir-empty.txt", TREE, empty)
    check_node(root / "dir-all.txt", TREE, build(TREE, dir_all(node_id(TREE, empty[0][1]))))
    check_tree(root / "dir-1000.txt", TREE, build(TREE, dir_1000()))
    check_node(root / "list-65.txt", FILE, build(FILE, file_list(65)))
    check_tree(root / "list-3000.txt", FILE, build(FILE, file_list(3000)))
    check_node(root / "causal-all.txt", CAUSAL, build(CAUSAL, causal_all()))
    check_boundaries(root / "boundaries.txt")
    check_units(root / "units.txt")
    check_commit(root / "commit.txt")
    print("all vectors agree with the documents")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
