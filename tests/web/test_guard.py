"""Who is let in: Host, Origin, tokens; and the headers of every answer. All against a real server."""

from collections.abc import Iterator

import httpx
import pytest

from .serving import Running, running

CALL = {"jsonrpc": "2.0", "id": 1, "method": "pause", "params": {}}
ELSEWHERE = {"x-forwarded-for": "203.0.113.5"}


def post(ci: Running, path: str = "/api/v2/workers/away", **headers: str) -> httpx.Response:
    return ci.http.post(path, json=CALL, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture(scope="module")
def with_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("token"), token="a-token-of-16-or-more") as server:
        yield server


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8010"])
def test_a_name_that_was_pointed_here_is_refused(ci: Running, host: str) -> None:
    for path in ("/", "/api/v2/builds", "/api/v2/logs/1/raw"):
        response = ci.http.get(path, headers={"host": host})
        assert response.status_code == 403
        assert "does not answer to the name" in response.json()["error"]


@pytest.mark.parametrize("name", ["x-forwarded-for", "x-forwarded-proto", "forwarded", "x-real-ip"])
def test_such_a_name_is_refused_whatever_headers_its_page_sends(ci: Running, name: str) -> None:
    response = ci.http.get("/api/v2/logs/1/raw", headers={"host": "evil.example", name: "203.0.113.5"})
    assert response.status_code == 403
    assert "does not answer to the name 'evil.example'" in response.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8010", "x.localhost"])
def test_names_of_this_machine(ci: Running, host: str) -> None:
    assert ci.http.get("/api/v2/builds", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(ci: Running, headers: dict[str, str]) -> None:
    for path in ("/api/v2/workers/away", "/workers/away/pause", "/builders/hello/force", "/signin"):
        response = post(ci, path, **headers)
        assert response.status_code == 403
        assert "another site" in response.json()["error"]
    assert not ci.one("workers/away")["paused"]


def test_our_own_pages_may(ci: Running) -> None:
    for origin in (ci.url, ci.url.upper()):
        assert post(ci, origin=origin, sec_fetch_site="same-origin").status_code == 200
    ci.call("workers/away", "unpause")


def test_whoever_is_elsewhere_may_read_and_change_nothing(ci: Running) -> None:
    assert ci.http.get("/api/v2/builds", headers=ELSEWHERE).status_code == 200
    response = post(ci, **ELSEWHERE)
    assert response.status_code == 403
    assert "Only this machine" in response.json()["error"]
    page = ci.http.get("/builders/hello", headers=ELSEWHERE).text
    assert "<form" not in page


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-proto"])
def test_what_a_proxy_passes_on_is_not_from_here(ci: Running, name: str) -> None:
    assert ci.http.post("/api/v2/workers/away", json=CALL, headers={name: "127.0.0.1"}).status_code == 403


def test_a_token_lets_in(with_token: Running) -> None:
    ci = with_token
    assert post(ci, **ELSEWHERE).status_code == 401
    assert "needs the server's token" in post(ci, **ELSEWHERE).text
    assert post(ci, **ELSEWHERE, authorization="Bearer wrong").status_code == 401
    assert "This is not the server's token" in post(ci, **ELSEWHERE, authorization="Bearer wrong").text
    assert post(ci, **ELSEWHERE, authorization="Basic a-token-of-16-or-more").status_code == 401
    assert post(ci, **ELSEWHERE, cookie="lockstep_token=wrong").status_code == 401
    assert post(ci, **ELSEWHERE, cookie='a="').status_code == 401
    assert post(ci, **ELSEWHERE, authorization="Bearer a-token-of-16-or-more").status_code == 200
    assert (
        post(ci, **ELSEWHERE, origin="https://evil.example", authorization="Bearer a-token-of-16-or-more").status_code
        == 403
    )


def test_signing_in(with_token: Running) -> None:
    ci = with_token
    assert "<form" in ci.http.get("/signin", headers=ELSEWHERE).text
    with ci.client(ELSEWHERE) as browser:
        wrong = browser.post("/signin", data={"token": "wrong"})
        assert wrong.status_code == 400
        assert "not the server" in wrong.text
        right = browser.post("/signin", data={"token": "a-token-of-16-or-more"})
        assert right.status_code == 303
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert 'action="/builders/hello/force"' in browser.get("/builders/hello").text
        assert browser.post("/workers/away/unpause").status_code == 303


def test_headers_of_every_answer(ci: Running) -> None:
    for path in ("/", "/nope", "/api/v2/builds", "/api/v2/nope", "/static/style.css"):
        headers = ci.http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-frame-options"] == "DENY", path
        assert headers["referrer-policy"] == "same-origin", path
        assert "access-control-allow-origin" not in headers, path


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/..%2fapp.py", "/static//etc/passwd", "/static/"])
def test_only_the_pages_own_files_are_served(ci: Running, path: str) -> None:
    assert ci.http.get(path).status_code == 404


def test_the_workers_secret_is_on_no_page(ci: Running) -> None:
    for path in ("/workers", "/api/v2/workers", "/api/v2/claims"):
        assert "secret-of-away" not in ci.http.get(path).text


def test_a_server_without_a_token_takes_no_empty_one(ci: Running) -> None:
    assert post(ci, **ELSEWHERE, cookie="lockstep_token=").status_code == 403
    assert ci.http.post("/signin", data={"token": ""}, headers=ELSEWHERE).status_code == 400
