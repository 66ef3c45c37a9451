"""What a person sees while a run goes: rows, a progress bar, speed and time left. Silent on other ranks."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from engine.contracts import Hook
from engine.output.writer import Writer

console = Console(highlight=False, soft_wrap=True)


def rate(steps, seconds, atoms, fs_per_step):
    """``1234 step/s  213 ns/day  12.3 Matom-step/s``"""
    per_second = steps / seconds if seconds > 0 else 0.0
    parts = [f"{per_second:.4g} step/s"]
    if fs_per_step:
        parts.append(f"{per_second * fs_per_step * 86400 / 1e6:.3g} ns/day")
    parts.append(f"{per_second * atoms / 1e6:.3g} Matom-step/s")
    return "  ".join(parts)


def duration(seconds):
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} min"
    return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d} h"


class Screen(Hook):
    """A progress bar over all stages, and a closing line with the speed reached."""

    every = 1

    def __init__(self, total_steps, atoms, quiet=False):
        self.total, self.atoms, self.quiet = total_steps, atoms, quiet
        self.bar = self.task = None

    def say(self, text):
        if not self.quiet:
            (self.bar.console if self.bar else console).print(text, markup=False)

    def start(self, simulation):
        if self.bar is not None or getattr(self, "began", None) is not None:
            return
        self.began, self.first = time.perf_counter(), simulation.state.step
        self.updated, self.busy = self.began, simulation.comm.busy
        if self.quiet or not console.is_terminal:
            return
        self.bar = Progress(
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"), BarColumn(bar_width=24),
            TextColumn("{task.fields[speed]}"), console=console, transient=True, auto_refresh=False,
        )
        self.task = self.bar.add_task("", total=self.total, completed=self.first, speed="")
        self.bar.start()

    def act(self, simulation):
        if self.bar is None:
            return
        now = time.perf_counter()
        if now - self.updated < 0.5:
            return
        self.updated = now
        done = simulation.state.step - self.first
        left = (self.total - simulation.state.step) * (now - self.began) / max(done, 1)
        speed = rate(done, now - self.began, self.atoms, getattr(simulation.integrator, "step_length", None))
        self.bar.update(self.task, completed=simulation.state.step, speed=f"{speed}  {duration(left)} left")
        self.bar.refresh()

    def finish(self, simulation):
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        seconds = time.perf_counter() - self.began
        steps = simulation.state.step - self.first
        comm, shares = simulation.comm, ""
        if comm.size > 1:
            talk = comm.sum(comm.busy - self.busy) / comm.size
            shares = f", {comm.size} ranks, {talk / seconds:.0%} of the time in communication"
        shares += f", {sum(hook.seconds for hook in simulation.hooks if isinstance(hook, Writer)) / seconds:.1%} in output"
        if steps:
            speed = rate(steps, seconds, self.atoms, getattr(simulation.integrator, "step_length", None))
            self.say(f"{steps} steps in {duration(seconds)}: {speed}, lists rebuilt {simulation.domain.rebuilds} times{shares}")
