"""Commands and options, and what an error looks like.

Written with argparse: importing a friendlier library takes a third of the time of a whole easy answer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from verifier import __version__
from verifier.values.errors import UserError, VerifierError


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status."""
    try:
        _dispatch(_parser(), arguments)
        sys.stdout.flush()
        return 0
    except SystemExit as e:  # --help, --version
        return int(e.code or 0)
    except VerifierError as e:
        return _refuse(str(e), 2)
    except KeyboardInterrupt:
        return _refuse("interrupted", 130)
    except MemoryError:
        return _refuse("out of memory; use a machine with more, or a smaller network", 2)
    except BrokenPipeError:
        return 0
    except Exception as e:
        if sys.flags.dev_mode:
            raise
        return _refuse(f"{type(e).__name__}: {e}: a fault of verifier; report it with what `python -X dev` prints", 1)


def _refuse(message: str, status: int) -> int:
    print(f"verifier: {' '.join(message.split())}", file=sys.stderr)
    return status


def _parser() -> _Parser:
    parser = _Parser("verifier", description="Prove or refute properties of neural networks.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"verifier {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=what, allow_abbrev=False)

    verify = add("verify", "Is there an input that satisfies the property?  Prints sat, unsat, unknown or timeout.")
    _add_model_and_spec(verify)
    verify.add_argument("--timeout", metavar="S", type=_seconds, help="seconds, counted from the start of the process")
    verify.add_argument("--results", metavar="FILE", type=Path, help="write the verdict in the competition's format")
    verify.add_argument("--certificate", metavar="FILE", type=Path, help="write a proof of unsat (not available yet)")
    verify.add_argument(
        "--json", metavar="FILE", type=Path, help="write verdict, counterexample and statistics as JSON"
    )
    verify.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute (auto)")
    verify.add_argument("--quiet", action="store_true", help="nothing but errors on standard error")

    bound = add("bound", "Bounds of every output on a property's input box, one line an output: name, lower, upper.")
    _add_model_and_spec(bound)
    methods = ("interval", "forward", "crown", "alpha-crown")
    bound.add_argument("--method", default="crown", choices=methods, help="how (crown)")
    bound.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to compute (cpu)")

    info = add("info", "What is in a model; without one, which operators are supported.")
    info.add_argument("model", metavar="MODEL", nargs="?", help="an .onnx or .onnx.gz file")
    return parser


def _add_model_and_spec(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="an .onnx or .onnx.gz file")
    command.add_argument("spec", metavar="SPEC", help="a .vnnlib or .vnnlib.gz file")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"'{text}' where a number of seconds is due, not negative")
    return value


def _dispatch(parser: _Parser, arguments: list[str]) -> None:
    """Import the command that is asked for, and run it."""
    a = parser.parse_args(arguments)
    if a.command == "verify":
        from verifier.cli import verify

        verify.command(a.model, a.spec, a.timeout, a.results, a.certificate, a.json, a.device, a.quiet)
    elif a.command == "bound":
        from verifier.cli import bound

        bound.command(a.model, a.spec, a.method, a.device)
    elif a.command == "info":
        from verifier.cli import info

        info.command(a.model)
    else:
        parser.print_help()
