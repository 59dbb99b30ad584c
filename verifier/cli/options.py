"""Commands and their options, each with a type; what names files says there whether they are read or written."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from verifier import __version__
from verifier.cli import sources
from verifier.cli.capabilities import CAPABILITIES
from verifier.cli.places import Reads, Writes
from verifier.cli.typed import ends, entry, norms, radii, seconds
from verifier.values.errors import UserError

MODEL, SPEC, DATA = Reads(files=sources.of_model), Reads(), Reads(files=sources.of_data)
INPUT, TABLE = Reads(files=sources.of_numbers), Reads(Path)
FILE, TEXT, DRAWN = Writes(), Writes(stream=True), Writes(extra="report")
TRAINED = Writes(
    within=("checkpoint.pt*", "log.csv*", "model.onnx", "events.out.tfevents*"), default=lambda a: Path(a.config.stem)
)
RUNS = Writes(beside=("-wal", "-shm", "-journal"), unless="list")
KEPT = Writes(beside=("-wal", "-shm", "-journal"))
"""Types of options that name files.  Every option has a type; `str` is for words that name none."""

LOGGED = ("verify", "bound", "lipschitz", "monotone", "train", "tightness", "bench", "certify")
"""Commands that compute."""
STATUSES = (
    "exit status: 0 an answer; 1 a fault of this program, or a wrong answer in bench; 2 input that cannot be used; "
    "3 an answer, but a file could not be written; 130 interrupted"
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; numbers with a minus in front are values, not options."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf)")  # also -1,0.2 and -1e-3, -8/255, -inf

    named = False
    """Whether models come by `--network`."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: ") and self.named:
            message += " (--network stands in place of MODEL: SPEC --network NAME=FILE)"
        raise UserError(f"{message}; see `{self.prog} --help`")


def parser(named: bool = False, alone: bool = False) -> _Parser:
    """All commands; with `named`, models of `verify` come by `--network` and not as an argument.

    Args:
        alone: `verify` and no other: describing the others' options takes a hundredth of an easy answer's time.
    """
    whole = _Parser(
        "verifier", description="Prove or refute properties of neural networks.", epilog=STATUSES, allow_abbrev=False
    )
    whole.named = named
    whole.add_argument("--version", action="version", version=__version__)
    whole.add_argument("--name", action="version", version="verifier", help="show program's name and exit")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(name: str, what: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=what, description=what, allow_abbrev=False)
        command.set_defaults(parser=command)
        return command

    verify = add("verify", "Is there an input that satisfies the property?  Prints sat, unsat, unknown or timeout.")
    if named:
        verify.usage = "verifier verify SPEC --network NAME=FILE [--network NAME=FILE ...] [options]"
        verify.set_defaults(model=None)
        verify.add_argument("spec", metavar="SPEC", type=SPEC, help="a .vnnlib or .vnnlib.gz file")
    else:
        _add_model_and_spec(verify)
    verify.add_argument(
        "--network", metavar="NAME=FILE", type=Reads(files=sources.of_network), action="append",
        help="in place of MODEL: a model for a network of SPEC",
    )  # fmt: skip
    _add_tensors(verify)
    verify.add_argument("--timeout", metavar="S", type=seconds, help="seconds, counted from the start of the process")
    verify.add_argument("--results", metavar="FILE", type=FILE, help="write the verdict in the competition's format")
    verify.add_argument("--certificate", metavar="FILE", type=FILE, help="write a proof of unsat (not available yet)")
    verify.add_argument(
        "--json", metavar="FILE", type=TEXT, help="write verdict, counterexample and statistics as JSON"
    )
    verify.add_argument(
        "--serialise-assignments",
        metavar="DIR",
        type=Writes(within=("*.pb",)),
        help="write each variable's value to DIR/NAME.pb (2.0)",
    )
    verify.add_argument(
        "--accept-real", action="store_true", help="answer in real arithmetic what SPEC asks in floating point (2.0)"
    )
    verify.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute (cpu)")
    verify.add_argument("--report", metavar="PAGE", type=DRAWN, help="write a page for a browser: the answer and why")
    verify.add_argument("--explain", action="store_true", help="say what is done, from what facts, and what is open")
    verify.add_argument("--quiet", action="store_true", help="nothing but errors on standard error")

    if alone:
        _add_log(verify)
        return whole
    bound = add("bound", "Bounds of every output on a set of inputs, one line an output: name, lower, upper.")
    bound.add_argument("model", metavar="MODEL", type=MODEL, help="an .onnx or .onnx.gz file")
    bound.add_argument("spec", metavar="SPEC", type=SPEC, nargs="?", help="a .vnnlib file: the box of its inputs")
    _add_input_set(bound, spec=False)
    _add_tensors(bound, inputs=False)
    bound.add_argument("--json", metavar="FILE", type=TEXT, help="write the result as JSON")
    methods = ("interval", "forward", "crown", "alpha-crown")
    bound.add_argument("--method", default="crown", choices=methods, help="how (crown)")
    bound.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to compute (cpu)")

    _add_sensitivity(add)
    _add_train(add)
    _add_tightness(add)
    _add_bench(add)
    _add_report(add)
    _add_certify(add)

    supports = add("supports", "What this program can do, in the terms of the VNN-LIB standard.")
    ask = supports.add_mutually_exclusive_group(required=True)
    for capability in CAPABILITIES:
        ask.add_argument(f"--{capability}", dest="capability", action="store_const", const=capability)

    completion = add("completion", "A script that completes commands and options; its first line says where to put it.")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell")

    info = add("info", "What is in a model; without one, which operators are supported.")
    info.add_argument("model", metavar="MODEL", type=MODEL, nargs="?", help="an .onnx or .onnx.gz file")
    info.add_argument(
        "spec", metavar="SPEC", type=SPEC, nargs="?", help="a .vnnlib file: what is unstable on its inputs"
    )
    _add_tensors(info)
    info.add_argument("--json", metavar="FILE", type=TEXT, help="write it as JSON")
    for name in LOGGED:
        _add_log(commands.choices[name])
    return whole


def _add_log(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--log", metavar="FILE", type=FILE, help="add lines with the time of what is done and why to a file"
    )


def _add_sensitivity(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """`lipschitz` and `monotone`."""
    constant = add("lipschitz", "Bounds of the local Lipschitz constant on a set, then of each output's.")
    rising = add("monotone", "Does an output rise or fall with an input, everywhere on a set?")
    for command in (constant, rising):
        command.add_argument("model", metavar="MODEL", type=MODEL, help="an .onnx or .onnx.gz file")
        _add_input_set(command)
        _add_tensors(command, inputs=False)
        command.add_argument(
            "--timeout", metavar="S", type=seconds, default=60.0, help="seconds from the start of the process (60)"
        )
        command.add_argument("--json", metavar="FILE", type=TEXT, help="write the result as JSON")
        command.add_argument("--quiet", action="store_true", help="nothing but errors on standard error")
    constant.add_argument(
        "--norm", metavar="P[,Q]", type=str, help="norms of input and output, from 1 to inf (the ball's)"
    )
    constant.add_argument("--everywhere", action="store_true", help="of all inputs, not of a set")
    constant.add_argument(
        "--wrt", metavar="NAME", type=str, action="append", help="of several inputs the one that moves (again: these)"
    )
    constant.add_argument(
        "--outputs", metavar="I,J", type=str, help="which outputs count, from the end if negative: --outputs=-1 (all)"
    )
    constant.add_argument("--margins", metavar="I", type=int, help="in their place: output I less each of the others")
    constant.add_argument("--each", action="store_true", help="narrow every output's bounds, not the largest's")
    constant.add_argument("--tolerance", metavar="T", type=float, default=1e-4, help="relative gap to stop at (1e-4)")
    constant.add_argument(
        "--jacobian", metavar="FILE", type=Writes(extra="report", plain=(".csv",)),
        help="write bounds of every entry: a table .csv, a picture .png",
    )  # fmt: skip
    rising.add_argument(
        "--input-index", metavar="I", type=entry, required=True, help="which input grows, from 0; or NAME, NAME[I]"
    )
    rising.add_argument("--output-index", metavar="O", type=entry, default=0, help="which output, likewise (0)")
    rising.add_argument("--tolerance", metavar="T", type=float, default=1e-9, help="derivatives that count as 0 (1e-9)")


def _add_train(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """`train`."""
    train = add("train", "Train a network that can be certified; writes its checkpoint, log and ONNX file.")
    train.add_argument(
        "--config", metavar="FILE", type=Reads(Path, sources.of_recipe), required=True, help="the recipe, a .toml file"
    )
    train.add_argument(
        "--data", metavar="SOURCE", type=DATA, help="in place of the recipe's: digits, an .npz file, a folder"
    )
    train.add_argument("--out", metavar="FOLDER", type=TRAINED, help="where to write (the recipe's name)")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in that folder")
    train.add_argument("--seed", metavar="N", type=int, help="in place of the recipe's")
    train.add_argument("--epochs", metavar="N", type=int, help="in place of the recipe's")
    train.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to compute (cpu)")
    train.add_argument("--threads", metavar="N", type=int, default=0, help="threads to compute with (torch's choice)")
    train.add_argument("--quiet", action="store_true", help="nothing but errors on standard error")


def _add_bench(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """`bench`."""
    bench = add("bench", "Run a benchmark; results go into a file as they come, and the same command resumes.")
    bench.add_argument(
        "source",
        nargs="?",
        metavar="FOLDER|LIST",
        type=Reads(Path, sources.of_instances),
        help="a folder of VNN-COMP's, or an instances.csv",
    )
    bench.add_argument(
        "--db", metavar="FILE", type=RUNS, default=Path("runs.sqlite"), help="the file of results (runs.sqlite)"
    )
    bench.add_argument("--csv", metavar="FILE", type=TEXT, help="write the results in the competition's format, too")
    bench.add_argument("--compare", metavar="FILE", type=TABLE, help="a table of another tool's results, to put beside")
    bench.add_argument(
        "--only", metavar="TEXT[,TEXT]", type=str, default="", help="instances whose names hold or match one"
    )
    bench.add_argument("--list", action="store_true", help="list the runs in the file of results, and run nothing")
    bench.add_argument("--delete", metavar="N[,N]", type=str, help="take these runs out of it, and run nothing")
    bench.add_argument("--jobs", metavar="N", type=int, default=1, help="instances at once (1)")
    bench.add_argument("--threads", metavar="N", type=int, default=0, help="cores of each (those at hand, shared out)")
    bench.add_argument(
        "--memory", metavar="GB", type=float, default=0.0, help="of each (most of the machine's, shared out)"
    )
    bench.add_argument("--timeout", metavar="S", type=seconds, help="cap of every timeout, seconds")
    bench.add_argument("--fresh", action="store_true", help="a new interpreter for each, as a user would start it")
    bench.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute (cpu)")
    bench.add_argument("--quiet", action="store_true", help="nothing but errors on standard error")


def _add_report(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """`report`."""
    report = add("report", "One page of the results that `bench` keeps: plots, tables, every instance and why.")
    report.add_argument("db", metavar="FILE", type=Reads(Path, sources.of_table), help="the file of results")
    report.add_argument(
        "-o",
        "--output",
        metavar="PAGE",
        type=Writes(unless="list", extra="report"),
        default=Path("report.html"),
        help="where to write (report.html)",
    )
    report.add_argument("--list", action="store_true", help="list the runs in FILE, and write nothing")
    report.add_argument(
        "--run", metavar="N[,N]", type=str, help="runs to show (all of the latest version and settings)"
    )
    report.add_argument("--against", metavar="N[,N]|none", type=str, help="runs to put beside (the latest other ones)")
    report.add_argument("--compare", metavar="TABLE", type=TABLE, help="in their place: another tool's results, a .csv")
    report.add_argument(
        "--figures",
        metavar="FOLDER",
        type=Writes(within=("*.svg", "*.png"), extra="report"),
        help="write plots and pictures as files, too",
    )
    report.add_argument("--quiet", action="store_true", help="nothing but errors on standard error")


def _add_certify(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """`certify`."""
    command = add("certify", "Certified accuracy of a data set: natural, attacked, proved by which bounds, unknown.")
    command.add_argument("--model", metavar="MODEL", type=MODEL, required=True, help="an .onnx or .onnx.gz file")
    command.add_argument(
        "--data",
        metavar="SOURCE",
        type=DATA,
        required=True,
        help="test images of digits, an .npz file, or a folder of files",
    )
    command.add_argument(
        "--eps", metavar="E", type=str, required=True, help="radius of the balls: a number, or such as 8/255"
    )
    command.add_argument("--norm", choices=("inf", "2", "1"), default="inf", help="of the balls (inf)")
    command.add_argument("--lo", metavar="L", type=float, default=0.0, help="no input is below this (0; -inf for none)")
    command.add_argument("--hi", metavar="H", type=float, default=1.0, help="no input is above this (1; inf for none)")
    command.add_argument("--timeout", metavar="S", type=seconds, default=60.0, help="seconds for one image (60)")
    command.add_argument("--count", metavar="N", type=int, help="the first N images (all)")
    command.add_argument("--range", metavar="A:B", type=str, help="images A, A + 1, ..., B - 1 (all)")
    command.add_argument(
        "--db", metavar="FILE", type=KEPT, help="keep results there as they come; the same command goes on from them"
    )
    command.add_argument("--csv", metavar="FILE", type=TEXT, help="write a row an image")
    command.add_argument("--json", metavar="FILE", type=TEXT, help="write everything as JSON")
    command.add_argument("--counterexamples", metavar="FILE", type=FILE, help="write those found to an .npz file")
    command.add_argument(
        "--report", metavar="PAGE", type=DRAWN, help="write a page for a browser: plots and every image"
    )
    _add_tensors(command)
    command.add_argument("--radius", action="store_true", help="each image's largest certified radius, up to E")
    command.add_argument("--tolerance", metavar="T", type=float, help="of radii, absolute (a hundredth of E)")
    command.add_argument("--jobs", metavar="N", type=int, default=1, help="images searched at once (1)")
    command.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute (cpu)")
    command.add_argument("--quiet", action="store_true", help="nothing but errors on standard error")


def _add_tightness(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """`tightness`."""
    tight = add("tightness", "How much of the interval bounds' width is real: mean, then each output's tightness.")
    tight.add_argument("model", metavar="MODEL", type=MODEL, nargs="?", help="an .onnx or .onnx.gz file")
    _add_input_set(tight)
    _add_tensors(tight, inputs=False)
    tight.add_argument(
        "--data", metavar="SOURCE", type=DATA, help="in place of --input: test inputs of digits, an .npz, a folder"
    )
    tight.add_argument("--count", metavar="N", type=int, help="so many of them (100)")
    tight.add_argument("--kind", default="local", choices=("local", "linear"), help="at the inputs, or without ReLUs")
    tight.add_argument("--plot", metavar="FILE", type=DRAWN, help="draw it layer by layer: .png, .svg or .pdf")
    tight.add_argument("--theory", metavar="FILE", type=DRAWN, help="draw what theory expects by width and depth")
    tight.add_argument("--json", metavar="FILE", type=TEXT, help="write the result as JSON")
    tight.add_argument("--quiet", action="store_true", help="nothing but errors on standard error")


def _add_input_set(command: argparse.ArgumentParser, spec: bool = True) -> None:
    """Options that describe a set of inputs; without `spec` a property comes some other way."""
    group = command.add_argument_group("the set of inputs")
    named = "[NAME=]"
    group.add_argument(
        "--input",
        metavar=f"{named}X",
        type=INPUT,
        action="append",
        help="its centre: a .npy or text file of numbers, or numbers: --input=-1,0.2; of several inputs each by its "
        "name (without a radius it is fixed there)",
    )
    group.add_argument(
        "--eps", metavar=f"{named}E", type=radii, action="append", help="its radius: a number, or such as 8/255"
    )
    group.add_argument(
        "--ball", metavar=f"{named}P", type=norms, action="append", help="its shape: the norm of the ball, 1, 2 or inf"
    )
    group.add_argument("--lo", metavar=f"{named}L", type=ends, action="append", help="nothing below this number")
    group.add_argument("--hi", metavar=f"{named}H", type=ends, action="append", help="nothing above this number")
    side = "in place of a centre: the {} end, one number or all, or a file"
    group.add_argument("--lower", metavar=f"{named}X", type=INPUT, action="append", help=side.format("lower"))
    group.add_argument("--upper", metavar=f"{named}X", type=INPUT, action="append", help=side.format("upper"))
    if spec:
        what = "in place of these: the input box of a .vnnlib property"
        group.add_argument("--spec", metavar="SPEC", type=SPEC, help=what)


def _add_tensors(command: argparse.ArgumentParser, inputs: bool = True) -> None:
    """Options that choose among several inputs and outputs; without `inputs` these come some other way."""
    if inputs:
        command.add_argument(
            "--input", metavar="NAME=X", type=INPUT, action="append", help="fix an input: numbers, or a file of them"
        )
    command.add_argument(
        "--output", metavar="NAME", type=str, action="append", help="of several outputs this one (again: these)"
    )


def _add_model_and_spec(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", type=MODEL, help="an .onnx or .onnx.gz file")
    command.add_argument("spec", metavar="SPEC", type=SPEC, help="a .vnnlib or .vnnlib.gz file")
