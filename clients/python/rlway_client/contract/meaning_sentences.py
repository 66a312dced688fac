"""What a policy's numbers stand for, in sentences for people.

In:      a manifest.
Out:     sentences; none where nobody has said it.
"""

from __future__ import annotations

from rlway_client.contract.manifest import Manifest
from rlway_client.contract.meaning import TensorMeaning

MOST = 24  # elements in a sentence
TOLERANCE = 0.01  # of a rate: clocks are not exact


def meaning_sentences(manifest: Manifest) -> list[str]:
    """The control period, and one sentence for each tensor that has a meaning."""
    meaning = manifest.meaning
    if meaning is None:
        return []
    sentences = []
    if meaning.control_period_s is not None:
        period_s = meaning.control_period_s
        sentences.append(f"One step of the training took {period_s:g} s ({1 / period_s:g} Hz).")
    return sentences + [f"{name}: {_words(meant)}." for name, meant in meaning.tensors.items() if _words(meant)]


def rate_sentence(manifest: Manifest, rate_hz: float) -> str | None:
    """That a loop has another rate than the training; None if it has the same, or if that is not known."""
    period_s = manifest.meaning.control_period_s if manifest.meaning else None
    if period_s is None or abs(rate_hz * period_s - 1) <= TOLERANCE:
        return None
    return f"{manifest.policy}: was trained for {1 / period_s:g} Hz, and acts at {rate_hz:g} Hz here."


def _words(meant: TensorMeaning) -> str:
    names = meant.names or meant.choices
    parts = []
    for i, name in enumerate(names[:MOST]):
        unit = meant.units[i] if isinstance(meant.units, list) and meant.names else None
        parts.append(f"{name} [{unit}]" if unit else name)
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    shared = [word for word in (meant.kinds, meant.units) if isinstance(word, str)]
    frame = [f"in the frame {meant.frame}"] if meant.frame else []
    return "; ".join([", ".join(parts) + more, *shared, *frame]).strip("; ")
