"""Clean ends: SIGTERM, SIGINT, a wall-time limit, or a file called STOP finish the step and leave a checkpoint."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from engine.contracts import Hook

RARELY, OFTEN = 10, 0.1  # on ranks somebody looks every so many steps, or seconds where that is sooner


class Watch(Hook):
    """Sets ``simulation.stop_reason``; on several ranks rank 0 decides for all, and when to look again."""

    def __init__(self, max_seconds=None, folder="."):
        self.max_seconds, self.folder = max_seconds, Path(folder)
        self.every = 1
        self.signal = None
        self.previous = {}
        self.began = time.perf_counter()
        self.looked = 0.0
        self.last = None  # step and time of the last look on ranks
        self.next = 0  # step of the next

    def install(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.previous[number] = signal.signal(number, self._catch)

    def restore(self):
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _catch(self, number, frame):
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C means now
        self.signal = signal.Signals(number).name

    def reason(self):
        now = time.perf_counter()
        if self.signal:
            return self.signal
        if self.max_seconds is not None and now - self.began > self.max_seconds:
            return "max_time is over"
        if now - self.looked > 0.5:
            self.looked = now
            if (self.folder / "STOP").exists():
                return "a file named STOP"
        return None

    def act(self, simulation):
        step, reason = simulation.state.step, None
        if simulation.comm.size == 1:
            reason = self.reason()
        elif step >= self.next:
            reason, self.next = simulation.comm.bcast((self.reason(), step + self._stride(step)))
        simulation.stop_reason = reason or simulation.stop_reason  # others have their reasons too

    def _stride(self, step):
        """Steps to the next look, by the pace since the last."""
        now, stride = time.perf_counter(), 1
        if self.last is not None and step > self.last[0]:
            pace = (now - self.last[1]) / (step - self.last[0])
            stride = min(max(int(OFTEN / pace), 1), RARELY)
        self.last = step, now
        return stride


def seconds(text):
    """``"23:50:00"`` or ``"0:30"`` (hours:minutes[:seconds]) in seconds."""
    parts = [int(p) for p in text.split(":")]
    return parts[0] * 3600 + parts[1] * 60 + (parts[2] if len(parts) > 2 else 0)
