"""The pages in headless Chromium: what a reader sees, hears and presses."""

import json
import os
import shutil

import pytest

from seqgan_music import html_report
from seqgan_music.run import Run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
DESK = {"viewport": {"width": 1280, "height": 900}}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def browser():
    flags = ["--autoplay-policy=no-user-gesture-required"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium has none for the superuser
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tiny_run, tmp_path_factory):
    """The pages of a run whose tunes and folder have hostile names."""
    directory = tmp_path_factory.mktemp("pages") / "<img src=x onerror=alert(2)>"
    shutil.copytree(tiny_run.directory, directory)
    facts = json.loads((directory / "run.json").read_text("utf-8"))
    facts["corpus"]["split"]["test"] = [f"{HOSTILE}{n}.mid" for n in range(len(facts["corpus"]["split"]["test"]))]
    (directory / "run.json").write_text(json.dumps(facts), "utf-8")
    point = {"bleu_4": 0.5, "self_bleu_4": 0.6}
    rows = [{"stage": stage, "temperature": 1, **point} for stage in ("mle", "best")]
    (directory / "temperatures.json").write_text(json.dumps({"rows": rows, "real": point, "facts": {}}), "utf-8")
    return html_report.write(Run(directory), samples=2, listening=2)


@pytest.fixture
def visit(browser):
    """Open a page; at the end nothing may have been complained about, asked or fetched."""
    contexts, troubles = [], []

    def open_page(file, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type in {"error", "warning"} and troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: request.url.startswith("http") and troubles.append(request.url))
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.goto(file.absolute().as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


def playing(page, number):
    return page.evaluate(f"(a => a.paused ? -1 : a.currentTime)(document.querySelectorAll('audio')[{number}])")


def wait_until(page, condition):
    """As `wait_for_function`, which the page's policy does not let evaluate text."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never: {condition}")


def wait_until_it_plays(page, number):
    wait_until(page, f"document.querySelectorAll('audio')[{number}].currentTime > 0.2")
    assert not page.evaluate(f"document.querySelectorAll('audio')[{number}].error")


def luminance(colour):
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(page, one, other):
    """Of two colours of the style sheet, by the formula of WCAG."""
    found = []
    for name in (one, other):
        text = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
        found.append(luminance([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]))
    return (max(found) + 0.05) / (min(found) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("which", ["report", "listening"])
def test_a_page_fits_the_screen_and_can_be_read(visit, pages, which, screen, scheme):
    page = visit(getattr(pages, which), color_scheme=scheme, **screen)
    wide, width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= width == screen["viewport"]["width"]
    for text in ("ink", "soft", "accent"):
        assert min(contrast(page, text, ground) for ground in ("paper", "card")) >= 4.5
    assert contrast(page, "on-accent", "accent") >= 4.5
    assert min(contrast(page, f"line-{n}", "paper") for n in range(6)) >= 3
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 384) == (scheme == "light")


def test_the_report_shows_hostile_titles_as_text(visit, pages):
    page = visit(pages.report, **DESK)
    assert page.locator("h4").first.inner_text().startswith(HOSTILE)
    assert page.locator("h1").inner_text() == "<img src=x onerror=alert(2)>"


def test_nothing_runs_but_the_script_of_the_page(browser, pages):
    context = browser.new_context()
    page = context.new_page()
    page.goto(pages.report.absolute().as_uri())
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
        "const i = document.createElement('img'); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i);"
        "i.setAttribute('onerror', 'window.ran = 2') }"
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    context.close()


def test_a_button_plays_and_another_melody_ends_the_first(visit, pages):
    page = visit(pages.report, **DESK)
    buttons = page.locator("button.play")
    buttons.nth(0).click()
    wait_until_it_plays(page, 0)
    assert buttons.nth(0).get_attribute("aria-label").startswith("Pause ")
    head = page.locator(".playhead").first
    assert head.is_visible()
    assert 0 < float(head.evaluate("line => parseFloat(line.style.left)")) <= 100
    buttons.nth(2).click()
    wait_until_it_plays(page, 2)
    assert playing(page, 0) == -1
    buttons.nth(2).click()
    assert playing(page, 2) == -1
    # The event that renames the button comes after the sound has stopped.
    wait_until(page, "document.querySelectorAll('button.play')[2].getAttribute('aria-label').startsWith('Play ')")


def test_a_melody_plays_to_its_end_and_again(visit, pages):
    page = visit(pages.report, **DESK)
    page.locator("input.seek").first.evaluate(
        "slider => { slider.value = slider.max - 0.3; slider.dispatchEvent(new Event('input')) }"
    )
    page.locator("button.play").first.click()
    wait_until(page, "document.querySelector('audio').paused && document.querySelector('audio').currentTime === 0")
    page.locator("button.play").first.click()
    wait_until_it_plays(page, 0)


def test_without_script_the_browser_plays(browser, pages):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages.report.absolute().as_uri())
    assert page.locator("audio").first.is_visible()
    assert not page.locator("button.play").first.is_visible()
    context.close()


def test_midi_downloads(visit, pages, tmp_path):
    page = visit(pages.report, accept_downloads=True, **DESK)
    with page.expect_download() as download:
        page.get_by_role("link", name="MIDI of sample 01").first.click()
    assert download.value.suggested_filename == "mle-sample-01.mid"
    download.value.save_as(tmp_path / "tune.mid")
    assert (tmp_path / "tune.mid").read_bytes()[:4] == b"MThd"


def test_a_metric_says_what_it_means_by_keyboard(visit, pages):
    page = visit(pages.report, **DESK)
    term = page.locator("button.term").nth(2)
    term.focus()
    assert page.locator(":popover-open").count() == 0
    page.keyboard.press("Enter")
    assert "Target:" in page.locator(":popover-open").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(":popover-open").count() == 0


def test_the_keyboard_reaches_everything_and_shows_where_it_is(visit, pages):
    page = visit(pages.report, **DESK)
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    assert skip.evaluate("link => link === document.activeElement && link.getBoundingClientRect().left >= 0")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.className") != "play":
        page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    wait_until_it_plays(page, 0)


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_motion_is_as_wanted(visit, pages, motion):
    page = visit(pages.report, reduced_motion=motion, **DESK)
    smooth = page.evaluate("getComputedStyle(document.documentElement).scrollBehavior")
    assert smooth == ("auto" if motion == "reduce" else "smooth")
    page.locator("button.play").first.click()
    wait_until_it_plays(page, 0)
    assert page.locator(".playhead").first.is_visible()


def vote(page, number, what):
    page.locator(f"input[name=vote-{number}][value={what}]").check()


def test_votes_are_counted_kept_and_saved(visit, pages, tmp_path):
    page = visit(pages.listening, accept_downloads=True, **PHONE)
    assert page.locator("#finish").is_disabled()
    assert page.locator("#count").inner_text() == "0 of 6 votes"
    assert not page.locator("#result").is_visible()
    page.get_by_label("Your name").fill("Zoë <b>")
    page.locator("button.play").nth(1).tap()
    wait_until_it_plays(page, 1)
    for number, what in enumerate(["real", "machine", "machine", "real", "real"], 1):
        vote(page, number, what)
    vote(page, 2, "real")  # thought better of it
    assert page.locator("#count").inner_text().startswith("5 of 6 votes")
    page.reload()
    assert page.locator("#count").inner_text().startswith("5 of 6 votes")
    assert page.get_by_label("Your name").input_value() == "Zoë <b>"
    assert not page.locator(".answer").first.is_visible()
    page.locator("#finish").click()
    assert page.locator("#result").is_visible()
    assert page.evaluate("document.activeElement.id") == "result-title"
    assert page.locator("input[type=radio]:enabled").count() == 0
    page.reload()
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "result.json")
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    votes = [piece["vote"] for piece in result["pieces"]]
    assert votes == ["real", "real", "machine", "real", "real", None]
    assert [piece["plays"] for piece in result["pieces"]] == [0, 1, 0, 0, 0, 0]
    assert [piece["piece"] for piece in result["pieces"]] == [1, 2, 3, 4, 5, 6]
    assert (result["listener"], result["run"]) == ("Zoë <b>", "<img src=x onerror=alert(2)>")
    for source in ("real", "mle", "best"):
        mine = [piece["vote"] for piece in result["pieces"] if piece["source"] == source]
        assert len(mine) == 2
        counted, real = sum(vote is not None for vote in mine), mine.count("real")
        assert result["scores"][source] == {"votes": counted, "real": real, "score": real / counted}
        row = page.locator("#scores tr").nth(["real", "mle", "best"].index(source)).locator("td")
        assert row.all_inner_texts() == [str(counted), str(real), f"{real / counted:.2f}"]
    titles = {piece["title"] for piece in result["pieces"] if piece["source"] == "real"}
    assert all(title.startswith(HOSTILE) for title in titles)
    for number, piece in enumerate(result["pieces"]):
        assert piece["title"] in page.locator(".answer").nth(number).inner_text()


def test_votes_by_keyboard_and_a_new_start(browser, pages):
    context = browser.new_context(**DESK)
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(pages.listening.absolute().as_uri())
    page.get_by_label("Your name").focus()
    page.keyboard.press("Enter")  # finishes nothing
    for number in range(1, 7):
        page.locator(f"input[name=vote-{number}]").first.focus()
        page.keyboard.press("Space")
        if number % 2:
            page.keyboard.press("ArrowRight")
    assert page.locator("#count").inner_text() == "6 of 6 votes"
    page.locator("#finish").focus()
    page.keyboard.press("Enter")
    said = [int(text) for text in page.locator("#scores td:nth-of-type(2)").all_inner_texts()]
    assert sum(said) == 3
    page.locator("#again").focus()
    page.keyboard.press("Enter")
    assert page.locator("#count").inner_text() == "0 of 6 votes"
    assert not page.locator("#result").is_visible()
    assert page.locator("input[type=radio]:enabled").count() == 12
    page.reload()
    assert page.locator("input[type=radio]:checked").count() == 0
    context.close()


def test_votes_count_where_the_browser_keeps_nothing(browser, pages):
    context = browser.new_context(**DESK)
    page = context.new_page()
    page.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }")
    page.goto(pages.listening.absolute().as_uri())
    vote(page, 1, "real")
    assert "keeps nothing" in page.locator("#trouble").inner_text()
    page.locator("#finish").click()
    assert page.locator("#result").is_visible()
    context.close()
