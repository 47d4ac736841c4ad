"""The status page as people see it: in a browser, with a picture that is really uploaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from inference_service.client import InferenceClient
from service_kit.store.artifact_store import ArtifactStore
from tests.conftest import Converted
from tests.support.browser import chromium, needs_chromium
from tests.support.digits import expected
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.manifests import conversion, graph_file
from tests.support.pictures import plain_png, png
from tests.support.services import running
from tests.support.status_pages import status_page

pytestmark = [pytest.mark.slow, needs_chromium]

WORDS = tuple("zero one two three four five six seven eight nine".split())  # noqa: SIM905
HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
WIDE, NARROW = (1400, 900), (400, 800)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running_browser:
        yield running_browser


@dataclass
class Visit:
    """A page, and what it did that a person would not see."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def choose(self, picture: Path, target: str, card: str = "") -> None:
        self.page.select_option("#target", target)
        self.page.select_option("#card", card)
        self.page.set_input_files("#image", picture)

    def send(self) -> None:
        self.page.get_by_role("button", name="Predict").click()


@contextmanager
def visit(
    browser: Browser, url: str, *, size: tuple[int, int] = WIDE, script: bool = True
) -> Iterator[Visit]:
    """Opens the page; at the end it has asked nobody else and complained of nothing."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, java_script_enabled=script
    )
    seen = Visit(context.new_page())

    def requested(request: Request) -> None:
        if not request.url.startswith(("blob:", "data:")):
            seen.hosts.add(urlsplit(request.url).netloc)

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            seen.complaints.append(message.text)

    context.on("request", requested)
    seen.page.on("console", said)
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    try:
        seen.page.goto(url)
        yield seen
        assert seen.hosts == {urlsplit(url).netloc}
        assert seen.complaints == []
    finally:
        context.close()


@pytest.fixture
def server(store: ArtifactStore, tmp_path: Path) -> Iterator[InferenceServer]:
    with inference_server(store, tmp_path) as running_server:
        yield running_server


@pytest.fixture
def url(server: InferenceServer) -> Iterator[str]:
    with status_page(server) as opened:
        yield opened


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(plain_png(10, 20, 30))
    return path


@pytest.mark.parametrize("script", [True, False])
def test_a_digit_is_uploaded_and_its_bars_are_those_of_tensorflow(
    browser: Browser,
    store: ArtifactStore,
    converted_ema: Converted,
    tmp_path: Path,
    script: bool,  # noqa: FBT001
) -> None:
    named = replace(converted_ema.conversion, class_labels=WORDS)
    store.publish("digits", named, converted_ema.path)
    golden = expected()
    options = ("--store", str(tmp_path / "models"))
    with running("inference_service", *options, log=tmp_path / "log") as service:
        assert service.process.stdout is not None
        url = service.process.stdout.readline().split()[-1]
        with InferenceClient(service.address) as client:
            client.wait_until_ready("digits")
        with visit(browser, url, script=script) as seen:
            for card, image in (("0", 0), ("1", 5)):
                digit = tmp_path / "digit.png"
                digit.write_bytes(png(golden["images"][image]))
                seen.choose(digit, "digits version 1", card)
                seen.send()
                probs = golden["probs_ema"][image]
                expect(seen.page.locator("#answer caption")).to_have_text(
                    f"digits version 1, card {card}"
                )
                rows = seen.page.locator("#answer tbody tr")
                order = np.argsort(-probs, kind="stable")
                expect(rows).to_have_count(10)
                expect(rows.first.locator("th")).to_have_text(WORDS[order[0]])
                expect(rows.first.locator("td")).to_have_text(f"{100 * probs[order[0]]:.2f}%")
                bar = rows.first.locator("rect.fill")
                assert float(bar.get_attribute("width") or 0) == pytest.approx(
                    100 * probs.max(), abs=0.01
                )
            parity = seen.page.locator("details:not(.fold)").first
            parity.locator("summary").click()
            expect(parity).to_contain_text("step 300")
            expect(parity.locator("table.parity tbody tr").first).to_contain_text("passed")
            expect(parity.locator(".origin")).to_contain_text("Class labels")


def test_what_happens_on_the_server_appears_by_itself(
    browser: Browser, server: InferenceServer, url: str
) -> None:
    with visit(browser, url) as seen:
        page = seen.page
        expect(page.locator("#models")).to_contain_text("There are none yet.")
        server.publish(b"1")
        row = page.locator("#models tbody tr")
        expect(row).to_have_count(1, timeout=10_000)
        expect(row.first).to_contain_text("available")
        expect(page.locator(".curve").first).to_be_visible()
        # The form offers what came, and its second card.
        expect(page.locator("#target option")).to_have_count(2)
        expect(page.locator("#card option:enabled")).to_have_count(3)
        server.publish(b"broken", model="bad")
        expect(page.locator("#problems")).to_contain_text("no tensor probs:0", timeout=10_000)


def test_what_a_person_does_to_the_page_outlives_its_refreshing(
    browser: Browser, server: InferenceServer, url: str, picture: Path
) -> None:
    server.publish(b"1")
    server.publish(b"2")
    server.on_loop(lambda: server.rules.ask_for("m", 1))
    server.sync()
    with visit(browser, url) as seen:
        page = seen.page
        page.locator("summary").last.click()
        seen.choose(picture, "m version 1", "1")
        seen.send()
        expect(page.locator("#answer caption")).to_have_text("m version 1, card 1")
        server.publish(b"3", model="another")
        expect(page.locator("#models tbody tr")).to_have_count(3, timeout=10_000)
        assert page.locator("#target").input_value() == "m version 1"
        assert page.locator("#card").input_value() == "1"
        expect(page.locator("#answer caption")).to_have_text("m version 1, card 1")
        assert page.locator("details[open]:not(.fold)").get_attribute("id") == "v-m-2-artifact"


def test_on_a_phone_cards_are_folded_until_somebody_opens_them(
    browser: Browser, server: InferenceServer, url: str
) -> None:
    server.publish(b"1")
    with visit(browser, url, size=(390, 800)) as seen:
        page = seen.page
        expect(page.locator(".card").first).to_be_hidden()
        page.locator("details.fold summary").click()
        expect(page.locator(".card").first).to_be_visible()
        # What comes later is folded, and what was opened stays open.
        server.publish(b"2", model="later")
        expect(page.locator("details.fold")).to_have_count(2, timeout=10_000)
        expect(page.locator("details.fold[open]")).to_have_count(1)
    with visit(browser, url) as seen:
        expect(seen.page.locator("details.fold[open]")).to_have_count(2)
        expect(seen.page.locator("#problems")).to_have_class("line")


def test_the_page_can_be_paused_and_goes_on(
    browser: Browser, server: InferenceServer, url: str
) -> None:
    with visit(browser, url) as seen:
        page = seen.page
        page.clock.install()
        page.reload()
        page.get_by_role("button", name="Pause").click()
        server.publish(b"1")
        page.clock.fast_forward(60_000)
        expect(page.locator("#models")).to_contain_text("There are none yet.")
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#models tbody tr")).to_have_count(1)


def test_a_server_that_is_gone_is_told_with_the_time_of_the_last_answer(
    browser: Browser, server: InferenceServer, picture: Path
) -> None:
    server.publish(b"1")
    with status_page(server) as url, visit(browser, url) as seen:
        seen.page.context.set_offline(True)
        expect(seen.page.locator("#fresh")).to_contain_text(
            re.compile(r"No answer since \d\d:\d\d:\d\d UTC"), timeout=10_000
        )
        seen.choose(picture, "m")
        seen.send()
        expect(seen.page.locator("#answer")).to_contain_text("is it still there?")
        seen.page.context.set_offline(False)
        expect(seen.page.locator("#fresh")).to_contain_text("As of", timeout=15_000)
        # What a browser itself says of requests that failed.
        seen.complaints = [one for one in seen.complaints if "ERR_INTERNET_DISCONNECTED" not in one]


def test_a_refusal_is_shown_in_the_servers_words_and_the_page_goes_on(
    browser: Browser, server: InferenceServer, url: str, picture: Path, tmp_path: Path
) -> None:
    server.publish(b"1")
    large, huge = tmp_path / "large.png", tmp_path / "huge.png"
    large.write_bytes(plain_png(1, 2, 3, side=40))
    huge.write_bytes(b"x" * 2**21)
    with visit(browser, url) as seen:
        answer = seen.page.locator("#answer")
        seen.choose(large, "m")
        seen.send()
        expect(answer).to_contain_text("ask for a fit")
        assert [one for one in seen.complaints if "400" not in one] == []
        seen.complaints.clear()
        # The script knows the limit, and does not send it at all.
        seen.choose(huge, "m")
        seen.send()
        expect(answer).to_contain_text("2097152 bytes")
        seen.choose(picture, "m")
        seen.send()
        expect(answer.locator("caption")).to_contain_text("m version 1")


@pytest.mark.parametrize("script", [True, False])
def test_hostile_names_are_shown_and_are_no_markup(
    browser: Browser,
    server: InferenceServer,
    url: str,
    picture: Path,
    script: bool,  # noqa: FBT001
) -> None:
    described = replace(
        conversion(b"5"),
        class_labels=(HOSTILE, "b", "c"),
        warnings=(HOSTILE,),
        tool_versions={HOSTILE: HOSTILE},
        architecture=replace(conversion().architecture, name=HOSTILE),
    )
    server.store.publish("m", described, graph_file(server.folder, b"5"))
    server.sync()
    server.on_loop(lambda: setattr(server.view, "problem", HOSTILE))
    with visit(browser, url, script=script) as seen:
        seen.choose(picture, "m")
        seen.send()
        expect(seen.page.locator("#answer")).to_contain_text(HOSTILE)
        expect(seen.page.locator("#problems")).to_contain_text(HOSTILE)
        artifact = seen.page.locator("summary", has_text="Conversion").first
        expect(artifact).to_contain_text(HOSTILE)
        assert seen.page.title() == "pbserve status"
        assert seen.page.locator("img[src=x]").count() == 0
        assert seen.page.locator("script").count() == 1


def test_the_policy_stops_what_would_become_markup_all_the_same(browser: Browser, url: str) -> None:
    with visit(browser, url) as seen:
        seen.page.evaluate(
            "html => document.body.insertAdjacentHTML('beforeend', html)",
            "<img src=x onerror=\"document.title='broken'\"><p style='color: red' id='styled'>",
        )
        expect(seen.page.locator("#styled")).not_to_have_css("color", "rgb(255, 0, 0)")
        assert seen.page.title() == "pbserve status"
        assert any("Content Security Policy" in one for one in seen.complaints)
        seen.complaints.clear()


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_nothing_is_wider_than_the_window(
    browser: Browser, server: InferenceServer, url: str, size: tuple[int, int], picture: Path
) -> None:
    long = "a-model-with-a-name-of-the-greatest-length-that-a-name-may-have1"
    described = replace(conversion(b"5", cards=2), class_labels=("w" * 200, "b", "c"))
    server.store.publish(long, described, graph_file(server.folder, b"5"))
    server.sync()
    server.publish(b"broken", model="bad")
    with visit(browser, url, size=size) as seen:
        page = seen.page
        page.locator("summary", has_text="Conversion").first.click()
        seen.choose(picture, long)
        seen.send()
        expect(page.locator("#answer tbody tr")).to_have_count(3)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_everything_has_a_name_and_can_be_reached_by_keyboard(
    browser: Browser, server: InferenceServer, url: str
) -> None:
    server.publish(b"1")
    with visit(browser, url, size=NARROW) as seen:
        page = seen.page
        for label in ("Model", "Card", "Size"):
            expect(page.get_by_role("combobox", name=label)).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("^Image JPEG or PNG"))).to_be_visible()
        # Rows that became blocks are still a table to who listens.
        expect(
            page.get_by_role("table").first.get_by_role("cell", name="available")
        ).to_be_visible()
        # Folded on so narrow a screen; a click would take the focus along.
        page.evaluate("document.querySelector('details.fold').open = true")
        expect(page.get_by_role("img", name=re.compile("The limit is 4"))).to_have_count(2)
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to the models")).to_be_focused()
        reached = set()
        for _ in range(14):
            page.keyboard.press("Tab")
            reached.add(
                page.evaluate("document.activeElement.id || document.activeElement.tagName")
            )
        assert {"target", "card", "fit", "image", "pause", "BUTTON", "SUMMARY"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_colour_schemes(
    browser: Browser, server: InferenceServer, url: str, scheme: str, picture: Path
) -> None:
    server.publish(b"1")
    server.publish(b"broken", model="bad")
    with visit(browser, url) as seen:
        seen.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        seen.choose(picture, "m")
        seen.send()
        expect(seen.page.locator("#answer tbody tr")).to_have_count(3)
        assert seen.page.evaluate(_FAINT_TEXT) == []


# WCAG 2.2, 1.4.3: 4.5 to 1. Every element with text of its own, against the nearest background.
_FAINT_TEXT = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((one) => {
      const share = one / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.nodeValue.trim());
    if (!own || !element.checkVisibility() || element.closest("option")) continue;
    const style = getComputedStyle(element);
    const colour = rgb(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(colour), light(behind(element))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(element.outerHTML.slice(0, 120));
  }
  return faint;
}"""
