"""How long may a key be used? The calculation against published numbers, and the live counters against what was sent."""

import json
import math

import pytest

from daemon import holdfast, wait_until

GIB = 1 << 30


def answer(*options):
    return json.loads(holdfast("keylife", "--json", *options).stdout)


def bound(report, name):
    found, = [row for row in report["bounds"] if row["bound"] == name]
    return found


@pytest.mark.parametrize("options, expected", [
    ((), 388e9),
    (("--probability", "2^-57", "--record-size", "1400"), 1.07e12),
    (("--probability", "2^-50", "--record-size", "100"), 8.6e12),
    (("--cipher", "TLS_AES_128_CCM_SHA256"), 137e9),
    (("--cipher", "3des-cbc", "--probability", "2^-20"), 47e6),
    (("--fleet-volume", "39.4PB", "--probability", "2^-50"), 982e6),
])
def test_published_numbers(options, expected):
    assert answer(*options)["bytes"] == pytest.approx(expected, rel=0.01)


def test_time_at_a_rate():
    assert answer("--rate", "1Gbit/s")["seconds"] == pytest.approx(52 * 60, rel=0.01)
    assert answer("--rate", "10Gbit/s")["seconds"] == pytest.approx(5.2 * 60, rel=0.01)
    assert "which is after 5.17 min" in holdfast("keylife", "--rate", "10Gbit/s").stdout


def test_what_is_told_of_aes_and_of_64_bit_blocks():
    """250 billions of gigabytes: 256 times 2^30 GiB, where equal blocks become likely; 32 GiB for blocks of 64 bits."""
    assert bound(answer(), "block-collision")["bytes"] == 256 * GIB * GIB
    assert bound(answer("--block-bits", "64"), "block-collision")["bytes"] == 32 * GIB
    assert bound(answer("--cipher", "3des-cbc"), "block-collision")["bytes"] == 32 * GIB
    assert "295 EB (256 EiB)" in holdfast("keylife").stdout


def test_part_of_the_sequence_number():
    report = answer()
    wrap = bound(report, "sequence-number")
    assert wrap["records"] == 2 ** 64 and not wrap["decides"] and "play no part" in report["sequence_number"]
    assert math.log2(wrap["records"] / bound(report, "confidentiality")["records"]) == pytest.approx(39.5, abs=0.01)
    report = answer("--sequence-bits", "16")
    assert report["decides"] == "sequence-number" and report["bytes"] == 2 ** 16 * 16384
    assert bound(answer("--sequence-bits", "32"), "sequence-number")["bytes"] == 2 ** 32 * 16384


def test_volume_counts_keys():
    assert answer("--volume", "5TB")["keys"] == 13
    assert answer("--volume", "1k")["keys"] == 1


def test_chacha_has_no_bound_but_the_sequence_number():
    report = answer("--cipher", "chacha20-poly1305", "--rate", "1Gbit/s")
    assert bound(report, "confidentiality")["bytes"] is None
    assert report["decides"] == "sequence-number" and report["renewed_here_bytes"] is None


def test_tls_version_decides_how():
    assert "KeyUpdate" in answer()["renewal"] and "renegotiation" in answer("--tls", "1.2")["renewal"]
    assert bound(answer("--tls", "1.2"), "sequence-number")["source"] == "RFC 5246 6.1"


@pytest.mark.parametrize("options, words", [
    (("--cipher", "rot13"), 'found "rot13"; expected aes-128-gcm'),
    (("--record-size", "64k"), "expected from 1 byte to 16k"),
    (("--rate", "10Gb/s"), 'found "10Gb/s"; expected a rate'),
    (("--volume", "-5"), "expected an amount of data"),
    (("--probability", "2"), "expected a probability"),
    (("--tls", "1.1"), 'found "1.1"; expected 1.2 or 1.3'),
    (("--sequence-bits", "7"), "expected bits from 8 to 128"),
    (("--block-bits", "many"), "expected bits from 16 to 256"),
    (("--rate", "1MB/s", "--volume", "1MB"), "expected one of them"),
    (("--cipher", "3des-cbc", "--tls", "1.3"), "no CBC suites"),
    (("--cipher", "chacha20-poly1305", "--block-bits", "64"), "no block cipher"),
    (("--clients", "--rate", "1MB/s"), "takes none of them"),
    (("surplus",), "takes no argument"),
])
def test_bad_input(options, words):
    result = holdfast("keylife", *options, check=False)
    assert result.returncode == 2 and words in result.stderr, result.stderr


def test_clients():
    rows = [json.loads(line) for line in holdfast("keylife", "--clients", "--json").stdout.splitlines()]
    families = {row["family"]: row for row in rows}
    assert "2^37 bytes" in families["Java"]["renews"] and "never" in families["OpenSSL"]["renews"]
    assert all(row["source"] and row["as_of"] and row["evidence"] in ("measured", "reported") for row in rows)
    assert "mbedTLS" in holdfast("keylife", "--clients").stdout


def test_live_counters(shop):
    here = shop()
    assert "no TLS session is open" in here.edge.run("keylife", "--listener", "shop").stdout
    with here.client(version="1.3", suites="TLS_AES_256_GCM_SHA384") as idle, \
            here.client(version="1.3", suites="TLS_AES_256_GCM_SHA384") as busy, \
            here.client(version="1.2", ciphers="ECDHE-ECDSA-CHACHA20-POLY1305") as other:
        idle.exchange()
        other.exchange()
        for _ in range(20):
            busy.exchange("x" * 10000)
        rows = wait_until(lambda: usage(here, "TLSv1.3", lambda row: row["bytes"] >= 200000))
        assert rows["sessions"] == 2 and rows["records"] >= 20
        assert 200000 <= rows["bytes"] < 300000
        assert rows["limit"] == "records" and rows["used"] == pytest.approx(rows["records"] / 2 ** 25) and rows["seconds_left"] > 0
        busy_id = rows["session"]
        assert busy_id in here.edge.run("keylife", "--listener", "shop").stdout
        chacha = usage(here, "TLSv1.2", lambda row: True)
        assert chacha["suite"] == "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
        assert chacha["sessions"] == 1 and chacha["limit"] == "records"
    refused = here.edge.run("keylife", "--listener", "nowhere", check=False)
    assert refused.returncode == 2 and 'no listener "nowhere"' in refused.stderr


def test_live_counters_against_the_limits_of_the_listener(shop):
    here = shop(listener="traffic-key-bytes = 1m\n traffic-key-records = none")
    with here.client(version="1.3", suites="TLS_AES_256_GCM_SHA384") as client, \
            here.client(version="1.2", ciphers="ECDHE-ECDSA-CHACHA20-POLY1305") as other:
        client.exchange("x" * 200000)
        row = wait_until(lambda: usage(here, "TLSv1.3", lambda row: row["bytes"] >= 200000))
        assert row["limit"] == "bytes" and row["used"] == pytest.approx(row["bytes"] / 2 ** 21)
        ahead = 1 / row["used"] - 1  # in times of the age so far, of which less than a millisecond was cut off
        assert ahead * row["age_ms"] - 1e-6 <= row["seconds_left"] * 1000 <= ahead * (row["age_ms"] + 1) + 1e-6
        other.exchange()
        table = here.edge.run("keylife", "--listener", "shop").stdout
        assert "bytes" in table and "LIMIT IN" in table


def test_live_counters_without_a_limit(shop):
    here = shop(listener="traffic-key-records = none")
    with here.client(version="1.3", suites="TLS_CHACHA20_POLY1305_SHA256") as client:
        client.exchange()
        row = wait_until(lambda: usage(here, "TLSv1.3", lambda row: row["records"] > 0))
        assert row["used"] is None and row["limit"] is None and row["seconds_left"] is None
        assert "no limit" in here.edge.run("keylife", "--listener", "shop").stdout


def usage(here, version, passes):
    found = [row for row in here.edge.lines("keylife", "--listener", "shop") if row["version"] == version and passes(row)]
    return found[0] if found else None
