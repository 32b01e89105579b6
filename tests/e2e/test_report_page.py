"""`ganctl report` of a real run, and its page in a real browser."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import chromium
import pytest

pytestmark = pytest.mark.slow

EVIL = "</script><img src=x onerror=document.title='pwned'>"


@pytest.fixture(scope="module")
def run(trained: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, with a name and a curve that try to be markup."""
    folder = tmp_path_factory.mktemp("reported") / f"run {EVIL.replace('/', '')}"
    shutil.copytree(trained.run, folder)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 1, "images_seen": 64, EVIL: 1.0}) + "\n")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Page]:
    if chromium.find() is None:
        pytest.skip("there is no Chromium on this machine")
    with chromium.page() as page:
        yield page


def test_the_verb_prints_where_the_page_is(
    run: Path, tmp_path: Path, invoke: Callable[..., SimpleNamespace]
) -> None:
    out = tmp_path / "a.html"
    assert invoke("report", str(run), "--out", str(out)).stdout == f"{out}\n"
    done = invoke("report", str(run), "--out", str(out), "--json")
    assert json.loads(done.stdout) == {"path": str(out), "runs": [str(run)]}
    missing = invoke("report", f"{run}x")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert f"did you mean {run}" in missing.stderr


def test_the_page_works_in_a_browser(
    run: Path, browser: chromium.Page, tmp_path: Path, invoke: Callable[..., SimpleNamespace]
) -> None:
    out = tmp_path / "page.html"
    assert invoke("report", str(run), str(run), "--out", str(out)).exit_code == 0
    browser.look(390, 844, phone=True)
    browser.open(out.as_uri())
    ask = browser.ask
    assert ask("document.documentElement.dataset.ready") == "yes"
    assert ask("document.documentElement.scrollWidth") == 390, "it scrolls sideways"
    assert ask("[...document.images].every(i => i.naturalWidth > 0)")
    # digits: two epochs, so pictures at the start and after each
    assert ask("document.getElementById('scrub').max") == "2"
    picture = "document.querySelector('.frame img').src"
    last = ask(picture)
    browser.press("ArrowLeft")
    assert ask("document.getElementById('scrub').value") == "1"
    assert ask(picture) != last
    ask("(s => { s.value = 2; s.dispatchEvent(new Event('input')); })(document.getElementById('scrub'))")
    assert ask(picture) == last
    # Every curve is drawn inside its frame; the axis can be logarithmic; values are read by key.
    curves = "document.querySelectorAll('.plot polyline').length"
    assert ask("[...document.querySelectorAll('.chart')].every(c => c.querySelector('polyline'))")
    assert ask("!document.querySelector('.plot svg').outerHTML.includes('NaN')")
    before = ask(curves), ask("document.querySelector('#training polyline').getAttribute('points')")
    ask("document.querySelector('[value=log]').click()")
    assert ask(curves) == before[0]
    assert ask("document.querySelector('#training polyline').getAttribute('points')") != before[1]
    ask("document.querySelector('#training .plot svg').focus()")
    browser.press("ArrowRight")
    assert "kimg, step" in ask("document.querySelector('#training .tip').textContent")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = ask(colour)
    ask("document.getElementById('theme').click()")
    assert ask(colour) != light
    assert EVIL in ask("document.body.innerText")
    assert ask("document.title").endswith("ganctl report")
    assert browser.complaints() == []
    assert browser.requests() == [out.as_uri()]


def test_the_policy_stops_what_is_not_the_pages_own(
    run: Path, browser: chromium.Page, tmp_path: Path, invoke: Callable[..., SimpleNamespace]
) -> None:
    """The second line of defence, and that the browser tells of what the test above must not find."""
    out = tmp_path / "page.html"
    assert invoke("report", str(run), "--out", str(out)).exit_code == 0
    altered = out.read_text().replace(
        "</main>",
        "<script>document.title = 'pwned'</script><img src=file:///x.png onerror='document.title=1'></main>",
    )
    out.write_text(altered)
    browser.open(out.as_uri())
    time.sleep(0.2)
    assert browser.ask("document.title").endswith("ganctl report")
    assert len(browser.complaints()) >= 2
