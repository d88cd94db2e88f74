"""A minimal HTTP BitTorrent tracker: compact answers, everybody hears of everybody.

usage: bt_tracker.py PORT       a line for each announce on standard output
"""
import http.server
import socket
import struct
import sys
import urllib.parse

INTERVAL_S = 10


class Tracker(http.server.ThreadingHTTPServer):
    request_queue_size = 256

    def __init__(self, port):
        super().__init__(("", port), Handler)
        self.swarms = {}  # info hash -> {(address, port): bytes left}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query, encoding="latin-1")
        body = self.announce(query) if "info_hash" in query else b"d14:failure reason11:bad requeste"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def announce(self, query):
        me = (self.client_address[0], int(query["port"][0]))
        left, event = query.get("left", ["1"])[0], query.get("event", [""])[0]
        peers = self.server.swarms.setdefault(query["info_hash"][0], {})
        if event == "stopped":
            peers.pop(me, None)
        else:
            peers[me] = int(left)
        print(f"{me[0]} left={left} {event}", flush=True)
        others = b"".join(socket.inet_aton(a) + struct.pack(">H", p) for a, p in peers if (a, p) != me)
        done = sum(n == 0 for n in peers.values())
        return b"d8:completei%de10:incompletei%de8:intervali%de12:min intervali%de5:peers%d:%se" % (
            done, len(peers) - done, INTERVAL_S, INTERVAL_S, len(others), others)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    Tracker(int(sys.argv[1])).serve_forever()
