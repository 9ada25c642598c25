"""A daemon whose configuration changes while it runs."""

import json

import clients
import daemon
from daemon import free_port


class House:
    """A daemon whose configuration a test writes again and again, piece by piece."""

    def __init__(self, start, folder, authority, server):
        self.authority, self.folder = authority, folder
        self.root = authority.root_path
        self.upstreams = {"app": [server().address]}
        self.ports = {"shop": free_port()}
        self.listener_options = {}
        self.upstream_options = {}
        self.listener_upstream = {}
        self.certificates = {clients.NAME: authority.issue(clients.NAME)}
        self.extra = ""
        for name, pair in self.certificates.items():
            pair.write(folder, name)
        self.edge = start(self.text())

    def text(self):
        parts = [self.extra]
        certificates = ", ".join(f'"{name}"' for name in self.certificates)
        for name, port in self.ports.items():
            parts.append(f"""
                listener "{name}" {{
                    bind = {{"127.0.0.1:{port}"}}
                    certificates = {{{certificates}}}
                    upstream = "{self.listener_upstream.get(name, "app")}"
                    {self.listener_options.get(name, "")}
                }}""")
        for name, places in self.upstreams.items():
            listed = ", ".join(f'"{place}"' for place in places)
            parts.append(f"""
                upstream "{name}" {{
                    servers = {{{listed}}}
                    {self.upstream_options.get(name, "")}
                }}""")
        for name in self.certificates:
            parts.append(f"""
                certificate "{name}" {{
                    names = {{"{name}"}}
                    from = files
                    chain = "{self.folder / name}.pem"
                    key = "{self.folder / name}.key"
                }}""")
        return "\n".join(parts)

    def write(self, text=None):
        self.edge.write_config(self.text() if text is None else text)

    # Not by the configuration, which may be broken.
    def run(self, *arguments, **options):
        return daemon.holdfast(*arguments, "--socket", self.edge.state_folder / "control.sock", **options)

    def lines(self, *arguments):
        return [json.loads(line) for line in self.run(*arguments, "--json").stdout.splitlines()]

    def json(self, *arguments):
        made, = self.lines(*arguments)
        return made

    def reload(self, *options, write=True, check=True):
        if write:
            self.write()
        result = self.run("reload", "--json", *options, check=check)
        return [json.loads(line) for line in result.stdout.splitlines()] if check else result

    def refused(self, *options, write=True, code=None, says=""):
        """The reload is refused with this text, on the terminal and in the log, and nothing has changed."""
        before, mark = self.json("status"), self.edge.mark()
        result = self.reload(*options, write=write, check=False)
        assert result.returncode != 0 if code is None else result.returncode == code, result
        assert says in result.stderr, result.stderr
        event = self.edge.wait_event("config-refused", since=mark)
        assert says in event["detail"] or len(event["detail"]) >= 134
        after = self.json("status")
        assert after["config_generation"] == before["config_generation"]
        for key in ("config", "config_source", "listeners", "servers"):
            assert _without_counts(after[key]) == _without_counts(before[key])
        with self.client() as client:
            client.exchange()
        return result

    def client(self, listener="shop", **options):
        return clients.Client(self.ports[listener], self.root, **options)

    def generations(self):
        return {process["config_generation"] for process in self.json("status")["processes"]
                if process["kind"] != "supervisor"}

    def pids(self):
        return {process["pid"] for process in self.json("status")["processes"]}


def _without_counts(value):
    if not isinstance(value, list):
        return value
    counts = ("sessions", "accepted", "connects", "handshakes_under_way", "refused", "connect_failures")
    return [{key: item[key] for key in item if key not in counts} for item in value]


def kinds(lines, kind):
    return [line for line in lines if line["kind"] == kind]
