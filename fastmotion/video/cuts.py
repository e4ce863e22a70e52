"""Where the clips of a video begin and end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from numpy.typing import NDArray

__all__ = ["LEAST_FRAMES", "Cuts"]

LEAST_FRAMES = 2  # that a clip has


@dataclass(frozen=True)
class Cuts:
    """Where clips begin and end: lengths in frames, and the range of frames that they lie in."""

    length: int
    step: int
    start: int
    stop: int | None
    keeps_last: bool

    def count(self, n_frames: int | None) -> int | None:
        """Return how many clips a source of so many frames has, if that is known."""
        if n_frames is None:
            return None
        stop = n_frames if self.stop is None else min(n_frames, self.stop)
        n = max(0, stop - self.start)
        n_full = max(0, (n - self.length) // self.step + 1)
        return n_full + self._has_short(n, n_full)

    def cut(self, frames: Iterable[NDArray], name: str) -> Iterator[tuple[int, list[NDArray]]]:
        """Yield the clips of the frames of the range, each with the index of its first frame."""
        held: list[NDArray] = []
        n = n_full = 0
        for frame in frames:
            if n >= n_full * self.step:
                held.append(frame)
            n += 1
            if len(held) == self.length:
                yield self.start + n_full * self.step, held
                n_full += 1
                held = held[self.step :]
        if self._has_short(n, n_full):
            yield self.start + n_full * self.step, held
        elif not n_full:
            raise ValueError(f"{name} {self._describe_lack(n)}")

    def _has_short(self, n: int, n_full: int) -> bool:
        """Return whether a shorter clip follows so many full ones of n frames."""
        n_shown = (n_full - 1) * self.step + self.length if n_full else 0
        n_left = n - n_full * self.step
        return self.keeps_last and n > n_shown and n_left >= LEAST_FRAMES

    def _describe_lack(self, n: int) -> str:
        counted = {0: "no frame", 1: "one frame"}.get(n, f"{n} frames")
        is_whole = self.start == 0 and self.stop is None
        where = "" if is_whole else f" from frame {self.start} to {self.stop or 'the end'}"
        if self.keeps_last:
            return f"has {counted}{where}; a clip takes at least {LEAST_FRAMES}."
        return (
            f"has {counted}{where}; a clip takes {self.length}: lower clip_length, or pass "
            "last_clip='keep'."
        )
