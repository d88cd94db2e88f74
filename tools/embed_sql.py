#!/usr/bin/env python3
"""Write numbered SQL files as a C header.  usage: embed_sql.py NAME OUT FILE...

OUT defines `static const char *const NAME[]`, one string a file, in the order given: what db_migrate takes.
Comments and indentation stay behind.
"""
import re, sys

name, out, files = sys.argv[1], sys.argv[2], sys.argv[3:]
lines = [f"/* Made by tools/embed_sql.py. */", f"static const char *const {name}[] = {{"]
for path in files:
    lines.append("\t/* " + re.sub(r".*/", "", path) + " */")
    for line in open(path, encoding="utf-8"):
        line = re.sub(r"\s*--.*", "", line).strip()
        if line:
            lines.append('\t"' + line.replace("\\", "\\\\").replace('"', '\\"') + '\\n"')
    lines.append("\t,")
lines.append("};")
with open(out, "w", encoding="utf-8") as f:
    f.write("\n".join(lines) + "\n")
