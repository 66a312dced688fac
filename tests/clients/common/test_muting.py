"""Libraries that print are muted, and nothing else is."""

from __future__ import annotations

import subprocess
import sys


def test_a_muted_block_prints_nothing_and_the_code_after_it_does() -> None:
    """Python's print, C's printf and its buffer, descriptors 1 and 2; also from two threads at once."""
    code = """
import ctypes, os, sys, threading
from rlway_client.common.muting import muted

def speak(word):
    print(word), print(word, file=sys.stderr)
    ctypes.CDLL(None).printf(word.encode())
    os.write(1, word.encode()), os.write(2, word.encode())

def mute():
    for _ in range(200):
        with muted():
            speak("noise")

threads = [threading.Thread(target=mute) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
try:
    with muted():
        raise KeyError
except KeyError:
    speak("word")
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert sorted((done.stdout + done.stderr).replace("\n", "")) == sorted("word" * 5)
