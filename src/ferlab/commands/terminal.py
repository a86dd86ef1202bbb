"""What a person sees: lines, tables and progress. Plain text when the output is not a terminal."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ferlab.training.fit import EpochRow

PLAIN_WIDTH = 120
OnProgress = Callable[[int, int], None]


class Terminal:
    """Writes to standard output."""

    def __init__(self) -> None:
        plain = not sys.stdout.isatty()
        self.console = Console(highlight=False, soft_wrap=True, width=PLAIN_WIDTH if plain else None)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """One line that stands out."""
        self.console.print(f"warning: {text}", style="yellow", markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> None:
        """A table; the first ``text_columns`` columns are text, the others are numbers.

        Names of runs are shown as they are, also where they look like markup.
        """
        table = Table(title=Text(title, "bold"), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
        for position, name in enumerate(columns):
            table.add_column(Text(name), justify="left" if position < text_columns else "right", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        self.console.print(table)

    @contextmanager
    def progress(self, label: str, unit: str = "img") -> Iterator[OnProgress]:
        """A progress bar with rate and time left: yields a function of (done, total)."""
        with self.bars() as bar:
            yield bar(label, unit)

    @contextmanager
    def bars(self) -> Iterator[Callable[[str, str], OnProgress]]:
        """Progress of several steps, one shown at a time: yields a function that makes a bar from label and unit.

        Silent when the output is not a terminal.
        """
        with Progress(*_columns(), console=self.console, transient=True, disable=not self.console.is_terminal) as shown:

            def bar(label: str, unit: str) -> OnProgress:
                task = shown.add_task(label, start=False, total=None, visible=False, unit=unit)

                def on_progress(done: int, total: int) -> None:
                    if not shown.tasks[task].started:
                        for other in shown.task_ids:
                            shown.update(other, visible=other == task)
                        shown.start_task(task)
                    shown.update(task, completed=done, total=total)

                return on_progress

            yield bar

    @contextmanager
    def epochs(self, name: str, images_per_step: int) -> Iterator["EpochLines"]:
        """A line for each finished epoch, and below them a bar of the one under way (on a terminal)."""
        with Progress(*_columns(), console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            yield EpochLines(self, bar, name, images_per_step)


class EpochLines:
    """What a person sees of a training: ``on_step`` moves the bar, ``on_epoch`` prints the line."""

    def __init__(self, terminal: Terminal, bar: Progress, name: str, images_per_step: int) -> None:
        self.terminal, self.bar, self.name, self.images_per_step = terminal, bar, name, images_per_step
        self.task = bar.add_task("", total=None, visible=False, start=False, unit="img")

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """``step`` of ``steps`` of an epoch is done."""
        self._show(f"  {self.name}  epoch {epoch}", step * self.images_per_step, steps * self.images_per_step)

    def on_features(self, done: int, total: int) -> None:
        """A frozen base has answered ``done`` of ``total`` images."""
        self._show(f"  {self.name}  features", done, total)

    def on_epoch(self, row: EpochRow) -> None:
        """An epoch is done and safe."""
        self.bar.update(self.task, visible=False)
        later = row.total_epochs - row.epoch - row.left_in_phase
        left = duration(row.seconds * row.left_in_phase) + (f" + {later} epochs" if later > 0 else "")
        numbers = row.metrics
        self.terminal.say(
            f"  {self.name}  epoch {row.epoch:>2}/{row.total_epochs} [{row.phase}]  "
            f"loss {numbers['loss']:.3f}  acc {100 * numbers['accuracy']:.1f}  "
            f"val {100 * numbers['val_accuracy']:.1f}{' *' if row.is_best else '  '}  "
            f"{row.images_per_s:,.0f} img/s  {row.seconds:.1f} s  left {left}"
        )

    def _show(self, label: str, done: int, total: int) -> None:
        if self.bar.tasks[self.task].description != label:
            self.bar.reset(self.task, description=label, total=total, visible=True)
        self.bar.update(self.task, completed=done)


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        _RateColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TimeElapsedColumn(),
    )


class _RateColumn(ProgressColumn):
    """Units a second, over the last half minute."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        return Text(f"{task.speed:,.0f} {task.fields['unit']}/s" if task.speed else "")


def duration(seconds: float) -> str:
    """``1:05`` minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
