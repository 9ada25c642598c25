"""The contestants: how each is configured and started, one worker each, TLS 1.3 on, everything else as it comes.

A contestant is a function (setup) -> argument list. It writes its configuration into setup.folder. All stay in the
foreground and bind loopback only.
"""

import os
import re
import subprocess
from dataclasses import dataclass


@dataclass
class Setup:
    folder: str         # its own, world-searchable, thrown away afterwards
    port: int           # to listen on
    upstream_port: int
    chain: str          # leaf and intermediate
    key: str
    combined: str       # chain and key in one file
    holdfast: str       # the program
    workers: int = 1
    ticket_key: str = ""  # file, for those that can have their ticket keys from one
    listener: str = ""    # more options of Holdfast's listener

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path


def nginx_frame(setup, blocks):
    user = "user root;" if os.geteuid() == 0 else ""
    modules = ""
    if os.path.exists("/usr/lib/nginx/modules/ngx_stream_module.so"):
        modules = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;"
    path = setup.write("nginx.conf", f"""
{modules}
{user}
daemon off;
worker_processes {setup.workers};
worker_rlimit_nofile 20000;
pid {setup.folder}/nginx.pid;
error_log {setup.folder}/error.log warn;
events {{ worker_connections 16384; }}
{blocks}
""")
    return ["nginx", "-e", f"{setup.folder}/error.log", "-p", setup.folder, "-c", path]


def nginx_tls(setup):
    return f"""
        ssl_certificate {setup.chain};
        ssl_certificate_key {setup.key};
        {f"ssl_session_ticket_key {setup.ticket_key};" if setup.ticket_key else ""}
        ssl_protocols TLSv1.2 TLSv1.3;"""


def nginx_stream(setup):
    return nginx_frame(setup, f"""
stream {{
    server {{
        listen 127.0.0.1:{setup.port} ssl backlog=4096;
        {nginx_tls(setup)}
        proxy_pass 127.0.0.1:{setup.upstream_port};
        proxy_timeout 600s;
    }}
}}""")


def nginx_http(setup):
    temporary = "\n".join(f"    {kind}_temp_path {setup.folder}/{kind};"
                          for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return nginx_frame(setup, f"""
http {{
{temporary}
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 100000000;
    proxy_max_temp_file_size 0;
    upstream app {{
        server 127.0.0.1:{setup.upstream_port};
        keepalive 64;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{setup.port} ssl backlog=4096;
        {nginx_tls(setup)}
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}""")


def haproxy(setup):
    ticket_keys = f"tls-ticket-keys {setup.ticket_key}" if setup.ticket_key else ""
    path = setup.write("haproxy.cfg", f"""
global
    nbthread {setup.workers}
    maxconn 8000
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend edge
    bind 127.0.0.1:{setup.port} ssl crt {setup.combined} {ticket_keys} backlog 4096
    default_backend app
backend app
    server one 127.0.0.1:{setup.upstream_port}
""")
    return ["haproxy", "-db", "-q", "-f", path]


def hitch(setup):
    user = 'user = "nobody"\ngroup = "nogroup"' if os.geteuid() == 0 else ""
    path = setup.write("hitch.conf", f"""
frontend = {{ host = "127.0.0.1" port = "{setup.port}" }}
backend = "[127.0.0.1]:{setup.upstream_port}"
pem-file = "{setup.combined}"
tls-protos = TLSv1.2 TLSv1.3
workers = 1
backlog = 4096
daemon = off
syslog = off
log-level = 0
{user}
""")
    return ["hitch", f"--config={path}"]


def stunnel(setup):
    path = setup.write("stunnel.conf", f"""
foreground = yes
pid =
syslog = no
debug = err
[edge]
accept = 127.0.0.1:{setup.port}
connect = 127.0.0.1:{setup.upstream_port}
cert = {setup.combined}
sslVersionMin = TLSv1.2
TIMEOUTclose = 1
""")
    return ["stunnel4", path]


def holdfast(setup):
    path = setup.write("holdfast.conf", f"""
state-folder = "{setup.folder}/state"
workers = {setup.workers}
drain-timeout = 1s
log-sessions = no

listener edge {{
    bind         = {{"127.0.0.1:{setup.port}"}}
    certificates = {{"localhost"}}
    upstream     = "app"
    {setup.listener}
}}
upstream app {{
    servers = {{"127.0.0.1:{setup.upstream_port}"}}
}}
certificate localhost {{
    names = {{"localhost"}}
    from  = files
    chain = "{setup.chain}"
    key   = "{setup.key}"
}}
""")
    return [setup.holdfast, "run", "-c", path]


@dataclass
class Contestant:
    name: str
    command: object
    version: list       # command that prints its version
    tcp_mode: bool      # carries bytes; nginx http also parses HTTP and keeps upstream connections
    ours: bool = False


CONTESTANTS = [
    Contestant("holdfast", holdfast, None, True, ours=True),
    Contestant("nginx-stream", nginx_stream, ["nginx", "-v"], True),
    Contestant("nginx-http", nginx_http, ["nginx", "-v"], False),
    Contestant("haproxy", haproxy, ["haproxy", "-v"], True),
    Contestant("hitch", hitch, ["hitch", "--version"], True),
    Contestant("stunnel", stunnel, ["stunnel4", "-version"], True),
]


def version_of(contestant, holdfast_program):
    command = contestant.version or [holdfast_program, "--version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    found = re.search(r"\d+\.\d+[\w.+~-]*", done.stdout + done.stderr)
    return found.group(0) if found else "?"
