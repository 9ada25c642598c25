"""Real clients of many makes: each holds one session through ten certificate replacements and exchanges checked data before,
during and after them, while every new connection is shown the new certificate at once."""

import asyncio
import contextlib
import os
import queue
import re
import subprocess
import time

import pytest

import clients
import daemon
import servers
from conftest import need
from line_clients import line_command
from programs import running

REPLACEMENTS = 10
SERVED_WITHIN = 1.0  # the promise is 100 ms; a loaded build machine gets ten times that


def wait_served(shop, pair, **options):
    """Connects anew until the new certificate is shown; returns the seconds that took."""
    begin = time.monotonic()
    while shop.leaf(**options) != pair.fingerprint:
        assert time.monotonic() - begin < 10, "the new certificate is not served"
        time.sleep(0.005)
    return time.monotonic() - begin


def session_ids(shop):
    return {session["id"] for session in shop.edge.lines("sessions")}


def survive(shop, exchange, replacements=REPLACEMENTS):
    exchange("before")
    held = session_ids(shop)
    assert held
    took = []
    for number in range(replacements):
        pair = shop.replace()
        took.append(wait_served(shop, pair))
        exchange(f"during {number}")
    exchange("after")
    assert held <= session_ids(shop), "a session ended and was opened again"
    assert sorted(took)[len(took) // 2] < SERVED_WITHIN, took


@pytest.mark.parametrize("source", ["files", "managed"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_python(shop, version, source):
    here = shop(source=source)
    with here.client(version=version) as client:
        survive(here, client.exchange)


def test_python_rsa_beside_ecdsa(shop):
    """Replacing one key type leaves sessions of the other alone, and the other's certificate, too."""
    here = shop(key_types=("ecdsa", "rsa"))
    with here.client(version="1.2", ciphers="ECDHE-RSA-AES128-GCM-SHA256") as client:
        assert client.fingerprint() == here.pairs["rsa"].fingerprint
        survive(here, client.exchange, 3)
        pair = here.replace("rsa")
        wait_served(here, pair, version="1.2", ciphers="ECDHE-RSA-AES128-GCM-SHA256")
        assert here.leaf(version="1.2", ciphers="ECDHE-ECDSA-AES128-GCM-SHA256") == here.pairs["ecdsa"].fingerprint
        client.exchange("after")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("kind", ["openssl", "gnutls", "node", "java", "go"])
def test_line_client(shop, folder, kind, version):
    here = shop()
    with contextlib.closing(clients.LineProcess(line_command(kind, here, version, folder))) as client:
        survive(here, client.exchange)


def http_echo(connection):
    """Answers a chunked upload with a chunked response that returns each chunk as it comes."""
    _, rest = servers.read_head(connection)
    connection.socket.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        if rest:
            connection.socket.sendall(rest)  # a chunk is framed alike in both directions
        rest = connection.socket.recv(65536)
        if not rest:
            return


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl(shop, server, version):
    """A streamed upload and its streamed response stay one HTTP exchange on one connection."""
    here = shop(server(http_echo))
    command = [need("curl"), "--silent", "--show-error", "--no-buffer", "--http1.1", "--upload-file", ".", "--expect100-timeout",
               "0.1", "--cacert", here.root, f"--tlsv{version}", "--tls-max", version,
               "--resolve", f"{clients.NAME}:{here.port}:127.0.0.1", f"https://{clients.NAME}:{here.port}/echo"]
    with contextlib.closing(clients.LineProcess(command)) as client:
        survive(here, client.exchange)


class EventSource:
    """An HTTP server of server-sent events; publish() reaches every stream."""

    def __init__(self):
        self.streams = []

    def __call__(self, connection):
        servers.read_head(connection)
        connection.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n")
        mine = queue.Queue()
        self.streams.append(mine)
        while (text := mine.get()) is not None:
            connection.socket.sendall(f"data: {text}\n\n".encode())

    def publish(self, text):
        for stream in self.streams:
            stream.put(text)


def test_server_sent_events(shop, server):
    source = EventSource()
    here = shop(server(source))
    command = [need("curl"), "--silent", "--show-error", "--no-buffer", "--http1.1", "--cacert", here.root,
               "--resolve", f"{clients.NAME}:{here.port}:127.0.0.1", f"https://{clients.NAME}:{here.port}/events"]
    with contextlib.closing(clients.LineProcess(command)) as client:
        daemon.wait_until(lambda: source.streams)
        first = source.streams[0]

        def exchange(text):
            message = f"{text} {os.urandom(6).hex()}"
            first.put(message)
            client.wait_output(b"data: " + message.encode() + b"\n\n")

        survive(here, exchange)
        first.put(None)


def test_websocket(shop, server):
    websockets = pytest.importorskip("websockets", reason="python3-websockets is not installed")
    port = daemon.free_port()

    class Upstream:
        address = f"127.0.0.1:{port}"

    here = shop(Upstream)

    async def answer(socket, *_):
        async for message in socket:
            await socket.send(message)

    async def session():
        loop = asyncio.get_running_loop()
        async with websockets.serve(answer, "127.0.0.1", port):
            async with websockets.connect(f"wss://{clients.NAME}:{here.port}/chat", host="127.0.0.1", port=here.port,
                                          ssl=clients.context(here.root), server_hostname=clients.NAME, ping_interval=None) as socket:
                def exchange(text):
                    async def once():
                        message = f"{text} {os.urandom(6).hex()}"
                        await socket.send(message)
                        assert await asyncio.wait_for(socket.recv(), 20) == message
                    asyncio.run_coroutine_threadsafe(once(), loop).result(30)

                await loop.run_in_executor(None, survive, here, exchange)

    asyncio.run(session())


class At:
    """An upstream that some program serves."""

    def __init__(self):
        self.port = daemon.free_port()
        self.address = f"127.0.0.1:{self.port}"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_mqtt(shop, folder, version):
    """A subscriber and a publisher, both through the edge, to a mosquitto broker."""
    upstream = At()
    (folder / "mosquitto.conf").write_text(f"listener {upstream.port} 127.0.0.1\nallow_anonymous true\n")
    with running([need("mosquitto"), "-c", folder / "mosquitto.conf"], upstream.port):
        here = shop(upstream)
        common = ["-h", "localhost", "-p", str(here.port), "--cafile", str(here.root), "--insecure", "-t", "orders", "-q", "1",
                  "-k", "5", "--tls-version", f"tlsv{version}"]
        with contextlib.closing(clients.LineProcess(["stdbuf", "-oL", need("mosquitto_sub"), *common, "-d"])) as subscriber, \
             contextlib.closing(clients.LineProcess([need("mosquitto_pub"), *common, "-l"])) as publisher:
            subscriber.wait_output(b"Subscribed")

            def exchange(text):
                message = f"{text} {os.urandom(6).hex()}".encode()
                publisher.write(message + b"\n")
                subscriber.wait_output(message + b"\n")

            survive(here, exchange)


def test_redis(shop, folder):
    upstream = At()
    with running([need("redis-server"), "--port", upstream.port, "--bind", "127.0.0.1", "--save", "", "--dir", folder], upstream.port):
        here = shop(upstream)
        command = [need("redis-cli"), "-h", "127.0.0.1", "-p", str(here.port), "--tls", "--cacert", here.root, "--sni",
                   clients.NAME]
        with contextlib.closing(clients.LineProcess(command)) as client:
            survive(here, lambda text: redis_exchange(client, text))


def redis_exchange(client, text):
    value = f"{text} {os.urandom(6).hex()}"
    client.write(f'SET answer "{value}"\nGET answer\n'.encode())
    client.wait_output(value.encode())


DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/dovecot.log
protocols = imap
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{folder}/mail
mail_uid = {user}
mail_gid = {user}
first_valid_uid = 1
default_internal_user = dovecot
default_login_user = dovenull
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid={user} gid={user} home={folder}/mail
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""


def test_imap_idle(shop, folder):
    """A mail client that waits in IDLE (RFC 2177) is told of each new mail at once."""
    imaplib = pytest.importorskip("imaplib")
    if os.geteuid() != 0:
        pytest.skip("dovecot wants to be started as root")
    upstream = At()
    configuration = folder / "dovecot.conf"
    configuration.write_text(DOVECOT.format(folder=folder, port=upstream.port, user="mail"))
    for box in ("new", "cur", "tmp"):
        (folder / "mail" / box).mkdir(parents=True, exist_ok=True)
    subprocess.run(["chown", "-R", "mail:mail", folder / "mail"], check=True)
    with running([need("dovecot"), "-F", "-c", configuration], upstream.port):
        here = shop(upstream)
        here_context = clients.context(here.root)
        here_context.check_hostname = False
        with imaplib.IMAP4_SSL("127.0.0.1", here.port, ssl_context=here_context, timeout=30) as waiting, \
             imaplib.IMAP4_SSL("127.0.0.1", here.port, ssl_context=here_context, timeout=30) as sending:
            for client in (waiting, sending):
                client.login("visitor", "secret")
                client.select()
            waiting.send(b"i1 IDLE\r\n")
            assert waiting.readline().startswith(b"+ ")
            mails = iter(range(1, 1000))

            def exchange(text):
                sending.append("INBOX", None, None, f"Subject: {text}\r\n\r\nbody\r\n".encode())
                expected = next(mails)
                while not re.match(rb"\* %d EXISTS" % expected, line := waiting.readline()):
                    assert line.startswith(b"* "), line

            survive(here, exchange)
            waiting.send(b"DONE\r\n")
            while not waiting.readline().startswith(b"i1 OK"):
                pass
