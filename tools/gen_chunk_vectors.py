#!/usr/bin/env python3
"""Write tests/vectors/chunk/*.txt: a second implementation of docs/format-chunk.md, as plain as can be.

usage: gen_chunk_vectors.py DIR

A vector file names a content (see `contents`) and lists its chunks: length and id in hex.
"""
import hashlib, pathlib, struct, sys

LEAF, MIN, AVG, MAX = 65536, 65536, 262144, 1048576
BEFORE, AFTER = 0x5555555555000000, 0x5555555500000000
M64 = (1 << 64) - 1


def sha(b):
    return hashlib.sha256(b).digest()


GEAR = [int.from_bytes(sha(b"weft gear 1" + bytes([i]))[:8], "little") for i in range(256)]


def cut(b, start):
    """Length of the chunk of b that begins at start: tests one position after the other."""
    end = min(len(b) - start, MAX)
    if end < MIN:
        return end
    g = 0
    for p in range(MIN - 63, end + 1):  # p: length of the chunk if it were cut here
        g = ((g << 1) + GEAR[b[start + p - 1]]) & M64
        if p >= MIN and g & (BEFORE if p < AVG else AFTER) == 0:
            return p
    return end


def chunk_id(chunk):
    leaves = b"".join(sha(b"\0" + chunk[i : i + LEAF]) for i in range(0, len(chunk), LEAF))
    return b"\x01" + sha(b"\1" + struct.pack("<Q", len(chunk)) + leaves)


def xoshiro(seed, n):
    """n bytes of xoshiro256**, its words little-endian, its state from splitmix64."""
    s = []
    for _ in range(4):
        seed = (seed + 0x9E3779B97F4A7C15) & M64
        z = ((seed ^ seed >> 30) * 0xBF58476D1CE4E5B9) & M64
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & M64
        s.append(z ^ z >> 31)
    rotl = lambda x, k: (x << k | x >> (64 - k)) & M64
    out = bytearray()
    while len(out) < n:
        out += struct.pack("<Q", rotl(s[1] * 5 & M64, 7) * 9 & M64)
        t = s[1] << 17 & M64
        s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)
    return bytes(out[:n])


contents = {
    "random": [("random", 1, 4 << 20)],
    "small": [("random", 2, 1)],
    "minimum": [("random", 3, 65536)],
    "zeros": [("fill", 0, (3 << 20) + 5)],
    "mixed": [("random", 4, 700001), ("fill", 97, 1500000), ("random", 5, 900003)],
}
make = {"random": xoshiro, "fill": lambda byte, n: bytes([byte]) * n}

for name, parts in contents.items():
    data = b"".join(make[kind](arg, n) for kind, arg, n in parts)
    lines = [f"content {kind} {arg} {n}" for kind, arg, n in parts]
    at = 0
    while at < len(data):
        n = cut(data, at)
        lines.append(f"chunk {n} {chunk_id(data[at : at + n]).hex()}")
        at += n
    (pathlib.Path(sys.argv[1]) / f"{name}.txt").write_text("\n".join(lines) + "\n")
