"""What a person sees: names are shown as they are, whatever they look like."""

import io
import re

from rich.console import Console

from ferlab.commands.terminal import Terminal

HOSTILE = "tool[/v2] [red] :smile:"


def shown(terminal: Terminal) -> io.StringIO:
    file = io.StringIO()
    terminal.console = Console(file=file, width=100, force_terminal=True)
    return file


def test_a_table_shows_names_that_look_like_markup() -> None:
    terminal = Terminal()
    file = shown(terminal)
    terminal.table(f"about {HOSTILE}", ["run", f"of {HOSTILE}"], [[HOSTILE, "1.0"]])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert plain.count(HOSTILE) == 3


def test_a_bar_shows_names_that_look_like_markup() -> None:
    terminal = Terminal()
    file = shown(terminal)
    with terminal.epochs(HOSTILE, 32) as lines:
        lines.on_step(1, 1, 2)
        lines.bar.refresh()
    assert HOSTILE in file.getvalue()
