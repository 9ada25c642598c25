"""flood.py SIZE SEED: accepts one connection, sends SIZE bytes and receives SIZE bytes at the same time, with random write and read
sizes; prints its port first and the digests of both directions at the end."""

import hashlib
import json
import random
import socket
import sys
import threading

BLOCK = (16 << 20) + 13


def blocks(size, seed):
    """`size` bytes made from `seed`, as memoryviews of random sizes."""
    dice = random.Random(seed)
    block = memoryview(dice.randbytes(min(BLOCK, size)) * 2)
    at = 0
    while at < size:
        length = min(dice.choice((1, 17, 1400, 16384, 16385, 70000, 262144, 1 << 20)), size - at)
        start = at % (len(block) // 2)
        piece = block[start:start + min(length, len(block) - start)]
        yield piece
        at += len(piece)


def send(connection, size, seed, digest):
    for piece in blocks(size, seed):
        digest.update(piece)
        connection.sendall(piece)
    connection.shutdown(socket.SHUT_WR)


def main():
    size, seed = int(sys.argv[1]), int(sys.argv[2])
    sent, received = hashlib.sha256(), hashlib.sha256()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
    sender = threading.Thread(target=send, args=(connection, size, seed, sent))
    sender.start()
    buffer, count = memoryview(bytearray(1 << 19)), 0
    while length := connection.recv_into(buffer):
        received.update(buffer[:length])
        count += length
    sender.join()
    print(json.dumps({"sent": sent.hexdigest(), "received": received.hexdigest(), "count": count}), flush=True)


if __name__ == "__main__":
    main()
