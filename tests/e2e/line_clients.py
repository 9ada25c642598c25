"""Clients of many makes that send lines and print what comes back."""

import os
import subprocess
from pathlib import Path

import clients
from conftest import need

PEERS = Path(__file__).parent / "peers"


def line_command(kind, here, version, folder):
    arguments = [str(here.port), str(here.root), clients.NAME, version]
    if kind == "openssl":
        return ["openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", f"127.0.0.1:{here.port}", "-servername",
                clients.NAME, "-CAfile", here.root, "-verify_return_error", f"-tls{version.replace('.', '_')}"]
    if kind == "gnutls":
        priority = "NORMAL:-VERS-ALL:+VERS-TLS" + version
        return [need("gnutls-cli"), "--x509cafile", here.root, "--sni-hostname", clients.NAME, "--verify-hostname",
                clients.NAME, "--priority", priority, "-p", str(here.port), "127.0.0.1"]
    if kind == "node":
        return [need("node"), PEERS / "line_client.js", *arguments]
    if kind == "java":
        return [need("java"), PEERS / "LineClient.java", *arguments]
    program = folder / "line_client"
    subprocess.run([need("go"), "build", "-o", program, PEERS / "line_client.go"], check=True, timeout=110,
                   env={**os.environ, "GO111MODULE": "off", "GOFLAGS": ""})
    return [program, *arguments]
