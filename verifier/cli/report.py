"""`verifier report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from verifier.campaign.summary import strange
from verifier.cli.progress import Watch
from verifier.cli.write import check_folder, replace
from verifier.report.content import Content, collect, listed
from verifier.values.errors import UserError


def command(a: argparse.Namespace) -> None:
    """Write the page, and the figures where they are asked for; see `verifier report --help`.

    Raises:
        UserError: the results cannot be used, or nothing can be written.
    """
    if a.list:
        print("\n".join(listed(a.db)))
        return
    content = collect(a.db, numbers("--run", a.run) or None, _against(a.against), a.compare)
    if a.figures is not None:
        check_folder(a.figures)
        _write_figures(a.figures, content)

    from verifier.report.page import page

    shown = Watch(a.quiet)
    text = page(content, lambda n: shown.note(f"drawing: {n:,} of {len(content.pairs):,} instances", None))
    shown.close()
    beside = f", beside {content.theirs.label}" if content.theirs is not None else ""
    replace(a.output, text)
    print(f"{a.output}: {len(content.pairs):,} instances of {content.mine.label}{beside}; {_size(len(text))}")
    if content.theirs is not None and not any(other is not None for _, other in content.pairs):
        shown.say(strange(content.theirs.label))
    if content.disagreements:
        print(f"answers that contradict each other: {len(content.disagreements)}, marked red")


def _write_figures(folder: Path, content: Content) -> None:
    """Plots as `.svg` and `.png`, counterexamples that are images as `.png`, named by their place in the list."""
    from verifier.report import counterexample
    from verifier.report.figures import figures, png, svg

    for name, figure in figures(content).items():
        replace(folder / f"{name}.svg", svg(figure, name))
        replace(folder / f"{name}.png", png(figure))
    for k, (row, _) in enumerate(content.pairs):
        found = row.found
        picture = None if found is None else counterexample.picture(found)
        if picture is not None:
            replace(folder / f"instance-{k}.png", picture)


def _size(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"


def _against(text: str | None) -> list[int] | None:
    return [] if text == "none" else numbers("--against", text) if text is not None else None


def numbers(option: str, text: str | None, how: str = "verifier report FILE --list") -> list[int]:
    """Numbers of runs.

    Raises:
        UserError: they are not numbers.
    """
    try:
        return [int(word) for word in (text or "").split(",") if word.strip()]
    except ValueError:
        raise UserError(f"{option} {text}: not numbers of runs; `{how}` shows them") from None
