"""A node that speaks weft/1 by itself, well or ill: written from docs/protocol.md and the format pages, not from the C code.

It can be anybody: a stranger, a device of which nobody has heard, or (with the key from a home) a member that lies.  It
builds and signs snapshots of its own.
"""
import base64
import hashlib
import importlib.util
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load_formats():
    """The second implementation of the manifest's format that checks the vectors."""
    at = ROOT / "tests" / "vectors" / "manifest" / "check.py"
    spec = importlib.util.spec_from_file_location("weft_formats", at)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


formats = load_formats()

HELLO, JOIN, JOINED, ERROR, PING, PONG, BYE, LEAVE, OK = range(1, 10)
STATEMENTS, CREATE_SHARE, RESOLVE, SNAPSHOT, ANNOUNCE, PROGRESS, QUERY, ROWS = range(32, 40)
GET_NODES, NODE, GET_UNITS, DATA, CANCEL, REPORT = range(64, 70)
ENTER, NEWS, EXIT, MEMBERS = range(96, 100)
OFFER, DECLINE, DIAL, CALL = 104, 105, 120, 121
END, MISSING = 1, 2
ANNOUNCED, HEAD, WITHDRAWN = 1, 2, 3
CODES = {2: "NOTFOUND", 4: "DENIED", 7: "PROTO", 8: "LIMIT"}
AGAIN, NOT_FOUND, DENIED, PROTO = 1, 2, 4, 7
LIMIT_S = 60


def u16(v):
    return struct.pack("<H", v)


def u32(v):
    return struct.pack("<I", v)


def u64(v):
    return struct.pack("<Q", v)


def encode(fields):
    return b"".join(u16(tag) + u32(len(b)) + b for tag, b in sorted(fields.items()))


def decode(payload):
    fields, at = {}, 0
    while at < len(payload):
        tag, n = struct.unpack_from("<HI", payload, at)
        fields[tag] = payload[at + 6:at + 6 + n]
        at += 6 + n
    return fields


def items(raw):
    out, at = [], 0
    while at < len(raw):
        n, = struct.unpack_from("<I", raw, at)
        out.append(raw[at + 4:at + 4 + n])
        at += 4 + n
    return out


class Closed(Exception):
    """The other side ended the connection."""


class Key:
    """A P-256 key in a PEM file, with a self-made certificate."""

    def __init__(self, directory, pem=None, curve="prime256v1"):
        directory = pathlib.Path(directory)
        directory.mkdir(exist_ok=True)
        self.pem = pathlib.Path(pem) if pem else directory / "key.pem"
        self.certificate = directory / "certificate.pem"
        if not pem:
            self.openssl("ecparam", "-name", curve, "-genkey", "-noout", "-out", self.pem)
        self.openssl("req", "-new", "-x509", "-key", self.pem, "-subj", "/CN=somebody", "-days", "2", "-out", self.certificate)
        point = self.openssl("ec", "-in", self.pem, "-pubout", "-conv_form", "compressed", "-outform", "DER")[-33:]
        self.public = b"\1" + bytes([33]) + point
        self.device = hashlib.sha256(b"\1" + point).digest()

    @staticmethod
    def openssl(*arguments, data=b""):
        r = subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, timeout=LIMIT_S)
        assert r.returncode == 0, r.stderr.decode()
        return r.stdout

    def sign(self, domain, body):
        """algorithm | length | r | s, s in the lower half."""
        der = self.openssl("dgst", "-sha256", "-sign", self.pem, data=b"\x09" + domain + b"\0" + body)
        r_len = der[3]
        r = int.from_bytes(der[4:4 + r_len], "big")
        s = int.from_bytes(der[6 + r_len:], "big")
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        s = min(s, order - s)
        return b"\1" + bytes([64]) + r.to_bytes(32, "big") + s.to_bytes(32, "big")


def context(key, server=False, alpn="weft/1"):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    if key is not None:
        c.load_cert_chain(key.certificate, key.pem)
    if alpn:
        c.set_alpn_protocols([alpn])
    return c


class Wire:
    """One connection.  Everything that arrives is kept in `heard`, to be searched for what must not be said."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(LIMIT_S)
        self.heard = b""
        self.rest = b""
        self.stream = 1
        self.pushed = []           # frames that nobody asked for
        self.serve = None          # answers what the server asks of us

    @classmethod
    def dial(cls, port, key, alpn="weft/1"):
        raw = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        return cls(context(key, alpn=alpn).wrap_socket(raw))

    def send(self, kind, payload=b"", stream=0, flags=0):
        if isinstance(payload, dict):
            payload = encode(payload)
        try:
            self.sock.sendall(struct.pack("<IHHI", len(payload), kind, flags, stream) + payload)
        except OSError as e:
            raise Closed(str(e)) from e

    def read(self, n):
        while len(self.rest) < n:
            try:
                b = self.sock.recv(65536)
            except OSError as e:
                raise Closed(str(e)) from e
            if not b:
                raise Closed("end")
            self.heard += b
            self.rest += b
        out, self.rest = self.rest[:n], self.rest[n:]
        return out

    def frame(self):
        n, kind, flags, stream = struct.unpack("<IHHI", self.read(12))
        return kind, flags, stream, self.read(n)

    def until_closed(self):
        """Reads to the end; gives the frames."""
        frames = []
        try:
            while True:
                frames.append(self.frame())
        except Closed:
            return frames

    def hello(self, wall_ms=None, more=None):
        """Greets; gives the other side's HELLO."""
        wall_ms = int(time.time() * 1000) if wall_ms is None else wall_ms
        self.send(HELLO, {1: u16(1), 2: u16(1), 3: b"stranger 1", 4: u64(wall_ms), **(more or {})})
        kind, _, _, payload = self.frame()
        assert kind == HELLO
        return decode(payload)

    def other(self, kind, flags, stream, payload):
        """A frame that is no answer of ours."""
        if kind == PING:
            self.send(PONG, payload)
        elif stream != 0 and self.serve is not None:
            self.serve(self, kind, stream, payload)
        else:
            self.pushed.append((kind, decode(payload)))

    def ask(self, kind, fields):
        """A request; gives the frames of its answer, as (type, flags, payload)."""
        stream, self.stream = self.stream, self.stream + 2
        self.send(kind, fields, stream)
        answer = []
        while True:
            got, flags, at, payload = self.frame()
            if at != stream:
                self.other(got, flags, at, payload)
                continue
            answer.append((got, flags, payload))
            if flags & END:
                return answer

    def ask_one(self, kind, fields):
        """A request with one frame as its answer: its type and fields."""
        (got, _, payload), = self.ask(kind, fields)
        return got, decode(payload)

    def wait_for(self, kind):
        """Serves until a frame of KIND is pushed; gives its fields."""
        while True:
            for i, (got, fields) in enumerate(self.pushed):
                if got == kind:
                    del self.pushed[i]
                    return fields
            self.other(*self.frame())

    def close(self):
        self.sock.close()


# -- snapshots of our own -------------------------------------------------------------------------------------------------

def object_id(kind, data):
    return b"\1" + hashlib.sha256(bytes([kind]) + data).digest()


def text_of(id_):
    return base64.b32encode(id_).decode().lower().rstrip("=").encode()


def leaves_of(data):
    return [hashlib.sha256(b"\0" + data[i:i + 65536]).digest() for i in range(0, len(data), 65536)]


def chunk_of(data):
    """The 32 bytes that name it; DATA is one chunk."""
    return hashlib.sha256(b"\1" + u64(len(data)) + b"".join(leaves_of(data))).digest()


def share_of(statement):
    """The id of the share that its first statement founds."""
    return object_id(7, statement[:-66])


class Snapshot:
    """One file of one chunk, as a snapshot by KEY in the share that STATEMENT founded."""

    def __init__(self, key, statement, name, chunk, length, parent=None, seq=1):
        f = formats
        value = b"\1" + f.mode_mtime(0o644, 0) + f.item(length, chunk)
        self.tree = bytes([1, 0, 1]) + f.entry(name, value)[0]
        dot = b"\0" + key.device + f.varint(seq)
        self.causal = bytes([1, 0, 1]) + f.entry(name, os.urandom(16) + b"\0" + dot)[0]
        self.share = share_of(statement)
        body = b"\1" + self.share + object_id(6, statement) + f.varint(0)
        body += object_id(2, self.tree) + object_id(4, self.causal)
        body += f.varint(1) + f.varint(length) + f.varint(1) + f.varint(length)
        body += b"\1" + parent if parent else b"\0"
        body += f.varint(1) + key.device + f.varint(seq)
        body += key.public + f.varint(seq) + u64(int(time.time() * 1000) << 16) + b"\0"
        self.commit = body + key.sign(b"weft commit 1", body)
        self.id = object_id(5, self.commit)
        self.nodes = {object_id(2, self.tree): self.tree, object_id(4, self.causal): self.causal, self.id: self.commit}
        self.asked_units = 0

    def serve(self, answer_unit):
        """A Wire.serve: nodes as they are; ANSWER_UNIT(wire, stream) for bytes."""
        def on_request(wire, kind, stream, payload):
            fields = decode(payload)
            if kind == GET_NODES:
                ids = [fields[4][i:i + 33] for i in range(0, len(fields[4]), 33)]
                for i, node in enumerate(ids):
                    flags = END if i + 1 == len(ids) else 0
                    data = self.nodes.get(node, b"")
                    wire.send(NODE, u16(i) + u16(0) + data, stream, flags | (0 if data else MISSING))
            elif kind == GET_UNITS:
                self.asked_units += 1
                answer_unit(wire, stream)
        return on_request


def unit_data(wire, stream, data):
    """Answers a request for the unit that is DATA, one chunk of at most one leaf."""
    wire.send(DATA, struct.pack("<IHHHH", 0, 0, 1, 0, 0) + data, stream, END)


def refuse_unit(wire, stream):
    wire.send(ERROR, {1: u16(NOT_FOUND), 2: b"it was here a moment ago"}, stream, END)


# -- swarms ---------------------------------------------------------------------------------------------------------------

HYBRID = 2


def runs(*pairs):
    """Runs of units, as (first, number)."""
    out, at = b"", 0
    for first, n in pairs:
        out += formats.varint(first - at) + formats.varint(n - 1)
        at = first + n
    return out


def enter(w, job, snapshot, unit_size, units, have=()):
    """Takes part, and says in the same breath what it holds."""
    fields = encode({1: u32(job), 2: snapshot.share, 3: snapshot.id, 4: u32(unit_size), 5: u32(units)})
    news = encode({1: u32(job), 4: runs(*have)}) if have else b""
    more = struct.pack("<IHHI", len(news), NEWS, 0, 0) + news if have else b""
    w.sock.sendall(struct.pack("<IHHI", len(fields), ENTER, 0, 0) + fields + more)


def places(fields):
    """What a MEMBERS says of where each is: site, rank, gateways, alone."""
    rows = [decode(row) for row in items(fields.get(4, b""))]
    return {row[1]: {"site": row.get(3, b"").decode(), "rank": row.get(5, b"\0")[0], "gateways": row.get(6, b"\0")[0],
                     "alone": row.get(7, b"\0")[0]} for row in rows}


def members(fields):
    """The device ids of a MEMBERS, with their addresses."""
    rows = [decode(row) for row in items(fields.get(4, b""))]
    return {row[1]: [a.decode() for a in items(row.get(4, b""))] for row in rows}


def left(fields):
    raw = fields.get(5, b"")
    return {raw[i:i + 32] for i in range(0, len(raw), 32)}


def leaf_data(wire, stream, data, leaf, lie=None):
    """Answers a request for unit LEAF of a snapshot that is one chunk, DATA, of several leaves: a unit each.

    LIE: bytes in place of the leaf's own."""
    lists = b"".join(leaves_of(data))
    head = struct.pack("<IHHHH", leaf, 0, 1, len(lists), 0)
    wire.send(DATA, head + lists + (lie or data[leaf * 65536:(leaf + 1) * 65536]), stream, END)
