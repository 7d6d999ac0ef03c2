"""The documentation site, built strictly: a dead link or a broken docstring fails."""

from __future__ import annotations

import re

from scripts import build_site as site

SITE = site.ROOT / "build" / "site"


def test_the_site() -> None:
    """It is built once, in one process: two would write to the same folder."""
    assert site.main() == 0
    check_that_every_picture_of_an_experiment_is_in_the_gallery()
    check_that_the_reference_holds_docstrings_with_their_examples()
    check_that_every_page_is_reached_and_nothing_is_loaded_from_elsewhere()


def text_of(page: str) -> str:
    return (SITE / page).read_text()


def check_that_every_picture_of_an_experiment_is_in_the_gallery() -> None:
    shown = text_of("gallery.html")
    for page in (site.ROOT / "experiments").glob("*/README.md"):
        for _, name in site.PICTURE.findall(page.read_text()):
            assert f'src="experiments/{page.parent.name}/{name}"' in shown
            assert (SITE / "experiments" / page.parent.name / name).is_file()


def check_that_the_reference_holds_docstrings_with_their_examples() -> None:
    shown = text_of("api/averaging.html")
    assert "sparsekit.core.averaging.uniform" in shown
    assert '<span class="gp">' in text_of("api/schedules.html")  # an example, as code


def check_that_every_page_is_reached_and_nothing_is_loaded_from_elsewhere() -> None:
    pages = [p.relative_to(site.PAGES).with_suffix(".html") for p in site.PAGES.rglob("*.md")]
    start = text_of("index.html")
    for page in pages:
        built = page.with_name("index.html") if page.name == "README.html" else page
        assert (SITE / built).is_file(), page
        assert f'href="{built}"' in start or str(built) == "index.html", built
    loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', start)
    assert loaded == []
