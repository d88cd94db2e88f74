"""Syncthing: one folder shared by the seed with all; every peer knows every other.

Peers stand by, connected, with the folder paused; the clock starts when it is unpaused.
"""
import http.client
import json
import os
import pathlib
import re
import time

from drivers import Driver, first_line

KEY = "lab"
MESH_S = 90  # for everybody to be connected with everybody


class Syncthing(Driver):
    name, needs = "syncthing", ("syncthing",)

    def __init__(self, *args):
        super().__init__(*args)
        self.conn, self.ids = {}, {}

    def version(self):
        return " ".join(first_line("syncthing", "--version").split()[:2])

    def prepare(self):
        hosts = self.hosts
        self.publish()
        self._generate()
        for h in hosts.hosts:
            self._configure(h)
        for h in hosts.hosts:
            self.proc[h] = hosts.spawn(h, ["syncthing", "serve", "--home", hosts.dir(h) + "/st", "--no-browser", "--no-restart"],
                                       env={"STNOUPGRADE": "1"})
        for h in hosts.hosts:
            hosts.wait_port(h, 8384, 60)
        hosts.wait_until("the seed's scan", lambda: self._get("seed", "/rest/db/status?folder=f").get("localBytes") == self.size)
        self._wait_for_mesh()
        for h in hosts.peers:
            self.conn[h] = self._connect(h)

    def _generate(self):
        """A key for everybody, which is who they are."""
        started = [self.hosts.spawn(h, ["syncthing", "generate", "--no-default-folder", "--skip-port-probing", "--home",
                                        self.hosts.dir(h) + "/st"]) for h in self.hosts.hosts]
        for p in started:
            p.wait()
        for h in self.hosts.hosts:
            config = pathlib.Path(self.hosts.dir(h), "st", "config.xml").read_text()
            self.ids[h] = re.search(r'<device id="([A-Z0-9-]{63})"', config).group(1)

    def _configure(self, host):
        d = self.hosts.dir(host)
        os.makedirs(d + "/share/.stfolder")
        seed = host == "seed"
        if seed:
            os.rename(d + "/data.bin", d + "/share/data.bin")
        shared = "".join(f'<device id="{i}"></device>' for i in self.ids.values())
        devices = "".join(
            f'<device id="{i}" name="{h}" compression="metadata" introducer="false"><address>tcp://{self.hosts.addr[h]}:22000'
            "</address><autoAcceptFolders>false</autoAcceptFolders></device>" for h, i in self.ids.items())
        pathlib.Path(d, "st", "config.xml").write_text(f"""<configuration version="36">
<folder id="f" label="f" path="{d}/share" type="{'sendonly' if seed else 'receiveonly'}" rescanIntervalS="10"
  fsWatcherEnabled="true" fsWatcherDelayS="1">{shared}<minDiskFree unit="%">0</minDiskFree>
  <paused>{'false' if seed else 'true'}</paused></folder>{devices}
<gui enabled="true" tls="false"><address>127.0.0.1:8384</address><apikey>{KEY}</apikey></gui>
<options><listenAddress>tcp://0.0.0.0:22000</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>
  <localAnnounceEnabled>true</localAnnounceEnabled><relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>
  <reconnectionIntervalS>5</reconnectionIntervalS><startBrowser>false</startBrowser><urAccepted>-1</urAccepted>
  <autoUpgradeIntervalH>0</autoUpgradeIntervalH><crashReportingEnabled>false</crashReportingEnabled>
  <setLowPriority>false</setLowPriority></options></configuration>""")

    def _wait_for_mesh(self):
        """All to all; or, when that takes too long, at least everybody to the seed."""
        end = time.monotonic() + MESH_S
        for h in self.hosts.hosts:
            while (n := self._connected(h)) < len(self.hosts.hosts) - 1 and time.monotonic() < end:
                time.sleep(0.2)
            if not n:
                raise RuntimeError(f"{h} has not reached the seed")

    def _connected(self, host):
        """How many others it is connected to; 0 if the seed is not among them."""
        c = self._get(host, "/rest/system/connections").get("connections", {})
        up = {d for d, v in c.items() if v["connected"]}
        return len(up) if host == "seed" or self.ids["seed"] in up else 0

    def _connect(self, host):
        with self.hosts.ns(host):
            c = http.client.HTTPConnection("127.0.0.1", 8384, timeout=20)
            c.connect()
        return c

    def _get(self, host, path):
        c = self._connect(host)
        c.request("GET", path, headers={"X-API-Key": KEY, "Connection": "close"})
        r = c.getresponse()
        body = r.read()
        return json.loads(body) if r.status == 200 else {}

    def fetch(self, peer):
        self.conn[peer].request("PATCH", "/rest/config/folders/f", '{"paused": false}',
                                {"X-API-Key": KEY, "Content-Type": "application/json"})

    def output(self, peer):
        return self.hosts.dir(peer) + "/share/data.bin"

    def done(self, peer):  # it has this name only when complete and verified
        return self.full(peer)

    def failed(self, peer):
        return self.proc[peer].poll() is not None
