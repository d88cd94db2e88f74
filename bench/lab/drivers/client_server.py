"""Client and server: nginx and curl in clear and over TLS, the rsync daemon."""
import os
import pathlib
import shutil

from drivers import Driver, first_line


class Nginx(Driver):
    """In clear, with sendfile; curl stores the file and does not look at it."""
    name, needs = "nginx", ("nginx", "curl")
    scheme, port, listen = "http", 80, "listen 80;"

    def version(self):
        return first_line("nginx", "-v").split(": ")[-1] + ", " + " ".join(first_line("curl", "--version").split()[:2])

    def prepare(self):
        self.publish()
        d = self.hosts.dir("seed")
        pathlib.Path(d, "nginx.conf").write_text(f"""user root; worker_processes auto; pid {d}/nginx.pid;
error_log {d}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path {d}/a; proxy_temp_path {d}/b; fastcgi_temp_path {d}/c; uwsgi_temp_path {d}/d; scgi_temp_path {d}/e;
  server {{ {self.listen} root {d}; }} }}
""")
        self.hosts.spawn("seed", ["nginx", "-c", d + "/nginx.conf", "-p", d, "-g", "daemon off;"])
        self.hosts.wait_port("seed", self.port)

    def url(self):
        return f"{self.scheme}://{self.hosts.addr['seed']}/data.bin"

    def fetch(self, peer):
        self.proc[peer] = self.hosts.spawn(peer, ["curl", "-sSf", "-o", self.output(peer), self.url()])


class NginxTls(Nginx):
    """What Weft does, of common parts: encrypted (TLS 1.3), stored, verified (sha256) and durable (fsync of the file)."""
    name, needs = "nginx-tls", ("nginx", "curl", "openssl", "sha256sum")
    scheme, port = "https", 443
    digest = "sha256sum"

    def prepare(self):
        d = self.hosts.dir("seed")
        self.hosts.run("seed", ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                                "-days", "2", "-subj", "/CN=seed", "-addext", f"subjectAltName=IP:{self.hosts.addr['seed']}",
                                "-keyout", d + "/key.pem", "-out", d + "/cert.pem"])
        self.listen = f"listen 443 ssl; ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem; ssl_protocols TLSv1.3;"
        super().prepare()

    def fetch(self, peer):
        out = self.output(peer)
        script = f"set -e; curl -sSf --cacert {self.hosts.dir('seed')}/cert.pem {self.url()} | tee {out} | {self.digest}; sync {out}"
        self.proc[peer] = self.hosts.spawn(peer, ["sh", "-c", script])


class NginxTlsOpenssl(NginxTls):
    """The same with a digest that uses the CPU's SHA instructions (Debian's sha256sum does not)."""
    name, needs = "nginx-tls-openssl", ("nginx", "curl", "openssl")
    digest = "openssl dgst -sha256"


RSYNC_PORT = 8730


class Rsync(Driver):
    """The daemon, in clear.  The client stores what it gets and does not sync it."""
    name, needs, trees = "rsync", ("rsync",), True
    options = ("-a",)

    def version(self):
        return " ".join(first_line("rsync", "--version").split()[:3])

    def prepare(self):
        """A daemon whose module `m` is the folder with the data."""
        d = self.hosts.dir("seed")
        folder = self.data.path if self.data.is_tree else os.path.dirname(self.publish())
        pathlib.Path(d, "rsyncd.conf").write_text(
            f"use chroot = no\nuid = root\ngid = root\nlock file = {d}/lock\nmax connections = 100\nreverse lookup = no\n"
            f"[m]\npath = {folder}\nread only = yes\n")
        self.hosts.spawn("seed", ["rsync", "--daemon", "--no-detach", f"--port={RSYNC_PORT}", "--config=" + d + "/rsyncd.conf"])
        self.hosts.wait_port("seed", RSYNC_PORT)
        for p in self.hosts.peers if self.data.base else ():
            shutil.copytree(self.data.base, self.output(p))

    def output(self, peer):
        return os.path.join(self.hosts.dir(peer), "tree") if self.data.is_tree else super().output(peer)

    def fetch(self, peer):
        source = f"rsync://{self.hosts.addr['seed']}:{RSYNC_PORT}/m/" + ("" if self.data.is_tree else "data.bin")
        self.proc[peer] = self.hosts.spawn(peer, ["rsync", *self.options, "--delete", source, self.output(peer)])


class RsyncCompressed(Rsync):
    """With -z, as one would over a slow line."""
    name, options = "rsync-z", ("-a", "-z")
