"""What a training shows while it runs."""

from __future__ import annotations

from contextlib import contextmanager


class Screen:
    def __init__(self, quiet):
        from rich.console import Console

        self.console, self.quiet = Console(), quiet

    def say(self, text):
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, epochs):
        """Yields a function of (state, batches in an epoch) that moves the bar; None where there is no terminal."""
        if self.quiet or not self.console.is_terminal:
            yield None
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("epoch {task.fields[epoch]}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), \
            TimeRemainingColumn()
        with Progress(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task("training", total=1.0, epoch=0)

            def move(state, batches_in_epoch):
                done = (state["epoch"] + state["batch"] / batches_in_epoch) / epochs
                bars.update(task, completed=done, epoch=state["epoch"])
            yield move
