"""Server programs of others that a test runs."""

import contextlib
import socket
import subprocess
import threading

import pytest

import daemon


def answers(port, address="127.0.0.1"):
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


@contextlib.contextmanager
def running(command, *ports, address="127.0.0.1", log=None, timeout=60, stop=None, **options):
    """The process from the moment that all its ports answer. What it says is read, so that it never waits for us, and told when
    it ends too early, with what stands in the file `log`; `stop`: a command that ends it."""
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, **options)
    said = []
    reader = threading.Thread(target=lambda: said.extend(process.stdout), daemon=True)
    reader.start()
    try:
        def ready():
            if process.poll() is not None:
                reader.join(5)
                text = b"".join(said).decode(errors="replace") + (log.read_text() if log and log.exists() else "")
                pytest.fail(f"{command[0]} ended: {text}")
            return all(answers(port, address) for port in ports)
        daemon.wait_until(ready, timeout, f"{command[0]} does not answer")
        yield process
    finally:
        if stop:
            subprocess.run(list(map(str, stop)), check=False, capture_output=True)
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)  # whatever it has left running may still hold the other end
        if not reader.is_alive():
            process.stdout.close()
