"""DNS of the tests: a signed zone (Knot), and a resolver that vouches for it (Unbound)."""

import contextlib
import os
import pwd
import subprocess

import daemon
from conftest import need
from programs import running

ZONE = """$ORIGIN example.
$TTL 60
@ SOA ns admin 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
{records}
"""
KNOT = """
server:
  rundir: {folder}
  listen: 127.0.0.1@{port}
  user: {user}
database:
  storage: {folder}/db
log:
  - target: stderr
    any: info
zone:
  - domain: example
    storage: {folder}
    file: zone
    dnssec-signing: on
    zonefile-load: difference
    zonefile-sync: -1
    journal-content: all
"""
UNBOUND = """
server:
  interface: 127.0.0.1@{port}
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  do-daemonize: no
  do-not-query-localhost: no
  use-syslog: no
  trust-anchor: "{anchor}"
remote-control:
  control-enable: no
stub-zone:
  name: example
  stub-addr: 127.0.0.1@{authoritative}
"""


def signed_by(keymgr, folder):
    """The DS record of the zone's key, once Knot has made it."""
    result = subprocess.run([keymgr, "-c", folder / "knot.conf", "example", "ds"], capture_output=True, text=True,
                            check=False)
    return next((line for line in result.stdout.splitlines() if " 13 2 " in line), None)


@contextlib.contextmanager
def name_servers(folder, records):
    """A resolver that vouches for the zone `example`; gives its address."""
    knotd, keymgr, unbound = need("knotd"), need("keymgr"), need("unbound")
    home = folder / "dns"
    (home / "db").mkdir(parents=True)
    authoritative, port = daemon.free_port(), daemon.free_port()
    (home / "zone").write_text(ZONE.format(records=records))
    user = pwd.getpwuid(os.geteuid()).pw_name
    (home / "knot.conf").write_text(KNOT.format(folder=home, port=authoritative, user=user))
    with running([knotd, "-c", home / "knot.conf"], authoritative):
        anchor = daemon.wait_until(lambda: signed_by(keymgr, home), 30, "Knot made no key")
        (home / "unbound.conf").write_text(UNBOUND.format(folder=home, port=port, anchor=anchor,
                                                          authoritative=authoritative))
        with running([unbound, "-d", "-c", home / "unbound.conf"], port):
            yield f"127.0.0.1:{port}"
