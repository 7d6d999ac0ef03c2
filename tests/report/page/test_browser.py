"""A page in a real browser: it is read, sorted, filtered and asked, and asks nobody itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.page.conftest import EVIL, SWEEP

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class Seen:
    """An opened page, what it asked for, and what it complained of."""

    def __init__(self, browser: Any, file: Path, viewport: Any, scheme: str) -> None:
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.goto(file.as_uri())
        self.page.locator("#figures svg[role=img]").first.wait_for()

    def column(self, number: int) -> list[str]:
        rows = self.page.locator("#results tbody tr:visible")
        texts: list[str] = rows.locator(f"td:nth-child({number})").all_inner_texts()
        return texts


@pytest.fixture(scope="module")
def seen(browser: Any, file: Path) -> Iterator[Seen]:
    one = Seen(browser, file, DESKTOP, "light")
    yield one
    one.context.close()


@pytest.fixture(scope="module", autouse=True)
def healthy(seen: Seen, file: Path) -> Iterator[None]:
    """After all tests: nothing was asked for but the file, and nothing went wrong."""
    yield
    assert seen.asked == [file.as_uri()]
    assert seen.errors == []


def test_what_users_wrote_is_text(seen: Seen) -> None:
    assert seen.page.locator("h1").inner_text() == EVIL
    assert seen.page.title() == EVIL
    assert EVIL in seen.page.locator("#what pre").inner_text()
    assert EVIL in seen.page.locator("#failures pre").last.inner_text()
    claims = seen.page.locator("#claims dl").inner_text().splitlines()
    assert [line for line in claims if line] == [
        "supported", "imp keeps more", "contradicted", EVIL, "not testable", "snip is as good",
    ]  # fmt: skip
    assert seen.page.locator("img").count() == 0


def test_a_header_sorts_by_numbers_by_mouse_and_by_keyboard(seen: Seen) -> None:
    header = seen.page.locator("#results th", has_text="sparsity").first
    header.locator("button").click()
    values = [float(text) for text in seen.column(2)]
    assert values == sorted(values)
    assert header.get_attribute("aria-sort") == "ascending"
    header.locator("button").press("Enter")
    assert [float(text) for text in seen.column(2)] == values[::-1]
    names = seen.page.locator("#results th button").first
    names.click()
    assert seen.column(1) == sorted(seen.column(1))
    assert header.get_attribute("aria-sort") is None


def test_a_text_filters_rows_and_runs(seen: Seen) -> None:
    box = seen.page.get_by_label("filter rows")
    box.fill("RANDOM 95")
    assert seen.column(1) == ["random"]
    assert seen.page.locator("#results .told").inner_text().startswith("1 of ")
    box.fill("")
    runs = seen.page.locator("#runs details:visible")
    seen.page.get_by_label("filter runs").fill("failed")
    assert [text.split() for text in runs.all_inner_texts()] == [
        ["imp", "no", "result,", "seed", "7", "failed"]
    ]
    seen.page.get_by_label("filter runs").fill("")
    assert runs.count() == 9


def test_a_point_says_its_run_seed_value_and_key(seen: Seen) -> None:
    picture = seen.page.locator("#figures svg[role=img]").first
    tooltip = seen.page.locator("#tooltip")
    mark = picture.locator(".seed").first
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    lines = tooltip.inner_text().splitlines()
    assert lines[1:3] == ["test accuracy (%): 50", "seed 0, cycle 0"]
    assert lines[3].startswith("ticket-")
    seen.page.mouse.move(2, 2)
    assert tooltip.is_hidden()
    picture.press("ArrowRight")
    picture.press("ArrowRight")
    assert "seed" in tooltip.inner_text()
    picture.press("Escape")
    assert tooltip.is_hidden()


def test_a_name_hides_its_curve_and_another_axis_has_a_front(seen: Seen) -> None:
    figure = seen.page.locator("#figures")
    marks = figure.locator("svg[role=img]").first.locator(".seed")
    before = marks.count()
    button = figure.locator(".legend button", has_text="random").first
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert marks.count() == before - 6
    assert figure.locator(".dense").count() == 1
    assert figure.locator(".front").count() == 0
    figure.locator("select").first.select_option("flops")
    figure.locator(".front").wait_for()
    figure.locator("select").first.select_option("sparsity")


def test_a_run_has_its_curves_layers_configuration_and_warnings(seen: Seen) -> None:
    run = seen.page.locator("#runs details", has_text="random 95 %, seed 1")
    run.locator("summary").click()
    run.locator("svg[role=img]").wait_for()
    assert run.locator(".legend button").count() == 3  # a cycle each
    layers = run.locator("table").last
    assert layers.locator("tbody tr").count() == 11
    layers.locator("th button").first.click()
    names = layers.locator("td:first-child").all_inner_texts()
    assert names == [f"layer{number}.weight" for number in range(1, 12)]
    told = " ".join(run.locator("dl").all_inner_texts())
    assert "method=random" in told
    assert "2.0 s for its own fits" in told
    assert EVIL in run.inner_text()


def test_the_page_says_what_was_run_and_what_failed(seen: Seen) -> None:
    what = seen.page.locator("#what").inner_text()
    for text in (SWEEP, "2023-11-14 22:13 UTC by somebody", "node17", "cluster: slurm",
                 "commit 0123456789abcdef with changes that are not committed"):  # fmt: skip
        assert text in what
    failures = seen.page.locator("#failures").inner_text()
    assert "test/imp-seed7-imp" in failures
    assert "Traceback (most recent call last)" in failures
    assert "imp-seed8-imp" in seen.page.locator("#unfinished").inner_text()
    tiles = seen.page.locator(".tile").all_inner_texts()
    assert [text.split()[0] for text in tiles[:3]] == ["7", "1", "1"]


def test_a_phone_in_the_dark_scrolls_one_way(browser: Any, file: Path) -> None:
    phone = Seen(browser, file, PHONE, "dark")
    for details in phone.page.locator("details").all()[-2:]:
        details.locator("summary").click()
    width = phone.page.evaluate("document.documentElement.scrollWidth")
    back = phone.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (width, back, phone.errors) == (390, "rgb(20, 23, 28)", [])
    smallest = phone.page.evaluate(
        "Math.min(...[...document.querySelectorAll('main *')].filter((one) => one.innerText)"
        ".map((one) => parseFloat(getComputedStyle(one).fontSize)))"
    )
    assert smallest >= 12
    phone.context.close()
