"""The HTTP of the daemon as a monitoring system asks it: pages, and metrics in the form that Prometheus reads."""

import re
import urllib.error
import urllib.request


def get(port, path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metrics(port):
    status, text = get(port, "/metrics")
    assert status == 200
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(?:[a-z_]+="(?:[^"\\]|\\[\\"n])*",?)*\})?) (\S+)', line)
            assert match, line
            assert match[1] not in samples, f"twice: {match[1]}"
            samples[match[1]] = float(match[2])
    return samples
