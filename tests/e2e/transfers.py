"""Large exchanges: both directions at once, every byte counted."""

import contextlib
import hashlib
import select
import ssl
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
sys.path.insert(0, str(PEERS))
from flood import blocks  # noqa: E402


@contextlib.contextmanager
def peer_process(script, *arguments):
    with subprocess.Popen([sys.executable, PEERS / script, *map(str, arguments)], stdout=subprocess.PIPE, text=True) as process:
        process.address = f"127.0.0.1:{int(process.stdout.readline())}"
        try:
            yield process
        finally:
            process.kill()


def exchange_at_once(client, size, seed):
    """Sends `size` bytes while receiving; returns the digests of both directions and the number received."""
    sent, received, count = hashlib.sha256(), hashlib.sha256(), 0
    connection = client.socket
    connection.setblocking(False)
    pieces = blocks(size, seed)
    piece, ended = next(pieces), False
    buffer = bytearray(1 << 17)
    view = memoryview(buffer)
    while piece is not None or not ended:
        idle = True
        try:
            while piece is not None:
                done = connection.send(piece)
                sent.update(piece[:done])
                piece = piece[done:] if done < len(piece) else next(pieces, None)
                idle = False
                if piece is None:
                    break
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        try:
            for _ in range(64):
                if ended:
                    break
                length = connection.recv_into(buffer)
                ended = length == 0
                received.update(view[:length])
                count += length
                idle = False
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        if idle:
            readable = [] if ended else [connection]
            select.select(readable, [connection] if piece is not None else [], [], 30)
    return sent.hexdigest(), received.hexdigest(), count
