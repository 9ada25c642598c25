"""Alerts of the watch: who is told, once, what becomes of messages that cannot be delivered, and what people do about them."""

import datetime
import hashlib
import hmac
import json
import os
import signal
import ssl

import pytest

from daemon import free_port, holdfast, wait_until
from receivers import Mailbox, Receiver


@pytest.fixture
def receiver():
    made = []

    def make():
        made.append(Receiver())
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def secret(folder):
    """secret(name, text) → path of a file that nobody but root may read."""

    def make(name, text):
        path = folder / name
        path.write_text(text + "\n")
        path.chmod(0o600)
        return path

    return make


def watching(port, channels, rest="", watch=""):
    """A configuration that watches a port of loopback where nobody listens."""
    return (f'alert-channels = {{{", ".join(f"{chr(34)}{name}{chr(34)}" for name in channels)}}}\nalert-open-after = 1\n'
            f"alert-close-after = 1\nworkers = none\n{rest}\n"
            f'watch shop {{\n    targets = {{"127.0.0.1:{port}"}}\n    interval = 1s\n    timeout = 2s\n    owner = "web"\n'
            f"    {watch}\n}}\n")


def open_alert(edge):
    """The one alert that is open."""
    wait_until(lambda: edge.lines("alerts"), 30, "no alert opens")
    one, = edge.lines("alerts")
    return one


def delivered(edge, channel):
    return [one for one in edge.lines("alerts", "deliveries") if one["channel"] == channel and one["state"] == "delivered"]


def test_help_and_wrong_words(start, receiver):
    assert "acknowledge" in holdfast("alerts", "--help").stdout
    hook = receiver()
    edge = start(watching(free_port(), ["hook"], f'channel hook {{ type = webhook url = "{hook.url}" }}'))
    for words, text in ((["nonsense"], "expected nothing"), (["acknowledge", "x"], "x"), (["acknowledge", "77"], "no alert of number"),
                        (["silence", "--for", "1h"], "what the silence is to hold for"), (["silence", "--owner", "web"], "an end"),
                        (["unsilence", "s99"], "no silence of this id"), (["test", "nobody"], "no channel of this name")):
        refused = edge.run("alerts", *words, check=False)
        assert refused.returncode == 2 and text in refused.stderr, refused


def test_webhook_signed_and_recovered(start, receiver, secret, authority, server, folder, store):
    """Opened once, told once, recovered: in the shape of Alertmanager, signed."""
    hook, port = receiver(), free_port()
    key = secret("hook.key", "the key of the hook")
    edge = start(watching(port, ["hook"], f'channel hook {{ type = webhook url = "{hook.url}/alerts" secret-file = "{key}" }}',
                          f'stores = {{"{store}"}} name = "shop.example"'))
    (path, headers, body), = hook.wait()
    assert path == "/alerts"
    expected = hmac.new(b"the key of the hook", body, hashlib.sha256).hexdigest()
    assert headers["X-Holdfast-Signature"] == f"sha256={expected}"
    told = json.loads(body)
    assert (told["version"], told["status"], told["receiver"]) == ("4", "firing", "hook")
    one, = told["alerts"]
    assert one["labels"]["instance"] == f"127.0.0.1:{port}" and one["labels"]["owner"] == "web"
    assert one["labels"]["severity"] == "critical" and one["startsAt"] > "20" and one["endsAt"].startswith("0001")
    assert "refused" in one["annotations"]["summary"]

    pair = authority.issue("shop.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(folder))
    server(lambda connection: connection.socket.recv(1), address=("127.0.0.1", port), tls=context)
    recovered = hook.bodies(2)[1]
    assert recovered["status"] == "resolved" and recovered["alerts"][0]["endsAt"] > "20"
    assert recovered["alerts"][0]["fingerprint"] == one["fingerprint"]
    assert recovered["alerts"][0]["labels"] == one["labels"]
    edge.wait_event("alert-recovered")
    assert not edge.lines("alerts")
    assert "the key of the hook" not in edge.errors() + json.dumps(edge.events, default=str)
    assert len(hook.requests) == 2


def test_acknowledge_and_silence(start, receiver):
    hook = receiver()
    edge = start(watching(free_port(), ["hook"], f'channel hook {{ type = webhook url = "{hook.url}" }}'))
    number = open_alert(edge)["number"]
    hook.wait()
    assert f"alert {number} is acknowledged" in edge.run("alerts", "acknowledge", number, "--comment", "on it").stdout
    alert = edge.json("alerts")
    assert alert["comment"] == "on it" and alert["acknowledged_by"] and alert["acknowledged_at"]
    silence = edge.json("alerts", "silence", "--target", "127.0.0.1", "--for", "2h", "--comment", "moving")
    assert edge.json("alerts")["silenced"]
    assert edge.json("alerts", "silences")["id"] == silence["id"]
    assert edge.json("status")["alerts"]["silenced"] == 1
    assert "silenced" in edge.run("alerts").stdout
    assert edge.run("alerts", "unsilence", silence["id"]).stdout == f"silence {silence['id']} has ended\n"
    assert not edge.lines("alerts", "silences") and not edge.json("alerts")["silenced"]


def test_gravest_first(start, authority, server, folder, store):
    """The list begins with what is critical, and of that with the oldest."""
    pair = authority.issue("shop.example", lifetime=datetime.timedelta(days=1, hours=2))  # a day of it is over
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(folder))
    soon = server(lambda connection: connection.socket.recv(1), tls=context)
    refused = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    edge = start(watching(free_port(), [], watch=f'stores = {{"{store}"}}\n    name = "shop.example"')
                 .replace("targets = {", f'targets = {{"{soon.address}", ' + "".join(f'"{one}", ' for one in refused)))
    wait_until(lambda: len(edge.lines("alerts")) == 5, 30, "not all alerts open")
    alerts = edge.lines("alerts")
    assert [alert["severity"] for alert in alerts] == 4 * ["critical"] + ["warning"]
    numbers = [alert["number"] for alert in alerts]
    assert numbers[:4] == sorted(numbers[:4])


def test_no_longer_watched(start):
    """An alert of a target that the configuration lost while nothing ran does not stay open."""
    edge = start(watching(free_port(), []))
    open_alert(edge)
    edge.stop()
    edge.write_config(watching(free_port(), [], watch="renewal = manual").replace("interval = 1s", "interval = 30d")
                      .replace("alert-open-after = 1", "alert-open-after = 9"))
    edge.start()
    wait_until(lambda: edge.run("alerts", check=False).returncode == 0, 30, "control does not answer")
    assert not edge.lines("alerts")
    assert [alert["state"] for alert in edge.lines("alerts", "--all")].count("closed") == 1


def test_silence_tells_later(start, receiver):
    """What is still true when the silence ends is told then; the silence outlives a restart of control."""
    hook = receiver()
    edge = start(watching(free_port(), ["hook"], f'channel hook {{ type = webhook url = "{hook.url}" }}', "interval = 30d")
                 .replace("interval = 1s\n", "").replace("alert-open-after = 1", "alert-open-after = 2"))
    wait_until(lambda: edge.json("status")["watch"]["checks"] == 1, 30, "the first check does not come")
    silence = edge.json("alerts", "silence", "--owner", "web", "--for", "1h")
    edge.run("watch", "check", check=False)
    assert open_alert(edge)["silenced"]
    control, = edge.workers("control")
    edge.tolerated = ("killed",)
    os.kill(control, signal.SIGKILL)
    wait_until(lambda: edge.run("alerts", "silences", check=False).stdout.count(silence["id"]), 30, "the silence is lost")
    assert not hook.requests
    edge.run("alerts", "unsilence", silence["id"])
    hook.wait()


def test_maintenance(start, receiver):
    hook = receiver()
    edge = start(watching(free_port(), ["hook"], f'channel hook {{ type = webhook url = "{hook.url}" }}\n'
                          'maintenance now { when = {"daily 00:00-12:00", "daily 12:00-00:00"} targets = "127.*" }'))
    assert open_alert(edge)["silenced"]
    assert not hook.requests and not edge.lines("alerts", "deliveries")


def test_routes_and_one_dead_channel(start, receiver, folder):
    """Routes by owner; a channel that fails hinders no other, and is said to fail."""
    first, second = receiver(), receiver()
    edge = start(watching(free_port(), ["default"],
                          f'channel default {{ type = webhook url = "{first.url}" }}\n'
                          f'channel web {{ type = webhook url = "{second.url}" }}\n'
                          f'channel dead {{ type = webhook url = "http://127.0.0.1:{free_port()}" }}\n'
                          'alert-route web { owners = web channels = {"dead", "web"} }\n'
                          'alert-route other { owners = mail channels = default }'))
    second.wait()
    edge.wait_event("delivery-failing", detail=lambda text: text.startswith("channel dead"))
    assert not first.requests
    assert delivered(edge, "web")
    waiting, = [one for one in edge.lines("alerts", "deliveries") if one["channel"] == "dead"]
    assert waiting["state"] == "waiting" and waiting["attempts"] == 1 and waiting["reason"]
    assert edge.json("status")["alerts"]["deliveries_waiting"] == 1
    assert set(edge.json("alerts")["channels"]) == {"dead", "web"}


def test_delivery_outlives_control(start, receiver):
    """Control is killed while a webhook hangs: the message is delivered all the same."""
    hook = receiver()
    hook.hangs.set()
    edge = start(watching(free_port(), ["hook"], f'channel hook {{ type = webhook url = "{hook.url}" timeout = 60s }}'))
    hook.wait()
    wait_until(lambda: edge.json("status")["watch"]["store"]["waiting"] == 0, 10, "the store is not written")
    control, = edge.workers("control")
    edge.tolerated = ("killed",)
    hook.hangs.clear()
    os.kill(control, signal.SIGKILL)
    hook.wait(2)
    wait_until(lambda: edge.run("alerts", "deliveries", check=False).stdout.count("delivered"), 30, "not delivered")
    assert len(edge.lines("alerts")) == 1  # and the alert did not open again
    assert len(edge.events_named("alert-opened")) == 1


def test_webhook_that_hangs(start, receiver):
    hook = receiver()
    hook.hangs.set()
    edge = start(watching(free_port(), ["hook"], f'channel hook {{ type = webhook url = "{hook.url}" timeout = 1s }}'))
    edge.wait_event("delivery-failing", timeout=30)
    assert edge.json("status")["watch"]["targets"] == 1  # control answers meanwhile
    test = edge.run("alerts", "test", "hook", check=False)
    assert test.returncode == 4 and "not delivered" in test.stdout


def test_four_at_once(start, receiver):
    """Of many messages four are under way to a channel; one that hangs holds up no other, and nothing is lost."""
    slow, quick, port, count = receiver(), receiver(), free_port(), 12
    slow.hangs.set()
    targets = ", ".join(f'"127.0.0.{host}:{port}"' for host in range(1, count + 1))
    edge = start(watching(port, ["slow", "quick"],
                          f'channel slow {{ type = webhook url = "{slow.url}" timeout = 60s }}\n'
                          f'channel quick {{ type = webhook url = "{quick.url}" }}').replace(f'"127.0.0.1:{port}"', targets))
    quick.wait(count, 60)
    wait_until(lambda: len(delivered(edge, "quick")) == count, 30, "not all are delivered")
    assert len(slow.wait(4)) == len(slow.requests) == 4
    assert edge.json("status")["alerts"]["deliveries_waiting"] == count
    slow.hangs.clear()
    slow.released.set()  # the four fail and are put off; the others go
    slow.wait(count, 60)
    wait_until(lambda: len(delivered(edge, "slow")) == count - 4, 30, "not all others are delivered")


def test_telegram(start, receiver, secret):
    """The token stands in no log, no error and no list."""
    bot = receiver()
    token = secret("token", "123456:secret-token")
    edge = start(watching(free_port(), ["bot"],
                          f'channel bot {{ type = telegram chat = "-100" url = "{bot.url}" secret-file = "{token}" }}'))
    (path, headers, body), = bot.wait()
    assert path == "/bot123456:secret-token/sendMessage" and headers["Content-Type"] == "application/json"
    told = json.loads(body)
    assert told["chat_id"] == "-100" and "127.0.0.1" in told["text"] and len(told["text"]) <= 4096
    bot.status = 401
    test = edge.run("alerts", "test", "bot", check=False)
    assert test.returncode == 4 and "401" in test.stdout
    seen = (test.stdout + test.stderr + edge.errors() + edge.run("alerts", "deliveries", "--json").stdout
            + json.dumps(edge.events, default=str))
    assert "secret-token" not in seen


def test_mail(start, authority, secret, folder):
    """STARTTLS with a verified certificate, a password, one thread; a wrong password is said."""
    pair = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(folder))
    box = Mailbox(tls=context, login=("holdfast", "pass word"))
    channel = ('channel {} {{ type = mail url = "smtp://localhost:{}" from = "holdfast@shop.example" '
               'to = {{"ops@shop.example", "boss@shop.example"}} user = holdfast secret-file = "{}" trust = "{}" }}\n')
    right, wrong = secret("right", "pass word"), secret("wrong", "password")
    try:
        edge = start(watching(free_port(), ["mail"], channel.format("mail", box.port, right, authority.root_path)
                              + channel.format("badly", box.port, wrong, authority.root_path)))
        (sender, receivers, text), = box.wait()
        assert sender == "holdfast@shop.example" and receivers == ["ops@shop.example", "boss@shop.example"]
        assert "Subject: [holdfast] CRITICAL 127.0.0.1" in text and "Message-ID: <alert-1-" in text
        assert "Next step:" in text and "holdfast alerts acknowledge 1" in text
        assert "delivered" in edge.run("alerts", "test", "mail").stdout
        refused = edge.run("alerts", "test", "badly", check=False)
        assert refused.returncode == 4 and "not delivered" in refused.stdout and "password" not in refused.stdout
        assert len(box.messages) == 2
    finally:
        box.close()


def test_exec(start, folder):
    """The message on standard input, an empty environment, no descriptors; exit codes count."""
    out = folder / "out"
    out.mkdir()
    out.chmod(0o777)
    script = folder / "tell"
    script.write_text(f'#!/bin/sh\ncat > {out}/message\nenv > {out}/environment\nls /proc/self/fd | wc -l > {out}/descriptors\n'
                      f'grep SigIgn /proc/self/status > {out}/ignored\n'
                      f'echo "$1" > {out}/argument\n')
    script.chmod(0o755)
    edge = start(watching(free_port(), ["run"], f'channel run {{ type = exec command = {{"{script}", "word"}} }}\n'
                          'channel no { type = exec command = "/bin/false" }\n'
                          'channel missing { type = exec command = "/nonexistent" }\n'
                          'channel slow { type = exec command = {"/bin/sleep", "60"} timeout = 1s }'))
    wait_until(lambda: delivered(edge, "run"), 30, "not delivered")
    message = json.loads((out / "message").read_text())
    assert message["kind"] == "opened" and message["alert"]["owner"] == "web" and message["subject"]
    environment = {line.split("=")[0] for line in (out / "environment").read_text().splitlines()}
    assert environment <= {"PATH", "PWD", "SHLVL", "_", "OLDPWD"}
    ignored = int((out / "ignored").read_text().split()[1], 16)
    of_the_c_library = 1 << 31 | 1 << 32  # signals 32 and 33: glibc lets nobody change them, so they are inherited
    assert ignored & ~of_the_c_library == 0
    assert (out / "argument").read_text() == "word\n"
    for channel, reason in (("no", "exit code 1"), ("missing", "cannot be executed"), ("slow", "within its time")):
        test = edge.run("alerts", "test", channel, check=False)
        assert test.returncode == 4 and reason in test.stdout, test


def test_secret_that_cannot_be_read(start, folder, receiver):
    hook = receiver()
    key = folder / "key"
    key.write_text("")
    edge = start(watching(free_port(), ["hook"], f'channel hook {{ type = webhook url = "{hook.url}" secret-file = "{key}" }}'))
    edge.wait_event("warning", detail=lambda text: "secret-file of channel hook" in text)
    edge.wait_event("delivery-failing", timeout=30)
    assert not hook.requests  # never unsigned


def test_heartbeat(start, receiver):
    beats = receiver()
    edge = start(watching(free_port(), [], f'heartbeat-url = "{beats.url}/beat"\nheartbeat-every = 1s'))
    assert all(path == "/beat" for path, _, _ in beats.wait(2))
    beats.status = 500
    edge.wait_event("heartbeat-failing", timeout=30)
    beats.status = 200
    edge.wait_event("heartbeat-works", timeout=30)
    wait_until(lambda: edge.json("status")["alerts"].get("heartbeat_at"), 10)


def test_reload_changes_channels(start, receiver):
    first, second = receiver(), receiver()
    port = free_port()
    edge = start(watching(port, ["one"], f'channel one {{ type = webhook url = "{first.url}" }}'))
    first.wait()
    edge.write_config(watching(port, ["two"], f'channel two {{ type = webhook url = "{second.url}" }}'))
    edge.run("reload")
    assert "delivered" in edge.run("alerts", "test", "two").stdout
    assert edge.run("alerts", "test", "one", check=False).returncode == 2
    assert len(edge.lines("alerts")) == 1 and len(first.requests) == 1  # the alert goes on, and is not told anew
    edge.write_config(watching(port, ["two"], f'channel two {{ type = webhook url = "{second.url}" }}')
                      .replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"))
    edge.run("reload")
    wait_until(lambda: len(edge.events_named("alert-opened")) == 2, 30, "the new target is not told of")
    assert not edge.events_named("alert-recovered")  # the old one was forgotten, not healed


def releasable(folder):
    """A program that tells when it begins and ends well when it is released; (its path, begun(), release())."""
    out = folder / "releasable"
    out.mkdir()
    out.chmod(0o777)
    script = out / "tell"
    script.write_text(f'#!/bin/sh\necho >> {out}/begun\nwhile ! [ -e {out}/released ]; do sleep 0.05; done\n')
    script.chmod(0o755)
    return script, lambda: len((out / "begun").read_text()) if (out / "begun").exists() else 0, (out / "released").touch


def test_reload_leaves_a_delivery_under_way(start, folder):
    """Nothing is sent twice because of a reload that is about something else."""
    script, begun, release = releasable(folder)
    port = free_port()
    channel = f'channel run {{ type = exec command = "{script}" timeout = 10m }}'
    edge = start(watching(port, ["run"], channel))
    wait_until(lambda: begun() == 1, 30, "the program is not started")
    edge.write_config(watching(port, ["run"], channel + '\nchannel other { type = exec command = "/bin/true" }'))
    edge.run("reload")
    assert "delivered" in edge.run("alerts", "test", "other").stdout  # the reload is in force
    release()
    wait_until(lambda: delivered(edge, "run"), 30, "not delivered")
    assert begun() == 1 and delivered(edge, "run")[0]["attempts"] == 1


def test_reload_begins_anew_in_a_changed_channel(start, folder):
    script, begun, release = releasable(folder)
    port = free_port()
    edge = start(watching(port, ["run"], f'channel run {{ type = exec command = {{"{script}", "old"}} timeout = 10m }}'))
    wait_until(lambda: begun() == 1, 30, "the program is not started")
    edge.write_config(watching(port, ["run"], f'channel run {{ type = exec command = {{"{script}", "new"}} timeout = 10m }}'))
    edge.run("reload")
    wait_until(lambda: begun() == 2, 30, "the program is not started again")
    release()
    wait_until(lambda: delivered(edge, "run"), 30, "not delivered")
    assert begun() == 2 and delivered(edge, "run")[0]["attempts"] == 1


def test_secrets_of_many_channels(start, receiver, folder):
    """More files than fit into the supervisor's queue at once: each is read without a reload."""
    hook, count = receiver(), 1500
    keys = folder / "keys"
    keys.mkdir()
    channels = []
    for number in range(count):
        key = keys / str(number)
        key.write_text(f"key {number}\n")
        channels.append(f'channel hook{number} {{ type = webhook url = "{hook.url}/{number}" secret-file = "{key}" }}')
    edge = start(watching(free_port(), [f"hook{number}" for number in range(count - 30, count)], "\n".join(channels)))
    wait_until(lambda: len({path for path, _, _ in hook.requests}) == 30, 120, "some channels never learn their secret")
    assert not edge.events_named("delivery-failing")
    for path, headers, body in hook.requests:
        expected = hmac.new(f"key {path[1:]}".encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-Holdfast-Signature"] == f"sha256={expected}"
