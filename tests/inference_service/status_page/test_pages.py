from __future__ import annotations

import gzip
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from inference_service.client import InferenceClient
from inference_service.status_page import image_form
from inference_service.status_page.rendering import Renderer
from tests.support.engines import MeanEngine
from tests.support.http_calls import FORM_TYPE, Reply, call, form_body, send_form
from tests.support.inference_server import InferenceServer
from tests.support.manifests import conversion, graph_file
from tests.support.pictures import plain_png
from tests.support.status_pages import MAX_BYTES, status_page

PICTURE = plain_png(10, 20, 30)


@pytest.fixture
def page(server: InferenceServer) -> Iterator[str]:
    with status_page(server) as url:
        yield url


def answer(reply: Reply) -> str:
    """Returns what is below the form, without tags."""
    (inside,) = re.findall(r'<div id="answer".*?>(.*?)</div>', reply.text, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", inside).split())


def short(value: object) -> str | None:
    """Names a case's bytes and fields by their number."""
    return f"{len(value)}" if isinstance(value, (bytes, dict)) else None


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_an_empty_server_says_so(page: str) -> None:
    reply = call(page)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "There are none yet." in reply.text
    assert "no model is served" in reply.text
    assert call(page, path="status.json").json()["models"] == []


def test_models_versions_states_labels_and_errors_are_shown(
    server: InferenceServer, page: str
) -> None:
    server.publish(b"1")
    server.on_loop(lambda: server.rules.set_label("m", "stable", 1))
    server.publish(b"2")
    server.publish(b"broken", model="bad")
    text = call(page).text
    assert re.findall(r'data-label="Version">(\d)', text) == ["1", "1", "2"]
    assert re.findall(r'<span class="tag"><bdi>(\w+)</bdi>', text)[0] == "stable"
    assert text.count(">available<") == 4
    assert "the graph has no tensor probs:0" in text
    assert "Next try in" in text
    assert 'value="m label stable"' in text
    bad, good = call(page, path="status.json").json()["models"]
    assert (bad["name"], bad["versions"][0]["state"]) == ("bad", "FAILED")
    assert bad["versions"][0]["retry_in_seconds"] > 0
    assert [one["state"] for one in good["versions"]] == ["AVAILABLE", "AVAILABLE"]


def test_a_version_that_loads_is_shown_as_loading(server: InferenceServer, page: str) -> None:
    with server.publishing(b"1"):
        assert ">loading<" in call(page).text
    assert ">loading<" not in call(page).text


def test_a_curve_and_parity_are_shown_of_what_is_served(server: InferenceServer, page: str) -> None:
    server.publish(b"1")
    text = call(page).text
    assert (
        'aria-label="Images per second by batch size: 1: 1.0, 2: 2.0, 4: 4.0. The limit is 4."'
        in text
    )
    assert "frozen with session" in text
    assert "1.0e-07" in text
    assert "/c/model.ckpt-300" in text
    assert "tensorflow 2.21.0" in text


def test_the_rate_and_the_answered_images_are_told(server: InferenceServer, page: str) -> None:
    server.publish(b"0")
    assert send_form(page, {"target": "m", "card": "1"}, PICTURE).status == 200

    def card() -> Any:
        return call(page, path="status.json").json()["models"][0]["versions"][0]["cards"][1]

    wait_for(lambda: card()["images_per_second"] > 0)
    assert card()["answered_images"] == 1
    # Five seconds later nobody asks any more.
    wait_for(lambda: card()["images_per_second"] == 0)


def test_an_image_is_answered_with_bars_by_the_card_that_was_chosen(
    server: InferenceServer, page: str
) -> None:
    server.publish(b"5")
    for card in ("0", "1"):
        reply = send_form(page, {"target": "m", "card": card, "fit": "EXACT"}, PICTURE)
        assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
        said = answer(reply)
        assert f"m version 1, card {card}" in said
        assert "class 2 35 class 1 25 class 0 15" in said
        assert "computing in a batch of 1" in said
        assert f'<option value="{card}" selected>' in reply.text


def test_a_version_and_a_label_are_asked_as_chosen(server: InferenceServer, page: str) -> None:
    server.publish(b"1")
    server.on_loop(lambda: server.rules.set_label("m", "old", 1))
    server.publish(b"2")
    for target, version in (("m", 2), ("m version 1", 1), ("m version 2", 2), ("m label old", 1)):
        reply = send_form(page, {"target": target}, PICTURE)
        assert f"m version {version}, card" in answer(reply)
        assert f'<option value="{target}" data-cards="2" selected>' in reply.text


def test_an_image_of_another_size_is_fitted_if_that_was_chosen(
    server: InferenceServer, page: str
) -> None:
    server.publish(b"0")
    large = plain_png(10, 20, 30, side=64)
    refused = send_form(page, {"target": "m", "fit": "EXACT"}, large)
    assert refused.status == 400
    assert "ask for a fit" in answer(refused)
    for fit in ("STRETCH", "CROP"):
        assert "class 2 30" in answer(send_form(page, {"target": "m", "fit": fit}, large))


@pytest.mark.parametrize(
    ("fields", "image", "status", "words"),
    [
        ({"target": "m"}, b"", 400, "choose a JPEG or PNG file"),
        ({"target": "m"}, None, 400, "choose a JPEG or PNG file"),
        ({"target": "m"}, b"GIF89a", 400, "does not decode as JPEG or PNG"),
        ({"target": "m"}, PICTURE[:-20], 400, "does not decode as JPEG or PNG"),
        ({}, PICTURE, 400, "there is no model: choose one"),
        ({"target": "m or n"}, PICTURE, 400, "choose one of the list"),
        ({"target": "nobody"}, PICTURE, 404, "there is no model"),
        ({"target": "m version 9"}, PICTURE, 404, "has no version 9"),
        ({"target": "m label x"}, PICTURE, 404, "has no label x"),
        ({"target": "m", "card": "7"}, PICTURE, 404, "has no card 7; it has 0, 1"),
        ({"target": "m", "card": "-1"}, PICTURE, 400, "card is"),
        ({"target": "m", "card": "9" * 30}, PICTURE, 400, "card is"),
        ({"target": "m", "card": "\u0664"}, PICTURE, 400, "card is"),
        ({"target": "m", "fit": "WIDE"}, PICTURE, 400, "EXACT, STRETCH, CROP"),
        ({"target": "m" * 2000}, PICTURE, 400, "is too long"),
        ({f"f{n}": "" for n in range(20)}, PICTURE, 400, "should not have"),
        ({"": "m"}, PICTURE, 400, "should not have"),
        ({"target": "m"}, b"x" * (MAX_BYTES + 1), 400, "larger than 1048576 bytes"),
        ({"target": "m"}, b"x" * (2 * MAX_BYTES), 400, "larger than 1048576 bytes"),
    ],
    ids=short,
)
def test_what_cannot_be_answered_is_refused_in_words(
    server: InferenceServer,
    page: str,
    fields: dict[str, str],
    image: bytes,
    status: int,
    words: str,
) -> None:
    server.publish(b"0")
    reply = send_form(page, fields, image)
    assert (reply.status, words in answer(reply)) == (status, True), answer(reply)
    assert "m version 1" in answer(send_form(page, {"target": "m"}, PICTURE))


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"target=m", "application/x-www-form-urlencoded", "send multipart/form-data"),
        (b"", "multipart/form-data", "cannot be read: boundary missed"),
        (b"--boundary-of-a-test\r\n", FORM_TYPE["Content-Type"], "should not have"),
        (b"no boundary at all", FORM_TYPE["Content-Type"], "cannot be read"),
        (form_body({"target": "m"}, PICTURE)[:-40], FORM_TYPE["Content-Type"], "cannot be read"),
        (
            form_body({}, PICTURE)[:-24] + form_body({"target": "m"}, PICTURE),
            FORM_TYPE["Content-Type"],
            "two images",
        ),
        (
            b"--boundary-of-a-test\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x--\r\n",
            FORM_TYPE["Content-Type"],
            "should not have",
        ),
        (
            b"--boundary-of-a-test\r\n" + b"X: y\r\n" * 500 + b"\r\n\r\n--boundary-of-a-test--\r\n",
            FORM_TYPE["Content-Type"],
            "cannot be read",
        ),
        # Each line of them would be read by itself, with nobody else having a turn.
        (b"\n" * 100_000, FORM_TYPE["Content-Type"], "too many lines around its fields"),
    ],
    ids=short,
)
def test_a_body_that_is_no_such_form_is_refused(
    page: str, body: bytes, kind: str, words: str
) -> None:
    reply = call(page, "POST", "predict", body=body, headers={"Content-Type": kind})
    assert (reply.status, words in answer(reply)) == (400, True), answer(reply)


def test_an_engine_that_fails_is_shown_in_its_words(server: InferenceServer, page: str) -> None:
    server.publish(b"0")
    server.engines[0].broken_cards = {0}
    reply = send_form(page, {"target": "m", "card": "0"}, PICTURE)
    assert (reply.status, answer(reply)) == (500, "the device is gone")
    assert "its last error was: the device is gone" in call(page).text


def test_a_defect_is_an_incident_and_costs_one_answer(
    server: InferenceServer, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(b"0")
    with monkeypatch.context() as patched:
        patched.setattr(image_form, "bars", lambda _: 1 / 0)
        reply = send_form(page, {"target": "m"}, PICTURE)
    assert (reply.status, "incident" in answer(reply)) == (500, True)
    assert "division" not in reply.text
    assert send_form(page, {"target": "m"}, PICTURE).status == 200


def held(server: InferenceServer) -> MeanEngine:
    """Publishes a model whose engine waits."""
    server.publish(b"0")
    engine = server.engines[-1]
    engine.gate.clear()
    return engine


def test_few_images_are_taken_at_a_time_and_the_next_is_told_to_come_back(
    server: InferenceServer, page: str
) -> None:
    engine = held(server)

    def outstanding() -> int:
        cards = call(page, path="status.json").json()["models"][0]["versions"][0]["cards"]
        return sum(card["outstanding_images"] for card in cards)

    with ThreadPoolExecutor(4) as senders:
        waiting = [senders.submit(send_form, page, {"target": "m"}, PICTURE) for _ in range(4)]
        wait_for(lambda: outstanding() == 4)
        refused = send_form(page, {"target": "m"}, PICTURE)
        engine.gate.set()
        assert [one.result().status for one in waiting] == [200] * 4
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert "4 images at a time" in answer(refused)
    assert send_form(page, {"target": "m"}, PICTURE).status == 200


def test_nobody_waits_longer_than_the_deadline(
    server: InferenceServer, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_form, "_ANSWER_SECONDS", 0.1)
    engine = held(server)
    reply = send_form(page, {"target": "m"}, PICTURE)
    assert (reply.status, "within 0.1 s" in answer(reply)) == (504, True)
    engine.gate.set()
    wait_for(
        lambda: all(
            not card.status().outstanding_images for card in server.registry.servables()[0].cards
        )
    )


def test_a_sender_who_never_ends_is_given_up(
    server: InferenceServer, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_form, "_UPLOAD_SECONDS", 0.1)
    headers = {**FORM_TYPE, "Content-Length": "1000"}
    reply = call(page, "POST", "predict", body=b"--boundary-of-a-test\r\n", headers=headers)
    assert (reply.status, "not complete after 0.1 s" in answer(reply)) == (504, True)


def test_a_page_that_takes_long_to_draw_holds_up_nobody(
    server: InferenceServer, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(b"0")
    drawing, go_on = threading.Event(), threading.Event()
    draw = Renderer.page

    def slow(*args: Any, **kwargs: Any) -> str:
        drawing.set()
        assert go_on.wait(30)
        return draw(*args, **kwargs)

    monkeypatch.setattr(Renderer, "page", slow)
    with ThreadPoolExecutor(1) as reader, InferenceClient(server.address) as client:
        reading = reader.submit(call, page)
        assert drawing.wait(30)
        assert [model.name for model in client.models()] == ["m"]
        go_on.set()
        assert reading.result().status == 200


def test_many_readers_are_told_to_come_back(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, go_on = threading.Semaphore(0), threading.Event()
    draw = Renderer.page

    def slow(*args: Any, **kwargs: Any) -> str:
        drawing.release()
        assert go_on.wait(30)
        return draw(*args, **kwargs)

    monkeypatch.setattr(Renderer, "page", slow)
    with ThreadPoolExecutor(17) as readers:
        reading = [readers.submit(call, page) for _ in range(17)]
        # One is drawn, 15 wait for it, and the last to come is refused at once.
        assert drawing.acquire(timeout=30)
        wait_for(lambda: any(one.done() for one in reading))
        go_on.set()
        replies = [one.result() for one in reading]
    assert sorted(reply.status for reply in replies) == [200] * 16 + [429]
    (refused,) = (reply for reply in replies if reply.status == 429)
    assert "16 readers at a time" in refused.text
    assert refused.headers["retry-after"] == "1"
    assert call(page).status == 200


def test_a_packed_body_is_not_unpacked(page: str) -> None:
    packed = gzip.compress(form_body({"target": "m"}, b"x" * 10_000_000))
    headers = {**FORM_TYPE, "Content-Encoding": "gzip"}
    reply = call(page, "POST", "predict", body=packed, headers=headers)
    assert (reply.status, "cannot be read" in answer(reply)) == (400, True)


def test_names_and_reasons_never_become_markup(server: InferenceServer, page: str) -> None:
    hostile = "<script>alert(1)</script>\"'&"
    described = replace(
        conversion(b"5"),
        class_labels=(hostile, "b", "c"),
        warnings=(hostile,),
        tool_versions={hostile: hostile},
        architecture=replace(conversion().architecture, parameters={hostile: hostile}),
        checkpoint=replace(conversion().checkpoint, path=hostile),
    )
    server.store.publish("m", described, graph_file(server.folder, b"5"))
    server.sync()
    server.on_loop(lambda: server.view.__setattr__("problem", hostile))
    reply = send_form(page, {"target": "m"}, PICTURE)
    assert reply.text.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;") >= 6
    assert "<script>alert" not in reply.text
    refused = send_form(page, {"target": hostile}, PICTURE)
    assert "<script>alert" not in refused.text
    assert "&lt;script&gt;" in refused.text


def test_other_sites_are_refused_and_nothing_is_asked(server: InferenceServer, page: str) -> None:
    server.publish(b"0")
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ):
        assert send_form(page, {"target": "m"}, PICTURE, headers).status in (403, 421)
    assert call(page, headers={"Host": "evil.example"}).status == 421
    assert server.engines[0].batches == []


def test_files_of_the_page_are_there_with_their_types_and_no_others(page: str) -> None:
    for name, kind in (
        ("status.css", "text/css"),
        ("status.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ):
        reply = call(page, path=f"static/{name}")
        assert (reply.status, reply.headers["content-type"].split(";")[0]) == (200, kind)
        assert f"static/{name}" in call(page).text
    for path in ("static/", "static/../pages.py", "static/..%2fpages.py", "static/nothing", "x"):
        assert call(page, path=path).status == 404


def test_methods_that_mean_nothing_here_are_refused(page: str) -> None:
    head = call(page, "HEAD")
    assert (head.status, head.text) == (200, "")
    assert call(page, "POST").status == 405
    asked = call(page, path="predict")
    assert (asked.status, asked.headers["allow"]) == (405, "POST")


def test_without_the_form_nothing_can_be_asked(server: InferenceServer) -> None:
    server.publish(b"0")
    with status_page(server, takes_images=False) as url:
        assert "<form" not in call(url).text
        assert send_form(url, {"target": "m"}, PICTURE).status == 404
    assert server.engines[0].batches == []
