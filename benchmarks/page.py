"""What the page in the browser costs the server, and how fast it is itself.

In:      Chromium (of `make setup`, or the system's); a C compiler (Debian's gcc).
Out:     the throughput of 32 connections while the live view is open on the server, against the same view of an idle
         server, per round, and the processor's time that the server takes for an action likewise; bytes of the page,
         and the time until it is seen; actions per second of a live CartPole over the WebSocket, and how often it falls
         in a minute of pushes.

The server has one core. The load, the browser and the idle server share another: the browser works in both cases, as on
another machine, and only the server's own share differs.

    PYTHONPATH=. .venv/bin/python benchmarks/page.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.rig import (
    LOAD_CORE,
    OBSERVATION,
    Offer,
    compile_load,
    median_ratio,
    print_table,
    rlway_command,
    run_load,
    running,
    wait_until_answering,
)
from tests.ports import free_port
from tests.servers import act_request
from tests.ui.browser import Browser, Page, running_browser
from tests.ui.policies import balancing_policy

ACT = "/v1/policies/cartpole/act"
CONNECTIONS = 32
WARM_UP_S = 0.5  # of load.c
PUSH_EVERY_S = 5.0
VIEWS = {"policies": ".cards", "policy/cartpole": ".facts", "playground": ".bars", "live": ".tile", "episode": ".stage"}
BOUNDS = {  # at least, or at most where negative
    "throughput with the live view, of that without": 0.98,
    "kB of the whole page": -400.0,
    "ms until the page is seen": -300.0,
    "actions/s of a live CartPole": 60.0,
    "falls in that time, with pushes": 0.0,
}
# The numbers beside the stage, by name.
TOLD = "(name) => [...document.querySelectorAll('dt')].find((one) => one.innerText === name).nextSibling.innerText"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--episode-s", type=float, default=60.0, help="of the live CartPole")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        balancing_policy(folder / "models", "cartpole", 1)
        idle = free_port()
        with (
            running(rlway_command(folder / "models", port)) as server,
            running(rlway_command(folder / "models", idle), cores=LOAD_CORE),
        ):
            wait_until_answering(port, ACT)
            wait_until_answering(idle, ACT)
            with running_browser(folder / "profile") as browser:
                for child in psutil.Process().children(recursive=True):
                    if "chrom" in child.name():
                        child.cpu_affinity([int(LOAD_CORE)])
                url = f"http://127.0.0.1:{port}/ui/"
                figures = measure_page(browser, url, options.rounds)
                process = psutil.Process(server.pid)
                figures |= measure_server(browser, folder, (port, idle), process, options.rounds, options.seconds)
                figures |= measure_episode(browser, url, options.episode_s)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print_table(
        ("figure", "measured", "bound", ""), [(name, f"{v:.4g}", *verdict(name, v)) for name, v in figures.items()]
    )


def verdict(name: str, value: float) -> tuple[str, str]:
    if name not in BOUNDS:
        return "–", ""
    bound = BOUNDS[name]
    if bound > 0:
        return f"at least {bound:g}", "met" if value >= bound else "missed"
    return f"at most {-bound:g}", "met" if value <= -bound else "missed"


def measure_page(browser: Browser, url: str, rounds: int) -> dict[str, float]:
    """Each round in a context without a cache. The size is that of all views."""
    paints = []
    for _ in range(rounds):
        with browser.page(url) as page:
            paints.append(page.wait("performance.getEntriesByName('first-contentful-paint')[0]?.startTime"))
    with browser.page() as page:
        for view, sign in VIEWS.items():
            page.go(f"{url}#/{view}")
            page.wait(f"!!document.querySelector('{sign}')")
        files = {found["url"]: found["id"] for found in page.received if found["url"].startswith(url)}
        total = sum(page.sizes.get(number, 0) for number in files.values())
    return {"kB of the whole page": total / 1000, "ms until the page is seen": statistics.median(paints)}


def measure_server(
    browser: Browser, folder: Path, ports: tuple[int, int], server: psutil.Process, rounds: int, seconds: float
) -> dict[str, float]:
    """The ratios of each round, of which the medians count. `ports`: of the server, and of the idle one."""
    program, request = compile_load(folder), folder / "act.http"
    request.write_bytes(act_request({"observation": OBSERVATION}, path=ACT))
    rates: dict[str, list[float]] = {"closed": [], "open": []}
    times: dict[str, list[float]] = {"closed": [], "open": []}
    for _ in range(rounds):
        for state, watched in zip(("open", "closed"), ports, strict=True):
            with browser.page(f"http://127.0.0.1:{watched}/ui/#/live/cartpole") as page:
                page.wait("!!document.querySelector('.tile')")
                before = server.cpu_times()
                offer: Offer = run_load(program, ports[0], request, CONNECTIONS, seconds)
                after = server.cpu_times()
            taken_s = after.user + after.system - before.user - before.system
            rates[state].append(offer.rps)
            times[state].append(taken_s / (offer.rps * (seconds + WARM_UP_S)) * 1e6)
    return {
        "requests/s without the page": statistics.median(rates["closed"]),
        "throughput with the live view, of that without": median_ratio(rates["open"], rates["closed"]),
        "processor's time for an action, of that without": median_ratio(times["open"], times["closed"]),
    }


def measure_episode(browser: Browser, url: str, seconds: float) -> dict[str, float]:
    """As fast as the server answers, with pushes to both sides."""
    with browser.page(f"{url}#/episode/cartpole") as page:
        page.wait("!!document.querySelector('.stage')")
        page.choose("label select", "Infinity", 2)
        page.click_text("Play")
        page.wait(f"Number(({TOLD})('step').replaceAll(',', '')) > 0")
        steps, began_s = told(page, "step"), time.monotonic()
        while time.monotonic() - began_s < seconds:
            time.sleep(min(PUSH_EVERY_S, seconds))
            page.press("ArrowRight" if told(page, "pushes") % 2 else "ArrowLeft")
        rate = (told(page, "step") - steps) / (time.monotonic() - began_s)
        falls, answer = told(page, "episodes ended"), page.evaluate(f"({TOLD})('answer')")
    return {
        "actions/s of a live CartPole": rate,
        "ms from question to answer in the page": float(str(answer).split()[0]),
        "falls in that time, with pushes": falls,
    }


def told(page: Page, name: str) -> float:
    value: Any = page.evaluate(f"({TOLD})({json.dumps(name)})")
    return float(value.replace(",", ""))


if __name__ == "__main__":
    main()
