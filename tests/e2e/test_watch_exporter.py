"""What Prometheus and people with a phone see of the watch: the real ones ask."""

import contextlib
import json
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

import servers
from daemon import free_port, wait_until
from pki import DAY

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"


def get(port, path, timeout=30):
    """(status, type, text)"""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def series(text):
    """{"name{labels}": value}"""
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line and line[0] != "#"}


@pytest.fixture
def tls_server(server, authority, folder):
    """tls_server(names, lifetime) → a TLS server with a certificate of the authority."""

    def make(*names, **options):
        pair = authority.issue(*names, **options)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair.write(folder, names[0]))
        return server(lambda connection: connection.socket.recv(1), tls=context)

    return make


def configuration(exporter, admin, targets, store, allowed='"127.0.0.1"'):
    return (f'workers = none\nexporter {{ bind = "127.0.0.1:{exporter}" targets = {{{allowed}}} }}\n'
            f'admin {{ bind = "127.0.0.1:{admin}" }}\n'
            f'watch shop {{ targets = {{{", ".join(f"{chr(34)}{one}{chr(34)}" for one in targets)}}} interval = 2s timeout = 5s '
            f'name = "shop.example" stores = "{store}" }}\n')


def test_probe(start, tls_server, store):
    """What is watched is judged by the name and the stores of its section, any other target by the system's."""
    exporter, admin = free_port(), free_port()
    good, other = tls_server("shop.example"), tls_server("shop.example")
    start(configuration(exporter, admin, [good.address], store))

    def content(one):
        status, _, text = get(exporter, f"/probe?target={one.address}&module=tcp")
        return status == 200 and series(text)["probe_success"] == 1

    wait_until(lambda: content(good), 30, "never content with what is watched")
    assert not content(other)
    status, kind, text = get(exporter, f"/probe?target={good.address}&module=tcp")
    values = series(text)
    assert status == 200 and kind.startswith("text/plain; version=0.0.4")
    assert values["ssl_prober{prober=\"tcp\"}"] == 1
    assert 80 < (values["probe_ssl_earliest_cert_expiry"] - time.time()) / 86400 < 91
    assert any(name.startswith("ssl_cert_not_after{") for name in values)
    assert values['probe_tls_version_info{version="TLS 1.3"}'] == 1
    refused = series(get(exporter, f"/probe?target=127.0.0.1:{free_port()}&module=tcp")[2])
    assert refused["probe_success"] == 0 and "probe_ssl_earliest_cert_expiry" not in refused


@pytest.mark.parametrize("query, status, text", [
    ("", 400, "target: found none"), ("target=", 400, "target: found none"),
    ("target=127.0.0.1:1&module=nonsense", 400, "expected tcp"), ("target=192.0.2.1:443", 403, "may not be probed"),
    ("target=127.0.0.1.evil.example", 403, "may not be probed"), ("target=file:/etc/passwd", 403, "may not be probed"),
    ("target=a%0ab", 400, ""), ("target=" + "x" * 3000, 400, ""), ("target=%3Cscript%3E", 400, ""),
])
def test_probe_refused(start, store, query, status, text):
    exporter = free_port()
    start(configuration(exporter, free_port(), ["127.0.0.1:9"], store))
    got, kind, answer = get(exporter, f"/probe?{query}")
    assert got == status and text in answer and kind.startswith("text/plain"), answer


def test_clients_that_leave_and_that_are_too_many(start, store, server):
    """Hanging servers, clients that give up, a reload and a killed prober in the middle of probes: the daemon goes on."""
    hanging = server(servers.never_reading)
    exporter = free_port()
    config = configuration(exporter, free_port(), ["127.0.0.1:9"], store).replace("targets = {\"127.0.0.1\"}",
                                                                                  "targets = {\"127.0.0.1\"} probes = 4 timeout = 3s")
    edge = start(config)
    answers = []

    def ask(timeout):
        with contextlib.suppress(OSError):
            answers.append(get(exporter, f"/probe?target={hanging.address}", timeout)[0])

    def ask_until_taken():
        """Whoever has left still counts until his probe is over."""
        while len(hanging.connections) < 5:
            ask(30)

    askers = [threading.Thread(target=ask, args=(2,)) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert 503 in answers  # more than four at once
    waiting = threading.Thread(target=ask_until_taken)
    waiting.start()
    wait_until(lambda: len(hanging.connections) >= 5, 30, "the last probe has not begun")
    edge.write_config(config.replace("exporter {", "exporter {").replace(f'bind = "127.0.0.1:{exporter}"',
                                                                       f'bind = "127.0.0.1:{free_port()}"'))
    edge.run("reload")  # the exporter moves elsewhere under a probe that waits
    waiting.join()
    assert edge.json("status")["watch"]["targets"] == 1


def test_metrics_of_the_watch(start, tls_server, store):
    exporter, admin = free_port(), free_port()
    good, ended = tls_server("shop.example"), free_port()
    edge = start(configuration(exporter, admin, [good.address, f"127.0.0.1:{ended}"], store))
    wait_until(lambda: edge.json("status")["watch"]["checks"] >= 2)
    values = series(get(exporter, "/metrics")[2])
    assert values["holdfast_watch_targets"] == 2 and values["holdfast_watch_checks_total"] >= 2
    verdicts = {name: value for name, value in values.items() if name.startswith("holdfast_endpoint_verdict")}
    assert len(verdicts) == 2 and 2 in verdicts.values()
    assert get(admin, "/healthz")[0] == 200
    assert get(exporter, "/healthz")[0] == 404


def test_prometheus_itself(start, tls_server, store, folder):
    """The well-known alert expressions over what Prometheus has scraped by the well-known relabelling."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed")
    exporter, port = free_port(), free_port()
    soon, late = tls_server("shop.example", lifetime=5 * DAY), tls_server("shop.example")
    start(configuration(exporter, free_port(), [soon.address, late.address], store))
    (folder / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{
            "job_name": "certificates", "metrics_path": "/probe", "params": {"module": ["tcp"]},
            "static_configs": [{"targets": [soon.address, late.address]}],
            "relabel_configs": [
                {"source_labels": ["__address__"], "target_label": "__param_target"},
                {"source_labels": ["__param_target"], "target_label": "instance"},
                {"target_label": "__address__", "replacement": f"127.0.0.1:{exporter}"}]}]}))
    prometheus = subprocess.Popen(
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def query(expression):
        with contextlib.suppress(OSError, ValueError):
            answer = json.loads(get(port, f"/api/v1/query?query={urllib.parse.quote(expression)}")[2])
            return [one["metric"].get("instance") for one in answer["data"]["result"]]
        return []

    try:
        for expression in ("probe_ssl_earliest_cert_expiry - time() < 86400 * 30", "ssl_cert_not_after - time() < 86400*7"):
            wait_until(lambda: soon.address in query(expression), 60, f"{expression} finds nothing")  # pylint: disable=cell-var-from-loop
            assert late.address not in query(expression)
        wait_until(lambda: late.address in query("probe_ssl_earliest_cert_expiry - time() > 86400 * 30"), 60)
        wait_until(lambda: set(query("up == 1")) == {soon.address, late.address}, 60)  # of late, for a scrape has a second
    finally:
        prometheus.terminate()
        prometheus.wait(20)


def test_countdown(start, tls_server, store):
    """The page in a real browser, wide and narrow; screenshots are kept in build/screenshots."""
    exporter, admin = free_port(), free_port()
    good, bad = tls_server("shop.example"), tls_server("wrong.example")
    edge = start(configuration(exporter, admin, [good.address, bad.address], store))
    wait_until(lambda: edge.json("status")["watch"]["checks"] >= 2)
    status, kind, html = get(admin, "/countdown")
    assert status == 200 and kind.startswith("text/html") and "days left" in html
    assert get(exporter, "/countdown?host=nobody.example")[0] == 404
    assert "Nothing is watched here" in get(exporter, "/countdown?host=%3Cscript%3E")[2]
    webdriver = pytest.importorskip("selenium.webdriver")
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("chromium is not installed")
    options = webdriver.ChromeOptions()
    for option in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-sync",
                   "disable-component-update", "disable-dev-shm-usage"):
        options.add_argument(f"--{option}")
    from selenium.webdriver.chrome.service import Service  # pylint: disable=import-outside-toplevel
    browser = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    try:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for name, width, height in (("desktop", 1280, 800), ("phone", 390, 844)):
            browser.set_window_size(width, height)
            browser.get(f"http://127.0.0.1:{admin}/countdown")
            cards = browser.find_elements("css selector", "article")
            assert len(cards) == 2 and "critical" in cards[0].get_attribute("class")
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
            assert all(card.size["width"] > 200 for card in cards)
            browser.save_screenshot(str(SCREENSHOTS / f"countdown-{name}.png"))
    finally:
        browser.quit()
