"""Real servers that begin in clear and go over to TLS, each in a folder of its own and on a port of its own.

Each is a context manager that takes (pair, folder) and gives {scheme: port}."""

import contextlib
import os
import pwd
import shutil
import subprocess

import pytest

import daemon
from conftest import need
from programs import running

TLS_FILES = ("chain.pem", "key.pem")


def as_root():
    if os.geteuid() != 0:
        pytest.skip("needs root: the server changes its user")


def folder_for(user, folder, name):
    """A folder that this user owns and reaches."""
    path = folder / name
    path.mkdir(parents=True)
    shutil.chown(path, user)
    for parent in path.parents:
        if parent.owner() == pwd.getpwuid(os.geteuid()).pw_name and parent != parent.parent and str(parent) != "/tmp":
            parent.chmod(parent.stat().st_mode | 0o011)
    return path


def write_pair(pair, folder, owner=None):
    chain, key = folder / TLS_FILES[0], folder / TLS_FILES[1]
    chain.write_bytes(pair.chain_pem)
    key.write_bytes(pair.key_pem)
    key.chmod(0o600)
    if owner:
        shutil.chown(chain, owner)
        shutil.chown(key, owner)
    return chain, key


# ---- mail ----

POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {folder}/queue/postfix.log
maillog_file_prefixes = /
smtpd_tls_security_level = {level}
smtpd_tls_chain_files = {key}, {chain}
"""
POSTFIX_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
cleanup unix n - n - 0 cleanup
"""


@contextlib.contextmanager
def postfix(pair, folder, level="may"):
    as_root()
    program = need("postfix")
    home = folder_for("root", folder, "postfix")
    (home / "queue").mkdir()
    folder_for("postfix", home, "data")
    chain, key = write_pair(pair, home)
    port = daemon.free_port()
    values = {"folder": home, "port": port, "chain": chain, "key": key, "level": level}
    (home / "main.cf").write_text(POSTFIX_MAIN.format(**values))
    (home / "master.cf").write_text(POSTFIX_MASTER.format(**values))
    with running([program, "-c", home, "start-fg"], port, log=home / "queue/postfix.log",
                 stop=[program, "-c", home, "stop"]):
        yield {"smtp": port}


DOVECOT = """
log_path = {folder}/dovecot.log
base_dir = {folder}/run
state_dir = {folder}/run
protocols = imap pop3 lmtp sieve
ssl = yes
ssl_cert = <{chain}
ssl_key = <{key}
mail_location = maildir:{folder}/mail
first_valid_uid = 1
default_internal_user = dovecot
default_login_user = dovenull
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    address = 127.0.0.1
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service managesieve-login {{
  inet_listener sieve {{
    address = 127.0.0.1
    port = {sieve}
  }}
}}
"""


@contextlib.contextmanager
def dovecot(pair, folder):
    as_root()
    program = need("dovecot")
    for protocol in ("pop3", "lmtp", "managesieve"):
        if not os.path.exists(f"/usr/lib/dovecot/{protocol}"):
            pytest.skip(f"dovecot's {protocol} is not installed")
    home = folder_for("root", folder, "dovecot")
    chain, key = write_pair(pair, home)
    ports = {protocol: daemon.free_port() for protocol in ("imap", "pop3", "lmtp", "sieve")}
    configuration = home / "dovecot.conf"
    configuration.write_text(DOVECOT.format(folder=home, chain=chain, key=key, **ports))
    with running([program, "-F", "-c", configuration], *ports.values(), log=home / "dovecot.log"):
        yield ports


# ---- databases ----

@contextlib.contextmanager
def postgres(pair, folder, tls=True):
    as_root()
    binaries = sorted(filter(os.path.isdir, (f"/usr/lib/postgresql/{n}/bin" for n in range(11, 30))))
    if not binaries:
        pytest.skip("postgresql is not installed")
    home = folder_for("postgres", folder, "postgres")
    chain, key = write_pair(pair, home, "postgres")
    data, port = home / "data", daemon.free_port()
    subprocess.run([f"{binaries[-1]}/initdb", "-D", data, "--no-sync", "--auth=trust"], user="postgres", cwd=home,
                   check=True, capture_output=True)
    command = [f"{binaries[-1]}/postgres", "-D", data, "-p", port, "-k", home, "-c", "listen_addresses=127.0.0.1",
               "-c", "fsync=off"]
    if tls:
        command += ["-c", "ssl=on", "-c", f"ssl_cert_file={chain}", "-c", f"ssl_key_file={key}"]
    with running(command, port, user="postgres", cwd=home):
        yield {"postgres": port}


@contextlib.contextmanager
def mariadb(pair, folder):
    as_root()
    program = need("mariadbd")
    home = folder_for("nobody", folder, "mariadb")
    chain, key = write_pair(pair, home, "nobody")
    folder_for("nobody", home, "data")
    port = daemon.free_port()
    with running([program, "--no-defaults", "--user=nobody", f"--datadir={home}/data", "--skip-grant-tables",
                  "--skip-innodb", "--default-storage-engine=Aria", "--bind-address=127.0.0.1", f"--port={port}",
                  f"--socket={home}/socket", f"--pid-file={home}/pid", f"--ssl-cert={chain}", f"--ssl-key={key}"],
                 port):
        yield {"mysql": port}


# ---- others ----

@contextlib.contextmanager
def slapd(pair, folder):
    program = need("slapd")
    home = folder / "slapd"
    home.mkdir()
    chain, key = write_pair(pair, home)
    port = daemon.free_port()
    configuration = home / "slapd.conf"
    configuration.write_text(f"pidfile {home}/pid\nTLSCertificateFile {chain}\nTLSCertificateKeyFile {key}\n"
                             f"TLSCACertificateFile {chain}\n")
    with running([program, "-f", configuration, "-h", f"ldap://127.0.0.1:{port}/", "-d", "0"], port):
        yield {"ldap": port}


PROFTPD = """
ServerType standalone
DefaultAddress 127.0.0.1
Port {port}
User nobody
Group nogroup
PidFile {folder}/pid
ScoreboardFile {folder}/scoreboard
DelayEngine off
WtmpLog off
UseReverseDNS off
SystemLog {folder}/log
LoadModule mod_tls.c
TLSEngine on
TLSECCertificateFile {chain}
TLSECCertificateKeyFile {key}
TLSCertificateChainFile {folder}/issuers.pem
TLSLog {folder}/tls.log
"""


@contextlib.contextmanager
def proftpd(pair, folder):
    as_root()
    program = need("proftpd")
    if not os.path.exists("/usr/lib/proftpd/mod_tls.so"):
        pytest.skip("proftpd-mod-crypto is not installed")
    home = folder_for("root", folder, "proftpd")
    chain, key = write_pair(pair, home)
    (home / "issuers.pem").write_bytes(pair.chain_pem[len(pair.leaf_pem):])
    port = daemon.free_port()
    configuration = home / "proftpd.conf"
    configuration.write_text(PROFTPD.format(folder=home, port=port, chain=chain, key=key))
    with running([program, "-n", "-c", configuration], port, log=home / "log"):
        yield {"ftp": port}


PROSODY = """
run_as_root = true
data_path = "{folder}/data"
pidfile = "{folder}/pid"
log = {{ info = "{folder}/log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s} }}
s2s_ports = {{ {s2s} }}
component_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
modules_enabled = {{ "tls", "saslauth", "dialback" }}
VirtualHost "{name}"
    ssl = {{ certificate = "{chain}", key = "{key}" }}
"""


@contextlib.contextmanager
def prosody(pair, folder, name):
    as_root()
    program = need("prosody")
    home = folder_for("root", folder, "prosody")
    (home / "data").mkdir()
    chain, key = write_pair(pair, home)
    ports = {"xmpp-client": daemon.free_port(), "xmpp-server": daemon.free_port()}
    configuration = home / "prosody.cfg.lua"
    configuration.write_text(PROSODY.format(folder=home, chain=chain, key=key, name=name, c2s=ports["xmpp-client"],
                                            s2s=ports["xmpp-server"]))
    with running([program, "-F", "--config", configuration], *ports.values(), log=home / "log"):
        yield ports


@contextlib.contextmanager
def s_server(pair, folder, address):
    """`openssl s_server`, with TLS from the first byte, on this loopback address."""
    home = folder / "s_server"
    home.mkdir()
    chain, key = write_pair(pair, home)
    port = daemon.free_port()
    with running([need("openssl"), "s_server", "-www", "-accept", f"{address}:{port}", "-cert", chain, "-cert_chain", chain,
                  "-key", key], port, address=address):
        yield port
