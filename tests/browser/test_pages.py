"""What a person does: force, watch, see why something waits, cancel, read a log as it is written. In a real browser."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from ..web.serving import Running

NewPage = Callable[..., Page]


@pytest.fixture(autouse=True)
def gates(ci: Running) -> Iterator[None]:
    """Every test begins with closed gates, and leaves nothing running."""
    for name in ("holder", "talker", "counter"):
        ci.close_gate(name)
    yield
    for name in ("holder", "talker", "counter"):
        ci.open_gate(name)
    ci.all_ended()


def test_force_from_the_page_and_see_it_run_live(ci: Running, page: Page, new_page: NewPage) -> None:
    watcher = new_page()
    watcher.goto("/")
    expect(watcher.locator("#running")).to_contain_text("Nothing runs.")

    page.goto("/builders")
    page.get_by_role("link", name="talker").click()
    page.get_by_label("Branch").fill("feature")
    page.get_by_role("button", name="Force").click()
    expect(page).to_have_url(re.compile(r"/requests/\d+$"))
    page.get_by_role("link", name=re.compile(r"^talker #\d+")).first.click()
    expect(page.locator(".chip")).to_have_text("running")
    expect(page.locator("pre.tail")).to_contain_text("waiting for talker")
    expect(watcher.locator("#running")).to_contain_text("talker #")

    ci.open_gate("talker")
    expect(page.locator(".chip").first).to_have_text("success")
    expect(page.get_by_role("button", name="Rebuild")).to_be_visible()
    expect(watcher.locator("#running")).to_contain_text("Nothing runs.")
    expect(watcher.locator("#ended")).to_contain_text("talker #")


def test_force_by_a_form_with_its_fields(ci: Running, page: Page) -> None:
    page.goto("/builders/hello")
    page.get_by_label("flavour").fill("sweet")
    page.get_by_label("size").select_option("big")
    page.get_by_role("button", name="force", exact=True).click()
    page.get_by_role("link", name=re.compile("^hello #")).first.click()
    expect(page.locator(".chip").first).to_have_text("success")
    page.get_by_text("Properties").click()
    expect(page.get_by_role("row", name=re.compile("^flavour")).first).to_contain_text("sweet")


def test_fields_that_stand_beside_each_other_begin_at_one_height(page: Page) -> None:
    page.goto("/builders/hello")
    page.get_by_text("A plain build").click()
    tops = {
        name: page.get_by_text(name, exact=True).last.bounding_box() for name in ("How many", "Properties, one a line")
    }
    first, other = (box["y"] for box in tops.values() if box is not None)
    assert first == other


def test_see_why_a_request_waits_and_cancel_it(ci: Running, page: Page) -> None:
    holder = ci.force("holder")
    ci.until("BuildStarted", brid=holder)
    page.goto("/")
    expect(page.locator("#waiting")).to_contain_text("Nothing waits.")
    first, second = ci.force("wanter"), ci.force("wanter")
    row = page.locator(f"#request-{second}")
    expect(row).to_contain_text("Waits for lock 'database', held by holder #")
    expect(row).to_contain_text("1 ahead of it.")

    page.locator(f"#request-{first}").get_by_role("button", name="Cancel").click()
    expect(page.locator(f"#request-{first}")).to_have_count(0)
    expect(row).to_contain_text("It is next.")
    assert ci.one(f"buildrequests/{first}")["results"] == 6

    row.get_by_role("link").click()
    expect(page.locator("#why")).to_contain_text("Waits for lock 'database'")
    page.locator("#why").get_by_role("link", name="database").click()
    expect(page.locator("ol.queue li")).to_have_count(1)
    expect(page.locator("ul.holders")).to_contain_text("holder #")
    ci.open_gate("holder")
    expect(page.get_by_text("Nobody holds it.")).to_be_visible()


def test_read_a_log_as_it_is_written(ci: Running, page: Page) -> None:
    brid = ci.force("talker")
    build = ci.until("BuildStarted", brid=brid)
    log = ci.until("LogOpened", buildid=build["buildid"])
    page.goto(f"/logs/{log['logid']}")
    lines = page.locator("#log > span")
    expect(page.locator("#log")).to_contain_text("waiting for talker")
    expect(page.locator("#writing")).to_be_visible()
    before = int(page.locator("#count").inner_text().split()[0])
    ci.open_gate("talker")
    expect(lines.filter(has_text=re.compile(r"^open\s*$"))).to_have_count(1)
    expect(page.locator("#writing")).to_have_count(0)
    ci.built(brid)
    contents = ci.one(f"logs/{log['logid']}/contents")["content"].splitlines()
    assert len(contents) > before
    expect(page.locator("#count")).to_have_text(f"{len(contents)} lines")
    assert [line.rstrip("\n") for line in lines.all_text_contents()] == [line[1:] for line in contents]


def test_stop_a_build_and_pause_a_worker(ci: Running, page: Page) -> None:
    brid = ci.force("talker")
    build = ci.until("BuildStarted", brid=brid)
    ci.until("LogOpened", buildid=build["buildid"])
    page.goto(f"/builds/{build['buildid']}")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".chip").first).to_have_text("cancelled")
    page.goto("/workers")
    page.locator("#w1").get_by_role("button", name="Pause").click()
    expect(page.locator("#w1")).to_contain_text("paused")
    assert ci.one("workers/w1")["paused"]
    page.locator("#w1").get_by_role("button", name="Unpause").click()
    expect(page.locator("#w1").get_by_role("button", name="Pause")).to_be_visible()


def test_what_a_person_has_opened_stays_open_while_the_page_renews_itself(ci: Running, page: Page) -> None:
    brid = ci.force("talker")
    build = ci.until("BuildStarted", brid=brid)
    log = ci.until("LogOpened", buildid=build["buildid"])
    page.goto(f"/builds/{build['buildid']}")
    page.get_by_text("Properties").click()
    expect(page.get_by_role("cell", name="buildername")).to_be_visible()
    ci.open_gate("talker")
    expect(page.locator(".chip").first).to_have_text("success")
    expect(page.get_by_role("cell", name="buildername")).to_be_visible()
    assert log["name"] == "stdio"


def test_pages_can_be_read_without_scripts(new_page: NewPage) -> None:
    page = new_page(java_script_enabled=False)
    for path in ("/", "/builders", "/locks", "/workers"):
        page.goto(path)
        expect(page.locator("main")).not_to_be_empty()
    page.goto("/builders/hello")
    page.get_by_text("A plain build").click()
    page.get_by_role("button", name="Force", exact=True).click()
    expect(page).to_have_url(re.compile(r"/requests/\d+$"))


def test_an_html_log_runs_no_script(ci: Running, new_page: NewPage) -> None:
    page = new_page()
    build = ci.built(ci.force("html"))
    log = ci.one(f"builds/{build['buildid']}/steps/html/logs")
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message) or dialog.dismiss())
    page.goto(f"/logs/{log['logid']}")
    expect(page.frame_locator("iframe").locator("b")).to_have_text("bold")
    assert not dialogs


def test_a_page_tells_at_once_that_somebody_took_a_unit_out_of_use(ci: Running, page: Page) -> None:
    page.goto("/locks/boards")
    row = page.get_by_role("table", name="Units of boards").get_by_role("row").filter(has_text="nuc")
    expect(page.get_by_text("live")).to_be_visible()
    ci.call("locks/boards%2Fnuc", "quarantine", reason="it hums")
    expect(row).to_contain_text("in quarantine")
    ci.call("locks/boards%2Fnuc", "lift")
    expect(row).not_to_contain_text("in quarantine")


def test_a_unit_is_taken_out_of_use_and_used_again_by_hand(ci: Running, page: Page) -> None:
    page.goto("/locks/boards")
    row = page.get_by_role("table", name="Units of boards").get_by_role("row").filter(has_text="pi-2")
    row.get_by_label("Why pi-2 is out of use").fill("it hums")
    row.get_by_role("button", name="Quarantine").click()
    expect(row).to_contain_text("in quarantine")
    expect(row).to_contain_text("it hums")
    row.get_by_role("button", name="Use it again").click()
    expect(row.get_by_role("button", name="Quarantine")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", ["/", "/builders", "/builders/hello", "/locks", "/locks/boards", "/workers", "/changes"]
)
def test_no_page_is_wider_than_a_phone(new_page: NewPage, path: str, scheme: str) -> None:
    page = new_page(viewport={"width": 380, "height": 700}, color_scheme=scheme)
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


@pytest.mark.parametrize("width", [360, 1200])
def test_a_long_reason_makes_no_page_wider(ci: Running, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    ci.call("locks/boards%2Fpi-1", "quarantine", owner="ann", reason="health check: " + "x" * 300)
    for path in ("/locks", "/locks/boards"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    ci.call("locks/boards", "lift", owner="ann")


def test_what_a_phone_shows_is_not_broken_letter_by_letter(ci: Running, page: Page) -> None:
    ci.built(ci.force("hello"))
    ci.until("BuildStarted", brid=ci.force("holder"))
    waits = ci.force("wanter")
    page.set_viewport_size({"width": 400, "height": 800})
    for path in ("/", "/builders", "/builders/wanter", f"/requests/{waits}", "/workers", "/builds/1"):
        page.goto(path)
        thin = """() => [...document.querySelectorAll('td, li, p')].filter(e => {
            const box = e.getBoundingClientRect();
            return e.innerText.length > 8 && box.width < 100 && box.height > 60;
        }).map(e => e.innerText)"""
        assert page.evaluate(thin) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, path


def test_the_state_of_a_worker_stands_on_one_line(ci: Running, page: Page) -> None:
    page.set_viewport_size({"width": 720, "height": 900})
    page.goto("/workers")
    lines = """() => [...document.querySelectorAll('td.state')].map(cell => {
        const word = document.createRange();
        word.selectNodeContents(cell.firstChild);
        return new Set([...word.getClientRects()].map(box => box.top)).size;
    })"""
    assert set(page.evaluate(lines)) == {1}
