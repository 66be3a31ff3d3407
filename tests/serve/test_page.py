"""The page in a browser: choose, drop and paste pictures, and see what was decided."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, export_heads, picture, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page") / "heads"
    heads = export_heads(folder)
    with running(heads[0]) as served:
        yield served


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("guarded") / "heads"
    export_heads(folder)
    with running(folder, PROMPTAD_TOKEN="a-secret") as served:
        yield served


class Tab:
    """The page, opened at a width and in a colour scheme."""

    def __init__(self, browser: Any, address: str, width: int = 1280, scheme: str = "light") -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get_log("browser")
        browser.get(address)
        self.browser, self.run = browser, browser.execute_script
        self.wait(
            "return document.getElementById('facts').textContent !== '' || document.querySelector('dialog[open]')"
        )

    def wait(self, script: str) -> None:
        """Wait until a script returns something true."""
        from selenium.webdriver.support.ui import WebDriverWait  # noqa: PLC0415 it may be missing

        WebDriverWait(self.browser, 20, 0.05).until(lambda _: self.run(script))

    def choose(self, *paths: Path) -> None:
        """Choose files by the button's dialog."""
        self.browser.find_element("id", "files").send_keys("\n".join(map(str, paths)))

    def give(self, event: str, name: str, content: bytes) -> None:
        """Drop or paste a file, as a script does."""
        self.run(
            """
            const [event, name, content] = arguments, held = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
            held.items.add(new File([bytes], name));
            const ways = {bubbles: true, cancelable: true};
            const given = event === "drop" ? new DragEvent("drop", {dataTransfer: held, ...ways})
              : new ClipboardEvent("paste", {clipboardData: held, ...ways});
            document.getElementById("drop").dispatchEvent(given);
            """,
            event,
            name,
            base64.b64encode(content).decode(),
        )

    def settled(self, count: int) -> list[dict[str, Any]]:
        """Wait for the decisions on some pictures, and return what is shown of each."""
        self.wait(f"return document.querySelectorAll('article:not(.waiting)').length === {count}")
        found: list[dict[str, Any]] = self.run(
            """return [...document.querySelectorAll("article")].map(card => ({
              kind: card.className, name: card.querySelector("h2").textContent,
              verdict: card.querySelector(".verdict").textContent, why: card.querySelector(".why").textContent,
              text: card.innerText, maps: card.querySelectorAll("img.over").length}))"""
        )
        return found

    def log(self) -> list[str]:
        """What the browser complained of."""
        return [entry["message"] for entry in self.browser.get_log("browser")]


@pytest.fixture
def chosen(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"part {seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        path.write_bytes(picture(seed, (120, 80)))
    return paths


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_chosen_pictures_are_judged_and_shown(
    browser: Any, service: Served, chosen: list[Path], width: int, scheme: str
) -> None:
    tab = Tab(browser, service.address, width, scheme)
    assert tab.run("return document.querySelector('h1').textContent") == "Judge pictures: carpet"
    tab.choose(*chosen)
    cards = tab.settled(3)
    assert [card["name"] for card in cards] == [path.name for path in chosen]
    for card in cards:
        assert card["kind"] in ("anomaly", "good")
        assert card["verdict"].lower() == card["kind"]
        assert "threshold 0.50" in card["text"]
        assert card["maps"] == 1
    assert tab.run("return document.getElementById('said').textContent").startswith("3 of 3 done: ")
    tab.wait("return [...document.images].every(image => image.complete && image.naturalWidth > 0)")
    tab.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert tab.run("return document.documentElement.scrollWidth <= innerWidth")
    assert tab.run(
        "return [...document.querySelectorAll('button, input, select')].every(one => one.hidden"
        " || one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)"
    )
    light = tab.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (scheme == "light")
    assert tab.log() == []


def test_dropped_and_pasted_pictures_are_judged_and_a_refusal_is_shown(browser: Any, service: Served) -> None:
    tab = Tab(browser, service.address)
    tab.give("drop", "dropped.png", picture(1))
    tab.give("paste", "pasted.jpg", picture(2, kind="JPEG"))
    tab.give("drop", "notes.png", b"no picture")
    dropped, pasted, notes = tab.settled(3)
    assert {dropped["kind"], pasted["kind"]} <= {"anomaly", "good"}
    assert notes["verdict"] == "Not judged"
    assert notes["why"].startswith("not a picture: notes.png is damaged or of another kind")
    assert "1 not judged" in tab.run("return document.getElementById('said').textContent")
    assert tab.log() == []


def test_a_kind_that_the_browser_does_not_show_is_shown_by_its_map(browser: Any, service: Served) -> None:
    tab = Tab(browser, service.address)
    tab.give("drop", "part.tif", picture(1, kind="TIFF"))
    (card,) = tab.settled(1)
    tab.wait("return document.querySelector('.stage.mapped')")
    assert card["kind"] in ("anomaly", "good")
    tab.wait("return getComputedStyle(document.querySelector('.over')).opacity === '1'")


def test_the_map_is_shown_as_strongly_as_is_asked_and_a_picture_is_enlarged(
    browser: Any, service: Served, chosen: list[Path]
) -> None:
    tab = Tab(browser, service.address)
    tab.choose(chosen[0])
    tab.settled(1)
    tab.run("const it = document.getElementById('strength'); it.value = 30; it.dispatchEvent(new Event('input'))")
    tab.wait("return getComputedStyle(document.querySelector('.over')).opacity === '0.3'")
    tab.run("document.querySelector('.stage').click()")
    assert tab.run("return document.querySelector('#large[open] h2').textContent") == "part 0.png"
    tab.run("document.getElementById('close-large').click(); document.getElementById('clear').click()")
    assert tab.run("return document.querySelectorAll('article').length") == 0
    tab.choose(chosen[1])
    assert tab.settled(1)[0]["name"] == "part 1.png"


def test_a_token_is_asked_for_until_it_is_right_and_a_part_is_chosen(
    browser: Any, guarded: Served, chosen: list[Path]
) -> None:
    tab = Tab(browser, guarded.address)
    for token in ("wrong", "a-secret"):
        tab.wait("return document.querySelector('#ask[open]')")
        tab.run("document.getElementById('token').value = arguments[0]", token)
        tab.run("document.querySelector('#ask form').requestSubmit()")
    tab.wait("return document.getElementById('part').options.length === 2")
    assert "That token is wrong" in tab.run("return document.getElementById('ask-said').textContent")
    tab.run("const it = document.getElementById('part'); it.value = 'plain'; it.dispatchEvent(new Event('change'))")
    tab.choose(chosen[0])
    assert "plain" in tab.settled(1)[0]["text"]
    browser.refresh()
    tab.wait("return document.getElementById('facts').textContent !== ''")
    assert not tab.run("return document.querySelector('#ask[open]')")


def test_a_service_that_stops_is_told_and_can_be_asked_again(browser: Any, chosen: list[Path], tmp_path: Path) -> None:
    with running(export_heads(tmp_path / "heads")[0]) as served:
        tab = Tab(browser, served.address)
        assert served.stop() == 0
        tab.choose(chosen[0])
        (card,) = tab.settled(1)
        assert card["why"] == "it was not judged, for the service does not answer"
        assert "Try again" in card["text"]
