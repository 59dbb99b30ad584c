"""Commands and options, and what an error looks like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from click.exceptions import ClickException, Exit

from verifier.values.errors import VerifierError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="An .onnx or .onnx.gz file.")]
Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A .vnnlib or .vnnlib.gz file.")]


@app.callback()
def _root() -> None:
    """Prove or refute properties of neural networks."""


@app.command()
def verify(
    model: Model,
    spec: Spec,
    timeout: Annotated[float | None, typer.Option(help="Seconds, counted from the start of the process.")] = None,
    results: Annotated[Path | None, typer.Option(help="Write the verdict in the competition's format.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Write a certificate of unsat (not available yet).")] = None,
    json: Annotated[Path | None, typer.Option(help="Write verdict, counterexample and statistics as JSON.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on standard error.")] = False,
) -> None:
    """Is there an input that satisfies the property?  Prints sat, unsat, unknown or timeout."""
    from verifier.cli.verify import command

    command(model, spec, timeout, results, certificate, json, device, quiet)


@app.command()
def bound(
    model: Model,
    spec: Spec,
    method: Annotated[str, typer.Option(help="interval, forward or crown.")] = "crown",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Bounds of every output on the input box of a property, one line an output: name, lower, upper."""
    from verifier.cli.bound import command

    command(model, spec, method, device)


@app.command()
def info(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="An .onnx or .onnx.gz file.")] = None,
) -> None:
    """What is in a model; without one, which operators are supported."""
    from verifier.cli.info import command

    command(model)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status."""
    try:
        app(args=arguments, prog_name="verifier", standalone_mode=False)
        return 0
    except Exit as e:
        return e.exit_code
    except ClickException as e:
        print(f"verifier: {e.format_message()}", file=sys.stderr)
        return 2
    except VerifierError as e:
        print(f"verifier: {' '.join(str(e).split())}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("verifier: interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print("verifier: out of memory; use a machine with more, or a smaller network", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
