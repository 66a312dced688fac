"""What a reader does with the page, in Chromium, against a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.servers import Server, get_request, running_server
from tests.ui.browser import Browser, Page
from tests.ui.conftest import ADMIN_KEY, KEY
from tests.ui.policies import png

VIEWS = {
    "policies": ("ui/#/policies", ".cards h2"),
    "version": ("ui/#/policy/cartpole/2", "figure img"),
    "playground": ("ui/#/playground/cartpole", ".bars"),
    "tensors": ("ui/#/playground/robot", ".bars"),
    "picture": ("ui/#/playground/seeing", ".bars"),
    "live": ("ui/#/live/cartpole", ".tile"),
    "episode": ("ui/#/episode/cartpole", ".stage"),
    "pendulum": ("ui/#/episode/pendulum", ".stage"),
    "another world": ("ui/#/episode/gaussian", ".panel"),
    "reference": ("docs", ".operation"),
}
MOST_BYTES = 400_000


def open_view(page: Page, server: Server, name: str) -> None:
    path, sign = VIEWS[name]
    page.go(f"{server.url}/{path}")
    page.wait(f"!!document.querySelector({json.dumps(sign)})")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", VIEWS)
def test_a_view_has_no_fault_of_accessibility(page: Page, server: Server, axe: str, name: str, scheme: str) -> None:
    """By axe-core, with all that unfolds unfolded; on a phone nothing is wider than the screen."""
    page.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    open_view(page, server, name)
    page.evaluate("[...document.querySelectorAll('details')].slice(0, 4).forEach((one) => (one.open = true))")
    page.wait("[...document.querySelectorAll('details[open]')].every((one) => one.children.length > 1)")
    page.evaluate(f"{axe}; 0")
    found: Any = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [(fault["id"], [node["html"][:200] for node in fault["nodes"]]) for fault in found["violations"]] == []
    assert len(found["passes"]) > 15
    page.resize(360, 740)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_whole_page_is_small_and_comes_from_its_server(page: Page, server: Server) -> None:
    """At most 400 kB over all views, and every request goes to the server that is asked."""
    for name in VIEWS:
        open_view(page, server, name)
    page.evaluate("1")
    assert all(found["url"].startswith((server.url, "blob:", f"ws{server.url[4:]}")) for found in page.received)
    files = {found["url"]: found["id"] for found in page.received if "/ui/" in found["url"] or "/docs" in found["url"]}
    assert len(files) > 20
    assert sum(page.sizes.get(number, 0) for number in files.values()) <= MOST_BYTES


def test_policies_are_listed_with_their_versions(page: Page, server: Server) -> None:
    """And the name leads to the card: facts, curve, model card, manifest."""
    open_view(page, server, "policies")
    page.wait("document.body.innerText.includes('by hand for CartPole-v1, mean return 500')")
    assert "v2 · active" in page.text()
    assert (
        page.evaluate("[...document.querySelectorAll('.cards li')].filter((one) => /Play/.test(one.innerText)).length")
        == 2
    )
    page.click_text("cartpole")
    page.wait("document.querySelector('figure img')?.naturalWidth === 64")
    assert "100 episodes (95% interval 500 to 500)" in page.text()
    assert "pole angular velocity [rad/s]" in page.text()
    page.click_text("Model card", "summary")
    page.wait("!!document.querySelector('.prose img')")
    assert page.wait("document.querySelector('.prose strong')?.innerText") == "by hand"
    assert "<script>alert(1)</script> is text." in page.text()
    page.click_text("Manifest", "summary")
    page.wait("document.querySelector('pre')?.innerText.includes('\"schema_version\": 1')")
    page.click_text("v1", "nav a")
    page.wait("document.querySelector('h1')?.innerText === 'cartpole, version 1'")


def test_the_playground_asks_what_the_form_says(page: Page, server: Server) -> None:
    """Numbers and sliders, one version beside another, noise with a seed, refusals in words."""
    open_view(page, server, "playground")
    action = "document.querySelector('.action')?.innerText"
    labels = page.evaluate("[...document.querySelectorAll('.element label')].map((one) => one.innerText)")
    assert labels == ["cart position [m]", "cart velocity [m/s]", "pole angle [rad]", "pole angular velocity [rad/s]"]
    page.click(".element input[type=number]", 2)
    page.type("-0.1")
    page.wait(f"{action} === 'push left' && document.querySelector('.bars .number')?.innerText !== '0'")
    shown = page.evaluate("[...document.querySelectorAll('.bars .number')].map((one) => Number(one.innerText))")
    assert shown == pytest.approx([0.2, -0.2])
    page.choose(".element input[type=range]", "0.4", 2)
    page.wait(f"{action} === 'push right'")
    page.choose("form > label select", "1")
    page.wait("document.querySelectorAll('.action').length === 2")
    actions = page.evaluate("[...document.querySelectorAll('.action')].map((one) => one.innerText)")
    assert actions == ["push right", "push left"]
    page.choose("fieldset select", "temperature")
    page.choose("fieldset .row input[type=number]", "100", 0)
    page.choose("fieldset .row input[type=number]", "7", 1)
    page.wait("document.querySelector('details pre')?.textContent.includes('\"seed\":7')")
    told = page.wait("document.querySelector('details pre')?.textContent")
    body = json.loads(told.split("-d '")[1].rstrip("'"))
    assert body["explore"] == {"temperature": 100}
    assert body["observation"][2] == 0.4
    answer = httpx.post(f"{server.url}/v1/policies/cartpole/act", json=body).json()
    named = ["push left", "push right"][answer["action"]]
    page.wait(f"{action} === {json.dumps(named)}")
    page.choose(".element input[type=number]", "", 0)
    page.wait("document.querySelector('.fault')?.innerText === 'cart position: expected a number.'")
    page.click_text("Zero")
    page.wait("!document.querySelector('.fault')")
    page.click_text("Random")
    page.wait("document.querySelector('.element input')?.value !== '0'")


def test_several_tensors_and_a_state_are_asked_for(page: Page, server: Server) -> None:
    """Nested observations; a policy with a state as steps of an episode."""
    open_view(page, server, "tensors")
    assert page.evaluate("[...document.querySelectorAll('legend')].map((one) => one.innerText)")[:2] == [
        "camera, uint8[2]",
        "joints.arm, float32[3]",
    ]
    page.go(f"{server.url}/ui/#/playground/summing")
    page.wait("document.querySelectorAll('.bars').length === 1")
    page.click("fieldset label.control input[type=checkbox]")
    before = page.wait("document.querySelector('.bars')?.innerText")
    page.choose(".element input[type=number]", "1", 0)
    page.wait(f"document.querySelector('.bars')?.innerText !== {json.dumps(before)}")
    first = page.wait("document.querySelector('.bars .number')?.innerText")
    page.click_text("Ask")  # the same step again: the sum grows
    page.wait(f"![null, {json.dumps(first)}].includes(document.querySelector('.bars .number')?.innerText ?? null)")


def test_a_picture_is_drawn_or_chosen(page: Page, server: Server, tmp_path: Path) -> None:
    """A white file is bright, a cleared picture dark, and a stroke changes the mean."""
    open_view(page, server, "picture")
    action = "document.querySelector('.action')?.innerText"
    page.wait(f"{action} === 'dark'")
    mean = "Number(document.querySelectorAll('.bars .number')[1]?.innerText)"
    x, y = page.middle(".pad")
    page.drag((x - 60, y), (x + 60, y))
    page.wait(f"{mean} > 0")
    file = tmp_path / "white.png"
    file.write_bytes(png(10, 10))
    page.upload("input[type=file]", file)
    page.wait(f"{action} === 'bright' && {mean} === 255")
    page.click_text("Clear")
    page.wait(f"{action} === 'dark' && {mean} === 0")


def test_live_numbers_follow_the_server(page: Page, server: Server) -> None:
    """Requests, latency, batches and refusals appear while the view is open."""
    open_view(page, server, "live")
    figure = "Number(document.querySelectorAll('.tile')[{}].querySelector('.figure').innerText.replaceAll(',', ''))"
    before = page.evaluate(figure.format(6))
    with httpx.Client(base_url=server.url) as client:
        for _ in range(3):
            for _ in range(4):
                client.post("/v1/policies/cartpole/act", json={"observations": [[0, 0, 0, 0]] * 3})
            client.post("/v1/policies/cartpole/act", json={"observation": [0]})
        page.wait("document.querySelectorAll('.tile')[1].innerText.includes('p99')")
        page.wait(f"{figure.format(3)} === 3")
    page.wait(f"{figure.format(6)} === {before + 3}")
    assert "SpecViolated" in page.text()
    page.click_text("Pause")
    assert page.evaluate("document.querySelector('button[aria-pressed]')?.innerText") == "Go on"


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_the_worlds_are_those_of_gymnasium(page: Page, server: Server, name: str) -> None:
    """The same actions lead from the same state to the same observations, rewards and ends."""
    import gymnasium

    env: Any = gymnasium.make({"cartpole": "CartPole-v1", "pendulum": "Pendulum-v1"}[name]).unwrapped
    generator = np.random.default_rng(3)
    page.go(f"{server.url}/ui/")
    script = """(async ([name, state, actions]) => {
      const { worldOf } = await import("./worlds.js");
      const { manifest } = await (await fetch(`../v1/policies/${name}`)).json();
      const world = new (worldOf(manifest))(manifest);
      world.state = state;
      return actions.map((action) => {
        const { reward, ended } = world.step(action);
        return [...world.observation, reward, ended];
      });
    })"""
    for seed in range(5):
        env.reset(seed=seed)
        state = [float(value) for value in env.state]
        actions = [
            int(generator.integers(2)) if name == "cartpole" else [float(generator.uniform(-3, 3))] for _ in range(60)
        ]
        expected = []
        for action in actions:
            observation, reward, ended, _, _ = env.step(
                np.asarray(action, np.float32) if name == "pendulum" else action
            )
            expected.append([*observation, reward, ended])
            if ended:
                break
        got = page.evaluate(f"{script}({json.dumps([name, state, actions[: len(expected)]])})")
        np.testing.assert_allclose(np.array(got, float), np.array(expected, float), rtol=1e-4, atol=1e-4)


def test_an_episode_is_played_over_a_stream_and_survives_pushes(page: Page, server: Server) -> None:
    """Play, push with pointer, keys and buttons, one step, restart; the steps are frames of one WebSocket."""
    open_view(page, server, "episode")
    told = (
        "((name) => [...document.querySelectorAll('dt')].find((one) => one.innerText === name)?.nextSibling.innerText)"
    )
    page.choose("label select", "Infinity", 2)
    page.click_text("Play")
    page.wait(f"Number({told}('step').replace(',', '')) > 200")
    x, y = page.middle(".stage")
    page.click_at(x - 300, y)
    page.press("ArrowRight")
    page.press("ArrowLeft")
    page.click_text("Push →")
    page.wait(f"{told}('pushes') === '4'")
    reached = int(page.evaluate(f"{told}('step').replace(',', '')"))
    page.wait(f"Number({told}('step').replace(',', '')) > {reached + 200}")
    assert page.evaluate(f"{told}('episodes ended')") == "0"
    frames = server.ask(get_request("/metrics")).body.decode()
    assert any(
        line.startswith('rlway_stream_frames_total{kind="text",policy="cartpole"}') for line in frames.splitlines()
    )
    page.click("main .stage")
    page.press(" ")
    page.wait("[...document.querySelectorAll('button')].some((one) => one.innerText === 'Play')")
    page.click_text("Restart")
    page.wait(f"{told}('step') === '0'")
    page.click_text("One step")
    page.wait(f"{told}('step') === '1'")
    assert "over WebSocket" in page.text()


def test_everything_is_reached_by_the_keyboard(page: Page, server: Server) -> None:
    """From the skip link on, every control once, in the order of the page."""
    open_view(page, server, "playground")
    page.evaluate("document.activeElement.blur()")
    wanted = page.evaluate(
        "[...document.querySelectorAll('a, button, select, input, summary, textarea')]"
        ".filter((one) => !one.disabled && one.checkVisibility()).length"
    )
    reached = []
    for _ in range(wanted + 2):
        page.press("Tab")
        here = page.evaluate(
            "document.activeElement === document.body ? '' : document.activeElement.outerHTML.slice(0, 120)"
        )
        if not here:
            break
        reached.append(here)
    assert len(reached) == wanted
    assert "Skip to the content" in reached[0]
    outline = page.evaluate(
        "document.querySelector('nav a').focus(), getComputedStyle(document.activeElement).outlineStyle"
    )
    assert outline in ("solid", "auto")
    page.press("Enter")
    page.wait("location.hash === '#/policies' && document.activeElement.id === 'content'")


def test_a_key_is_asked_for_and_used(browser: Browser, keyed: Server) -> None:
    """The dialog opens by itself; an API key opens the policies, an admin key the numbers; a stream needs none here."""
    with browser.page() as page:
        page.go(f"{keyed.url}/ui/")
        page.wait("!!document.querySelector('dialog[open]')")
        page.click("#key-input")
        page.type(KEY)
        page.press("Enter")
        page.wait("document.querySelectorAll('.cards h2').length === 6")
        page.go(f"{keyed.url}/ui/#/live/cartpole")
        page.wait("document.body.innerText.includes('asks for an admin key')")
        page.click_text("Enter a key")
        page.wait("!!document.querySelector('dialog[open]')")
        page.click("#key-input")
        page.type(ADMIN_KEY)
        page.press("Enter")
        page.wait("!!document.querySelector('.tile')")
        page.go(f"{keyed.url}/ui/#/episode/cartpole")
        page.wait("!!document.querySelector('.stage')")
        page.click_text("Play")
        page.wait("/step\\s+[1-9]/.test(document.body.innerText)")
        assert "over HTTP, since a browser's WebSocket sends no key" in page.text()
        page.go(f"{keyed.url}/ui/#/policy/cartpole/2")
        page.wait("document.querySelector('figure img')?.naturalWidth === 64")
        assert all("401" in said or "403" in said for said in page.said)  # as Chromium notes refused requests


def test_the_reference_shows_and_sends_requests(page: Page, server: Server) -> None:
    """Every operation of openapi.json, its schemas, and an answer to what is typed in."""
    open_view(page, server, "reference")
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    wanted = sum(len([*{*operations} - {"head"}]) for operations in described.values())
    assert page.evaluate("document.querySelectorAll('.operation').length") == wanted
    page.click(".operation summary")
    page.wait("!!document.querySelector('.send')")
    assert "temperature" not in page.text()
    page.click_text("explore Explore or null", "summary")
    page.wait("document.body.innerText.includes('temperature number')")
    page.click(".send input")
    page.type("cartpole")
    page.click_text("Send")
    page.wait("document.querySelector('.send pre')?.innerText.includes('\"version\": 2')")


def test_a_server_that_has_gone_is_told_in_words(browser: Browser, models: Path, tmp_path: Path) -> None:
    """And the episode pauses."""
    with browser.page() as page, running_server(models, tmp_path / "log") as server:
        open_view(page, server, "episode")
        page.click_text("Play")
        page.wait("/step\\s+[1-9]/.test(document.body.innerText)")
        server.process.kill()
        server.process.wait()
        page.wait("!!document.querySelector('.fault')")
        assert page.evaluate("[...document.querySelectorAll('button')].some((one) => one.innerText === 'Play')")
        page.click_text("Policies", "nav a")
        page.wait("document.body.innerText.includes('Is it still running?')")
        assert all("ERR_CONNECTION_REFUSED" in said for said in page.said)
