"""The README's snippets, the CMake package, and the examples over the C++ client: compiled and run as people do it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rlway_client import PolicyClient
from tests.conftest import ROOT
from tests.cpp.compiled import EXAMPLES, INCLUDE, STRICT, Driver, compile_program, numbers
from tests.ports import free_port, wait_for
from tests.servers import Server

README = ROOT / "clients/cpp/README.md"
AROUND = """
int fail(const rlway::Error &error);
void drive(std::int64_t action);
extern rlway::Result<rlway::Client> client;
"""


def snippets() -> list[str]:
    found = re.findall(r"```cpp\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(found) == 5
    return [re.sub(r"#include .*\n", "", snippet) for snippet in found]


@pytest.mark.parametrize("options", [(), ("-fno-exceptions", "-fno-rtti")], ids=["usual", "no exceptions"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_every_snippet_compiles(models: Path, tmp_path: Path, compiler: str, options: tuple[str, ...]) -> None:
    """With all warnings as errors, by both compilers, with and without exceptions and RTTI; the node's logic, too."""
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler} on PATH; Debian's packages are called g++ and clang")
    functions = [f"int snippet_{i}()\n{{\n{text}return 0;\n}}\n" for i, text in enumerate(snippets())]
    include = ["policy.h", "rlway/rlway.hpp", "rlway_policy_node/policy_loop.hpp"]
    text = "".join(f'#include "{name}"\n' for name in include) + AROUND + "".join(functions)
    text += "struct Ros { void publish(const std::vector<float> &); void log(const std::string &); };\n"
    text += "template class rlway_policy_node::PolicyLoop<Ros>;\n"
    (tmp_path / "snippets.cpp").write_text(text)
    folders = ("-I", INCLUDE, "-I", EXAMPLES / "ros2/include", "-I", models / "linear/2")
    words = (*STRICT, *options, *folders, "-fsyntax-only", tmp_path / "snippets.cpp")
    compile_program(*words, compiler=compiler)


def run(*words: Any) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_project_finds_the_installed_package(models: Path, server: Server, tmp_path: Path) -> None:
    """The example robot is built against it, and acts with a server and without one."""
    if shutil.which("cmake") is None:
        pytest.skip("there is no cmake on PATH; Debian's package is called cmake")
    prefix = tmp_path / "prefix"
    run("cmake", "-S", ROOT / "clients/cpp", "-B", tmp_path / "rlway")
    run("cmake", "--install", tmp_path / "rlway", "--prefix", prefix)
    options = (f"-DCMAKE_PREFIX_PATH={prefix}", f"-DPOLICY={models}/linear/2", "-DCMAKE_BUILD_TYPE=Debug")
    run("cmake", "-S", EXAMPLES / "robot_cpp", "-B", tmp_path / "robot", *options)
    run("cmake", "--build", tmp_path / "robot")
    ticks = re.compile(r"25 ticks: (\d+) by the server, (\d+) by the local policy, 0 held; \d+ begun late, \d+ falls\n")
    told = run(tmp_path / "robot/robot", server.url, 0.5)
    counted = ticks.search(told)
    assert counted is not None, told
    assert int(counted[1]) + int(counted[2]) == 25
    told = run(tmp_path / "robot/robot", f"http://127.0.0.1:{free_port()}", 0.5)
    assert "it starts without the server: fallback: the server did not answer within 1 s:" in told
    counted = ticks.search(told)
    assert counted is not None, told
    assert counted.groups() == ("0", "25")


def test_the_logic_of_the_ros_node(driver: Driver, server: Server) -> None:
    """The safe action until there is a fresh observation and a server, then the server's; what happens is logged."""
    observation = [0.1, -0.2, 0.3, 0.4]
    with PolicyClient(server.url, "gaussian") as client:
        expected = client.act(observation).tolist()
    assert driver.tell("loop", server.url, "gaussian", 4, "0.5 -0.5") == {}
    assert driver.tell("tick") == {"action": [0.5, -0.5], "logged": []}

    def answered() -> bool:
        driver.tell("observe 0", numbers(observation))
        return bool(driver.tell("tick")["action"] == expected)

    wait_for(answered, "the server's action")
    driver.tell("observe 0", "1 2 3")
    driver.tell("observe 200", numbers(observation))
    last = driver.tell("tick")
    assert last["action"] == [0.5, -0.5]
    assert "observation: expected 4 numbers, got 3; it is not acted on" in last["logged"]
    assert last["logged"][-1] == "no fresh observation: the safe action"
    assert any(sentence.startswith("now server: ") for sentence in last["logged"])
