#!/usr/bin/env python3
"""Write the gear table of the chunker (docs/format-chunk.md).

usage: gen_gear.py > src/chunk/gen/gear.h

gear[i] is the first 8 bytes, little-endian, of SHA-256("weft gear 1" followed by the byte i).
"""
import hashlib

SEED = b"weft gear 1"

hashes = [hashlib.sha256(SEED + bytes([i])).digest() for i in range(256)]
gear = [int.from_bytes(h[:8], "little") for h in hashes]

print("/* Made by tools/gen_gear.py; fixed for ever by docs/format-chunk.md. */")
print("#pragma once\n")
print("#include <stdint.h>\n")
print("static const uint64_t GEAR[256] = {")
for i in range(0, 256, 4):
    print("\t" + " ".join(f"0x{v:016x}," for v in gear[i : i + 4]))
print("};")
