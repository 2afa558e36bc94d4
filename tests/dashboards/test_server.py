"""The real server of the page: what it answers, to whom, and what it never does."""

import gzip
import json
import re
import time
import urllib.parse

import pytest

from pythia_traj.dashboards.serving import dashboard
from tests.dashboards.client import Client, raw
from tests.live.made import made_run, tree, write_units
from tests.store import damage as d

MODEL = "pythia-70m-deduped"


@pytest.fixture(scope="module")
def page(small_run):
    with dashboard(small_run, port=0) as served:
        yield served


@pytest.fixture(scope="module")
def client(page):
    return Client(page.port)


def until(is_so):
    """Waits until the thread that looks at runs has seen what is so."""
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_page_and_its_files_are_served(client, page):
    assert page.url == f"http://127.0.0.1:{page.port}/"
    assert not page.wants_token
    answer = client.get()
    assert answer.status == 200
    assert "<title>run</title>" in answer.text
    for name, kind in (("plotly.js", "text/javascript"), ("script.js", "text/javascript"),
                       ("style.css", "text/css")):  # fmt: skip
        file = client.get(f"page/{name}", headers={"Accept-Encoding": "gzip"})
        assert (file.status, file.headers["Content-Type"].split(";")[0]) == (200, kind)
        assert len(gzip.decompress(file.body)) > 1000
        assert client.get(f"page/{name}").body == gzip.decompress(file.body)
        asked = {"If-None-Match": file.headers["ETag"], "Accept-Encoding": "gzip"}
        again = client.get(f"page/{name}", headers=asked)
        assert (again.status, again.body) == (304, b"")
    for script in re.findall(r'src="/(_dash-component-suites/[^"]+)"', answer.text):
        assert client.get(script).status == 200


def test_a_browser_gets_what_it_asks_for_until_a_figure_is_drawn(client):
    chosen = client.offered("?experiment=loss")
    assert chosen["experiments"] == ["loss", "induction"]
    assert chosen["query"] == "experiment=loss"
    assert chosen["charts"][0]["heading"] == "Loss on text"
    (drawn,) = client.drawings("chart", chosen["query"], place=0, at=chosen["at"]).json
    assert drawn["heading"] == "Loss on text"
    assert drawn["panels"][0]["figure"]["data"]
    known = client.ask("page.data").json["response"]["page"]["data"]
    assert known["steps"] == [0, 512, 1000, 143000]
    said = client.ask("state.children").json["response"]
    assert "run: 8 of 8 units done" in json.dumps(said["state"])
    assert said["pulse"]["data"].keys() == {"loss", "induction"}
    followed = client.drawings("followed", "experiment=induction&followed=L1H1").json
    assert followed[0]["heading"].startswith("Followed")
    samples = client.ask("samples.children", offered=chosen, **{"at-step": 512}).json["response"]
    assert samples["samples-section"]["hidden"] is True


@pytest.mark.parametrize(
    "query",
    ["?experiment=</script><b>", "?layers=%FF&heads=x&step=-1", "?" + "models=a&" * 500, "?=&&&"],
    ids=["markup", "not-numbers", "many", "nothing"],
)
def test_a_page_holds_its_first_answer_whatever_its_address_says(client, query):
    answer = client.get(query.replace("<", "%3C").replace(">", "%3E"))
    assert answer.status == 200
    assert "</script><b>" not in answer.text
    first = json.loads(re.search(r'id="first-answer">(.*?)</script>', answer.text)[1])
    assert first["offered"]["choice"]["experiment"] in first["offered"]["experiments"]
    assert first["page"]["steps"]


def test_drawings_are_compressed_for_whoever_takes_that(client):
    plain = client.drawings("chart", "experiment=loss", place=0)
    packed = client.get(
        "drawings/chart?experiment=loss&place=0", headers={"Accept-Encoding": "gzip, br"}
    )
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)


def test_what_a_choice_is_refused_for_is_said_on_the_page(client):
    for query, words in (("experiment=loss&layers=7-2", "layers '7-2': give numbers"),
                         ("experiment=loss&several=band", "the rows are of 1 model")):  # fmt: skip
        found = client.offered(query)
        assert words in found["why"]
        assert found["charts"] == []
        for what in ("chart", "followed"):
            assert client.drawings(what, f"{query}&followed=L0H0", place=0).json == []


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8050",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example.",
        "localhost.",
        "LOCALHOST.EVIL.EXAMPLE",
        "[::2]",
        "[::1].evil.example",
        "[::1]evil.example:80",
        "::1]",
        "[::1",
        "localhost:80:evil.example",
        "localhost:evil.example",
        "localhost@evil.example",
        "localhost,evil.example",
        "127.0.0.2",
        "2130706433",
        "0.0.0.0",
        "",
        None,
        b"\xff\xfe",
        "lоcalhost".encode(),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("path", ["", "page/script.js"])
def test_a_request_to_another_host_name_is_refused(client, host, path):
    answer = client.get(path, host=host)
    assert answer.status in ((400, 403) if isinstance(host, bytes) else (403,))
    assert "Content-Security-Policy" in answer.headers
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:1",
        "127.0.0.1",
        "127.0.0.1:8050",
        "[::1]",
        "[::1]:8050",
    ],
)
def test_names_of_this_machine_are_answered_at_any_port(client, host):
    assert client.get(host=host).status == 200


def test_a_question_to_another_host_name_is_refused_too(client):
    asked = client.post(b"{}", host="evil.example:8050")
    assert asked.status == 403
    assert b"403" in raw(client.port, b"GET / HTTP/1.0\r\n\r\n").splitlines()[0]


PATHS = ["", "page/script.js", "page/nothing", "nothing", "view.html", "view.html?layers=x",
         "_dash-layout", "_dash-dependencies", "favicon.ico", "assets/x"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_a_policy_that_allows_no_script_but_ours(client, path):
    answer = client.get(path)
    policy = dict(
        one.strip().split(" ", 1) for one in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    allowed = policy["script-src"].split()
    assert allowed[0] == "'self'"
    assert all(re.fullmatch(r"'sha256-[A-Za-z0-9+/=]+'", one) for one in allowed[1:])
    assert policy["connect-src"] == "'self'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_nothing_but_the_browser_keeps_what_rows_say(client):
    for path in ("", "_dash-layout", "view.html"):
        assert client.get(path).headers["Cache-Control"] == "no-store"


def test_the_only_route_that_takes_a_body_is_that_of_dashs_questions(small_run):
    from pythia_traj.dashboards.app import app_of
    from pythia_traj.dashboards.callbacks import Answers
    from pythia_traj.dashboards.guard import Guard
    from pythia_traj.dashboards.watching import Watching
    from pythia_traj.live.view import Views
    from pythia_traj.live.watched import Watched

    answers = Answers(Watching(Watched([small_run])), Views())
    rules = app_of(answers, Guard.of("127.0.0.1")).server.url_map.iter_rules()
    others = {rule.rule: rule.methods - {"GET", "HEAD", "OPTIONS"} for rule in rules}
    assert {rule: methods for rule, methods in others.items() if methods} == {
        "/_dash-update-component": {"POST"}
    }


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "MKCOL"])
@pytest.mark.parametrize("path", ["", "_dash-update-component", "page/script.js", "view.html"])
def test_other_methods_are_refused(client, method, path):
    assert client.get(path, method=method).status == 405


def test_a_body_where_none_is_taken_is_refused(client):
    for path in ("", "page/script.js", "view.html", "_dash-layout"):
        assert client.get(path, method="POST", body=b"{}").status == 405


TRAVERSALS = [
    "../run.json",
    "..%2frun.json",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%5c..%5crun.json",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "....//run.json",
    "script.js%00.css",
    "script.js/../../run.json",
    "%c0%ae%c0%ae/run.json",
]


@pytest.mark.parametrize("folder", ["page/", "assets/", "_dash-component-suites/dash/", ""])
@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out_of_the_page(client, folder, path):
    answer = client.get(folder + path)
    # Dash answers an address of its own with its page.
    is_page = answer.status == 200 and "<title>run</title>" in answer.text
    assert is_page or answer.status in (308, 400, 404, 500)
    assert "root:" not in answer.text
    assert "schema" not in answer.text or is_page
    assert "Traceback" not in answer.text


BODIES = [
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"[" * 100_000, b"{}",
    b'{"output": "state.children"}',
    b'{"output": "..nothing.here..", "inputs": [], "outputs": [], "changedPropIds": []}',
    b'{"output": {"a": 1}, "inputs": 5}',
    b'{"output": "page.data", "outputs": {"id": "page", "property": "data"}, "inputs": []}',
    b'{"output": "__proto__.x", "outputs": {}, "inputs": [{"id": "x"}], "changedPropIds": "x"}',
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_malformed_question_is_refused_without_a_traceback_and_the_server_lives_on(client, body):
    answer = client.post(body)
    assert 400 <= answer.status < 600
    for word in ("Traceback", "site-packages", ".py"):
        assert word not in answer.text
    assert client.get().status == 200


HOSTILE_VALUES = [5, -1, 1.5, True, [], {}, ["x"] * 3, {"a": []}, [[["x"]]], "\ud800", "x" * 10**5]


@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=range(len(HOSTILE_VALUES)))
def test_values_that_no_page_sends_are_answered_somehow_without_a_traceback(client, value):
    text = urllib.parse.quote(str(value).encode("utf-8", "surrogatepass")[:20_000])
    answers = [
        client.ask("offered.data", asked=value),
        client.ask("samples.children", offered=value, **{"at-step": value}),
        client.ask("samples.children", offered={"query": value}, **{"at-step": value}),
        client.ask("state.children", tick=value, pulse=value),
        client.drawings("chart", "experiment=loss", place=text),
        client.drawings("chart", f"experiment={text}", place=0),
        client.drawings("followed", "experiment=induction", followed=text),
        client.drawings("patterns", "followed=L0H0", step=text),
        client.drawings(text or "x"),
    ]
    for answer in answers:
        assert answer.status in (200, 204, 400, 404, 414, 431, 500)
        assert "Traceback" not in answer.text
        assert "site-packages" not in answer.text
    assert client.get().status == 200


def test_a_body_that_no_page_sends_is_refused_before_it_is_read(client):
    head = b"POST /_dash-update-component HTTP/1.1\r\nHost: localhost\r\n"
    answer = raw(client.port, head + b"Content-Length: 100000000\r\n\r\n{")
    assert b" 413 " in answer.splitlines()[0]


def test_an_address_of_a_view_that_is_not_one_is_refused_as_plain_text(client):
    answer = client.get("view.html?experiment=loss&layers=%3Cscript%3Ealert(1)%3C/script%3E")
    assert answer.status == 400
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.text.startswith("layers '<script>")
    seeds = client.get("view.html?experiment=loss&several=band")
    assert (seeds.status, "give those of two or more" in seeds.text) == (400, True)


@pytest.mark.parametrize(
    "query",
    [
        "experiment=%3Cscript%3Ealert(1)%3C/script%3E",
        "step=" + "0" * 12 + "9" * 5000,
        "step=000000000512" + "1",
        "step=%D9%A1&axis=%3Cscript%3E",
        "step=512&axis=tokens&theme=dark&zoom=a:1:2:3:4",
        "models=%00&labels=%ff&followed=L1H1&experiment=induction",
        "experiment=loss&labels=loss-stdlib&metric=nll&variant=%27",
    ],
    ids=["experiment", "digits", "long-step", "words", "view", "bytes", "choice"],
)
def test_a_view_is_a_page_of_its_own_whatever_its_address_says(client, query):
    answer = client.get(f"view.html?{query}")
    assert answer.status == 200
    assert 'filename="view.html"' in answer.headers["Content-Disposition"]
    assert "alert(1)" not in answer.text
    assert "9999" not in re.search(r'"view": ?\{[^}]*\}', answer.text).group()


def test_a_view_opens_on_the_step_and_axis_that_the_address_has(client):
    text = client.get("view.html?experiment=loss&step=512&axis=tokens").text
    view = json.loads(re.search(r'"view": ?(\{[^}]*\})', text).group(1))
    assert view == {"axis": "tokens", "step": 512}


def test_a_session_of_requests_leaves_the_run_as_it_was(made):
    before = tree(made.path)
    with dashboard(made.path, port=0) as served:
        client = Client(served.port)
        for path in (*PATHS, "view.html?experiment=induction&followed=L1H1"):
            client.get(path)
        client.ask("offered.data", asked="")
        client.ask("state.children")
        client.ask("samples.children", offered={"query": "experiment=loss"})
        for what in ("chart", "followed", "patterns"):
            client.drawings(what, "experiment=induction&followed=L1H1", place=0)
        client.post(b"{")
        client.get(method="DELETE")
    assert tree(made.path) == before


HOSTILE = "<b onclick=alert(1)>{%config%}{{7*7}}\"'&amp; %s"


def test_hostile_names_are_text_in_the_page_and_in_what_is_sent(tmp_path, small_rows):
    rows = small_rows[small_rows["experiment"] == "loss"].astype(
        {"metric": object, "experiment": object}
    )
    rows = rows.assign(experiment=f"e{HOSTILE}", metric=rows["metric"] + HOSTILE)
    run = made_run(tmp_path / f"run {HOSTILE}", rows)
    d.replaced_by(b"")(run.unit_path(MODEL, "loss-stdlib", 512))
    with dashboard(run.path, port=0) as served:
        client = Client(served.port)
        page, view = client.get(), client.get("view.html")
        chosen = client.offered("")
        said = client.ask("state.children").json["response"]["state"]["children"]
        chart = client.drawings("chart", chosen["query"], place=0)
    for answer in (page, view):
        assert answer.status == 200
        assert "<b onclick" not in answer.text
        assert "&lt;b onclick" in answer.text
        assert "49" not in re.search(r"<title>(.*?)</title>", answer.text).group(1)
    (title,) = re.findall(r"<title>(.*?)</title>", page.text)
    assert "config" in title
    assert "requests_pathname_prefix" not in title
    assert chosen["experiments"] == [f"e{HOSTILE}"]
    assert chosen["metrics"][0].endswith(HOSTILE)
    assert chart.headers["Content-Type"] == "application/json"
    assert chart.json[0]["panels"]
    texts = json.dumps(said)
    assert "dangerously" not in texts
    assert '"type": "Markdown"' not in texts


def test_a_page_of_an_empty_run_is_answered_and_shows_the_first_unit(tmp_path, rows_of):
    run = made_run(tmp_path / "run", rows_of(steps=(0,)).iloc[:0])
    with dashboard(run.path, port=0) as served:
        client = Client(served.port)
        assert client.get("view.html").status == 404
        found = client.offered("")
        assert (found["experiments"], found["query"]) == ([], "")
        assert (found["charts"], found["why"]) == ([], "")
        assert client.drawings("followed", "followed=L0H0").json == []
        assert client.drawings("chart", place=0).json == []
        assert client.ask("samples.children", offered=found).status == 200
        assert client.ask("page.data").json["response"]["page"]["data"]["steps"] == []
        write_units(run, rows_of(steps=(0, 512)))
        until(lambda: len(served.watching.watched.state.units) == 4)
        assert len(client.offered("")["experiments"]) == 2


def test_a_run_that_is_gone_is_said_and_the_server_still_answers(made, tmp_path):
    with dashboard(made.path, port=0) as served:
        client = Client(served.port)
        made.path.rename(tmp_path / "aside")
        watching = served.watching
        until(lambda: watching.error)
        assert watching.error == f"{made.path} is not a run directory: it has no run.json"
        said = client.ask("state.children").text
        assert "The last look failed: " in said
        assert "it has no run.json" in said
        assert client.get("view.html?experiment=loss").status == 200
        assert client.ask("samples.children", offered={"query": "experiment=loss"}).status == 200
        (tmp_path / "aside").rename(made.path)
        until(lambda: not watching.error)
        assert "The last look failed" not in client.ask("state.children").text


def test_a_page_of_another_site_cannot_ask(client):
    for site in ("cross-site", "same-site"):
        asked = client.get(
            "_dash-update-component", method="POST", body=b"{}", headers={"Sec-Fetch-Site": site}
        )
        assert asked.status == 403
