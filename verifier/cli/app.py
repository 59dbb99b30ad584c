"""Commands, and what an error looks like.

Written with argparse: importing a friendlier library takes a third of the time of a whole easy answer.
"""

from __future__ import annotations

import argparse
import errno
import sys

from verifier.cli.networks import models
from verifier.cli.options import parser
from verifier.cli.places import check
from verifier.values.errors import Unwritten, VerifierError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""What a system says where nothing more can be written: no fault of ours."""


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status."""
    try:
        status = 0
        try:
            _dispatch(arguments)
        except SystemExit as e:  # --help, --version
            status = int(e.code or 0)
        sys.stdout.flush()
        return status
    except Unwritten as e:
        return _refuse(str(e), 3)
    except VerifierError as e:
        return _refuse(str(e), 2)
    except KeyboardInterrupt:
        return _refuse("interrupted", 130)
    except MemoryError:
        return _refuse("out of memory; use a machine with more, or a smaller network", 2)
    except BrokenPipeError:
        return 0
    except OSError as e:
        if e.errno not in FULL:
            return _fault(e)
        return _refuse(f"{e.filename or 'standard output'}: cannot be written ({e.strerror})", 3)
    except Exception as e:
        return _fault(e)


def _fault(e: Exception) -> int:
    if sys.flags.dev_mode:
        raise e
    return _refuse(f"{type(e).__name__}: {e}: a fault of verifier; report it with what `python -X dev` prints", 1)


def _refuse(message: str, status: int) -> int:
    print(f"verifier: {' '.join(message.split())}", file=sys.stderr)
    return status


def _dispatch(arguments: list[str]) -> None:
    """Read the command line, and run the command that is asked for, with a log where one is wanted."""
    named = any(word.split("=")[0] == "--network" for word in arguments)
    a = parser(named, alone=arguments[:1] == ["verify"]).parse_args(arguments)
    if a.command is not None:
        check(a.parser, a)
    if getattr(a, "log", None) is None:
        _call(a)
        return
    from verifier.cli.log import into

    with into(a.log, arguments):
        _call(a)


def _call(a: argparse.Namespace) -> None:
    """Import the command that is asked for, and run it."""
    if a.command == "verify":
        from verifier.cli import verify

        verify.command(
            models(a.model, a.network), a.spec, a.timeout, a.results, a.certificate, a.json, a.device, a.quiet,
            a.serialise_assignments, a.accept_real, a.explain, a.report, a,
        )  # fmt: skip
    elif a.command == "bound":
        from verifier.cli import bound

        bound.command(a)
    elif a.command in ("lipschitz", "monotone"):
        from verifier.cli import lipschitz

        (lipschitz.command if a.command == "lipschitz" else lipschitz.monotone_command)(a)
    elif a.command == "train":
        from verifier.cli import train

        train.command(a)
    elif a.command == "bench":
        from verifier.cli import bench

        bench.command(a)
    elif a.command == "report":
        from verifier.cli import report

        report.command(a)
    elif a.command == "certify":
        from verifier.cli import certify

        certify.command(a)
    elif a.command == "tightness":
        from verifier.cli import tightness

        tightness.command(a)
    elif a.command == "supports":
        from verifier.cli import supports

        supports.command(a.capability)
    elif a.command == "info":
        from verifier.cli import info

        info.command(a)
    elif a.command == "completion":
        from verifier.cli import completion

        print(completion.script(a.shell, parser()), end="")
    else:
        parser().print_help()
