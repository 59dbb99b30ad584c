"""What the search does, frozen: answers, subproblems bounded and bounds at the root, compared with a committed table.

Every case runs by a clock that counts work (`search.budget.Work`), on one thread and from fixed seeds, so what is
compared depends on the program alone: not on how fast a machine is, nor on what else it does.  Whoever changes what is
searched for, bounded or split changes the table with it, and says why; whoever only moves code leaves it as it is.

    python -m benchmarks.frozen                   # all; what lies in ../shared/benchmarks only where that is there
    python -m benchmarks.frozen --only neurons    # cases whose names hold a word
    python -m benchmarks.frozen --update          # write the table anew

Exit status 1 if something differs.  A case is in the list only if its counts were the same with two threads of BLAS and
with other processors' kernels: OPENBLAS_CORETYPE=Prescott NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL", and
Haswell with the last two.  So nothing of it hangs on the last bits.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before numpy is loaded: sums over several threads are added in another order
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import numpy as np

import verifier
from verifier.search.budget import Budget, Work

ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT.parent / "shared" / "benchmarks"
TABLE = ROOT / "benchmarks" / "frozen.csv"
HEADER = ("case", "answer", "subproblems", "rounds", "bounds")
LIMIT = 1.0
"""Seconds of work that a case may take."""
NEAR = 1e-6
"""How far bounds may be from the table's, as a share of the largest of the case: processors round sums differently."""
CLIMBED = 3e-3
"""The same where slopes were optimised in single precision, which makes more of what was rounded."""


@dataclass(frozen=True)
class Record:
    """What a case came to.

    Attributes:
        answer: the verdict, or another word.
        bounded, rounds: subproblems bounded, and batches of them.
        bounds: at the root: the largest gap after the first round of a search, or the bounds that were asked for.
    """

    answer: str
    bounded: int = 0
    rounds: int = 0
    bounds: tuple[float, ...] = ()

    def row(self) -> tuple[str, ...]:
        """As the table has it."""
        return self.answer, str(self.bounded), str(self.rounds), " ".join(f"{b:.9g}" for b in self.bounds)

    def differs(self, other: Record, near: float) -> bool:
        """Whether something differs, bounds by more than a share of the largest."""
        if (self.answer, self.bounded, self.rounds) != (other.answer, other.bounded, other.rounds):
            return True
        mine, theirs = np.array(self.bounds), np.array(other.bounds)
        if mine.shape != theirs.shape:
            return True
        size = np.max(abs(theirs), initial=0.0, where=np.isfinite(theirs))
        return not np.allclose(mine, theirs, rtol=0.0, atol=near * size, equal_nan=True)


@dataclass(frozen=True)
class Case:
    """Something to run.

    Attributes:
        name: `kind/what`.
        run: does it, within a budget.
        near: how far bounds may be from the table's.
        quick: whether the tests run it, too.
    """

    name: str
    run: Callable[[Budget], Record]
    near: float = NEAR
    quick: bool = False


# ---- What is run.


def verified(model: Any, prop: Any) -> Callable[[Budget], Record]:
    """`verify`, with all that it does."""

    def run(budget: Budget) -> Record:
        seen: list[float] = []

        def watch(phase: str, progress: Any) -> None:
            if progress is not None and math.isfinite(progress.worst) and not seen:
                seen.append(progress.worst)

        result = verifier.verify(*(m() if callable(m) else m for m in (model, prop)), timeout=budget, watch=watch)
        count = result.stats
        return Record(str(result.verdict), count.get("domains", 0), count.get("rounds", 0), tuple(seen))

    return run


def searched(way: str, model: Any, prop: Any) -> Callable[[Budget], Record]:
    """One of the searches alone, without anybody who tries candidates."""

    def run(budget: Budget) -> Record:
        from verifier.run.apart import apart
        from verifier.run.model import boundable
        from verifier.run.pose import pose
        from verifier.search.decide import NeuronSearch
        from verifier.search.inputs import InputSearch
        from verifier.search.query import make_query
        from verifier.values.arrays import Place

        posed, seen = pose(*(m() if callable(m) else m for m in (model, prop))), list[float]()
        graph, place = boundable(posed.net), Place("numpy", "float32")
        query = make_query(graph, posed.prop, place, budget.check)

        def watch(progress: Any) -> None:
            if math.isfinite(progress.worst) and not seen:
                seen.append(progress.worst)

        def nobody(x: np.ndarray, group: np.ndarray) -> None:
            """No point is a counterexample."""

        search: Any
        if way == "inputs":
            search = InputSearch(query, nobody, watch)
        elif way == "neurons":
            search = NeuronSearch(query, budget, nobody, watch)
        elif way == "differences":
            other = apart(posed.net, graph, posed.prop, place, budget.check)
            assert other is not None
            search = InputSearch(other, nobody, watch)
        else:
            rival = lambda: apart(posed.net, graph, posed.prop, place, budget.check)  # noqa: E731
            search = InputSearch(query, nobody, watch, other=rival)
        done, p = search.advance(budget), search.progress
        return Record("open" if done is None else str(done.verdict), p.bounded, p.rounds, tuple(seen))

    return run


def bounds(model: Any, inputs: Any, method: str) -> Callable[[Budget], Record]:
    """`bound` by a method: the lower and then the upper bounds."""
    return lambda budget: Record("bounds", bounds=tuple(np.concatenate(verifier.bound(model(), inputs(), method))))


def steepness(model: Any, inputs: Any, **how: Any) -> Callable[[Budget], Record]:
    """`lipschitz`: the bounds on the whole set, and those at the end."""

    def run(budget: Budget) -> Record:
        first: list[float] = []

        def watch(phase: str, standing: Any) -> None:
            if phase == "searching" and not first:
                found = standing.result()
                first.extend((found.lower, found.upper))

        found = verifier.lipschitz(model(), inputs(), timeout=budget, watch=watch, **how)
        answer = "exact" if found.settled else "open"
        return Record(answer, found.stats["parts"], found.stats["rounds"], (*first, found.lower, found.upper))

    return run


def direction(model: Any, inputs: Any, **how: Any) -> Callable[[Budget], Record]:
    """`monotone`: the direction, and bounds of the derivative."""

    def run(budget: Budget) -> Record:
        found = verifier.monotone(model(), inputs(), timeout=budget, **how)
        return Record(found.direction, found.stats["parts"], found.stats["rounds"], (found.lower, found.upper))

    return run


# ---- Networks and questions of our own.


def ours(name: str) -> Path:
    """A model or a property of the examples."""
    return ROOT / ("models" if name.endswith("onnx") else "specs") / name


def network(seed: int, sizes: tuple[int, ...], kind: str) -> Any:
    """A network of dense layers with one operator between them; weights are 64ths, so that no machine rounds them."""
    from onnx import TensorProto, helper, numpy_helper

    rng, nodes, weights, x = np.random.default_rng(seed), [], [], "x"

    def dense(x: str, m: int, n: int) -> str:
        k = len(weights)
        for name, shape in ((f"W{k}", (m, n)), (f"b{k}", (n,))):
            a = np.rint(64 * rng.standard_normal(shape) * math.sqrt(2 / m)) / 64
            weights.append(numpy_helper.from_array(a.astype(np.float32), name))
        nodes.append(helper.make_node("Gemm", [x, f"W{k}", f"b{k}"], [f"z{k}"]))
        return f"z{k}"

    for m, n in zip(sizes[:-2], sizes[1:-1], strict=True):
        read = [dense(x, m, n) for _ in range(2 if kind == "Mul" else 1)]
        x = f"h{len(weights)}"
        nodes.append(helper.make_node(kind, read, [x]))
    last = dense(x, *sizes[-2:])
    ends = [
        helper.make_tensor_value_info(v, TensorProto.FLOAT, [1, n]) for v, n in (("x", sizes[0]), (last, sizes[-1]))
    ]
    graph = helper.make_graph(nodes, kind, ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def rounded(bits: int) -> Any:
    """The pendulum's controller with all weights rounded to so many bits behind the point."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(ours("pendulum.onnx"))
    for w in model.graph.initializer:
        if w.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
            a = numpy_helper.to_array(w)
            w.CopyFrom(numpy_helper.from_array((np.rint(a * 2.0**bits) / 2.0**bits).astype(a.dtype), w.name))
    return model


def cube(n: int, reach: float = 1.0) -> verifier.Box:
    """All inputs within reach of the origin."""
    return verifier.Box(np.full(n, -reach), np.full(n, reach))


def image(spec: str, eps: float, norm: float = math.inf) -> verifier.Ball:
    """What lies within eps of the image that a property is about."""
    prop = verifier.read(ours(spec))
    return verifier.Ball(0.5 * (prop.lower[0] + prop.upper[0]), eps, norm)


def robust(model: str, spec: str, eps: float) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Does a network read an image as what it is, and all within eps of it, too?"""

    def question() -> Any:
        ball = image(spec, eps)
        net = verifier.load(ours(model))
        return verifier.robustness(ball, int(net.run(ball.center[None].astype(np.float32))[0].argmax()))

    return lambda: ours(model), question


def below(seed: int, sizes: tuple[int, ...], kind: str, level: float) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Is the first output of a network of ours below a level on the whole cube?"""
    row = -np.eye(sizes[-1])[0]
    return (
        lambda: network(seed, sizes, kind),
        lambda: verifier.output_property(*(f * np.ones(sizes[0]) for f in (-1, 1)), [[(row, -level)]]),
    )


def own() -> Iterator[Case]:
    """Cases of what is in this repository."""
    with open(ROOT / "specs" / "instances.csv") as f:
        for r in csv.DictReader(f):
            m, s = ROOT / r["model"], ROOT / r["spec"]
            yield Case(f"verify/{s.stem}", verified(lambda m=m: m, lambda s=s: s), CLIMBED, quick=True)
    for name in ("pendulum_limit_unsat", "pendulum_pushes_back", "pendulum_line_unsat"):
        for way in ("inputs", "neurons") if name != "pendulum_limit_unsat" else ("inputs",):  # too many, too alike
            asked = (lambda: ours("pendulum.onnx"), lambda s=name: ours(f"{s}.vnnlib"))
            yield Case(f"{way}/{name}", searched(way, *asked), CLIMBED, quick=way == "inputs")
    for model, spec, eps in (("fc", "0_small", 0.14), ("fc", "45_small", 0.08), ("conv", "20_small", 0.1)):
        asked = robust(f"digits_{model}.onnx", f"digits_{model}_{spec}.vnnlib", eps)
        yield Case(f"neurons/digits_{model}_{spec}_{eps}", searched("neurons", *asked), CLIMBED, quick=model == "conv")
    for kind, sizes, *levels in NETS:
        asked = below(7, sizes, kind, levels[0])
        yield Case(f"verify/{kind}", verified(*asked), CLIMBED, quick=True)
        for way, level in zip(("inputs", "neurons"), levels, strict=True):
            yield Case(f"{way}/{kind}", searched(way, *below(7, sizes, kind, level)), CLIMBED, quick=True)
        for method in ("interval", "forward", "crown", "alpha-crown"):
            near = CLIMBED if method == "alpha-crown" else NEAR
            whole = lambda n=sizes[0]: cube(n)  # noqa: E731
            yield Case(f"bound/{kind}/{method}", bounds(asked[0], whole, method), near, quick=True)
    yield from _relations()
    yield from _slopes()


NETS = (
    ("Relu", (5, 16, 16, 2), 1.187, 1.45),
    ("LeakyRelu", (5, 16, 16, 2), 1.197, 1.197),
    ("Tanh", (4, 12, 12, 2), 1.079, 1.4),
    ("Sigmoid", (5, 12, 12, 2), 0.053, 0.082),
    ("Softmax", (4, 8, 8, 2), -0.95, -0.72),
    ("Mul", (2, 3, 3, 2), 0.326, 5.345),
    ("Floor", (3, 8, 8, 2), 2.631, 2.631),
)
"""Kind, sizes, and levels that the first output does not reach: for splits of inputs, and of neurons."""


def _relations() -> Iterator[Case]:
    def same(bits: int, eps: float) -> Callable[[], Any]:
        return lambda: verifier.equivalent(verifier.load(ours("pendulum.onnx")), rounded(bits), cube(2, 0.5), eps=eps)

    def falling() -> Any:
        return verifier.monotonicity(ours("pendulum.onnx"), input=1, box=cube(2, 0.2), increasing=False, tolerance=3e-4)

    for name, asked in (("same_8", same(8, 0.03)), ("same_6", same(6, 0.15)), ("falling", falling)):
        yield Case(f"verify/relation_{name}", verified(asked, lambda: None), CLIMBED, quick=True)
        for way in ("inputs", "differences", "rivals"):
            yield Case(f"{way}/relation_{name}", searched(way, asked, lambda: None), CLIMBED)


def _slopes() -> Iterator[Case]:
    pendulum, fc = (lambda: ours("pendulum.onnx")), (lambda: ours("digits_fc.onnx"))
    inf = math.inf
    for p in (1, 2, inf):
        yield Case(f"lipschitz/pendulum_l{p}", steepness(pendulum, lambda: cube(2, 0.5), norm=(p, inf)), quick=True)
    yield Case("lipschitz/pendulum_ball", steepness(pendulum, lambda: verifier.Ball(np.zeros(2), 0.5, 2)), quick=True)
    for norm in ((inf, inf), (2, 2), (1, 1)):
        for kind, sizes, *_ in NETS[:4]:
            net = lambda kind=kind, sizes=sizes: network(7, sizes, kind)  # noqa: E731
            box = lambda n=sizes[0]: cube(n, 0.3)  # noqa: E731
            yield Case(f"lipschitz/{kind}_l{norm[0]}", steepness(net, box, norm=norm))
    small = lambda: image("digits_fc_0_small.vnnlib", 0.01)  # noqa: E731
    yield Case("lipschitz/digits_margins", steepness(fc, small, margins=0))
    for i in (0, 1):
        yield Case(f"monotone/pendulum_{i}", direction(pendulum, lambda: cube(2, 0.3), input=i), quick=True)
    for kind, sizes, *_ in NETS[:4]:
        net = lambda kind=kind, sizes=sizes: network(7, sizes, kind)  # noqa: E731
        yield Case(f"monotone/{kind}", direction(net, lambda n=sizes[0]: cube(n, 0.2), input=0))


# ---- Instances of the suite.

CHOSEN = (
    ("acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx.gz", "acasxu/vnnlib/prop_5.vnnlib.gz"),
    ("acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx.gz", "acasxu/vnnlib/prop_3.vnnlib.gz"),
    ("acasxu/onnx/ACASXU_run2a_3_2_batch_2000.onnx.gz", "acasxu/vnnlib/prop_4.vnnlib.gz"),
    ("linearizenn/onnx/AllInOne_120_30.onnx.gz", "linearizenn/vnnlib/prop_120_30.vnnlib.gz"),
    ("linearizenn/onnx/AllInOne_120_50.onnx.gz", "linearizenn/vnnlib/prop_120_50_4.vnnlib.gz"),
    ("lsnc/onnx/quadrotor2d_state.onnx.gz", "lsnc/vnnlib/quadrotor2d_state_5.vnnlib.gz"),
    ("safenlp/onnx/ruarobot_perturbations_0.onnx.gz", "safenlp/vnnlib/ruarobot_hyperrectangle_4962.vnnlib.gz"),
    ("mnist_fc/onnx/mnist-net_256x2.onnx.gz", "mnist_fc/vnnlib/prop_14_0.05.vnnlib.gz"),
    ("oval21/onnx/cifar_base_kw.onnx.gz", "oval21/vnnlib/cifar_base_kw-img8717-eps0.011633986928104577.vnnlib.gz"),
    ("oval21/onnx/cifar_deep_kw.onnx.gz", "oval21/vnnlib/cifar_deep_kw-img7878-eps0.009934640522875817.vnnlib.gz"),
    ("cifar10_resnet/onnx/resnet_2b.onnx.gz", "cifar10_resnet/vnnlib/prop_23_eps_0.008.vnnlib.gz"),
    ("eran_sigmoid/onnx/mnist_relu_9_200.onnx.gz", "eran_sigmoid/vnnlib/mnist_spec_idx_8824_eps_0.01500.vnnlib.gz"),
)
"""Networks and properties below the suite's folder."""


def suite() -> Iterator[Case]:
    """Cases of the suite, where it is there."""
    for m, s in CHOSEN if SUITE.is_dir() else ():
        name = s.split("/")[-1].split(".vnnlib")[0]
        network_ = Path(m).name.split(".onnx")[0]
        asked = (lambda m=m: SUITE / m, lambda s=s: SUITE / s)
        yield Case(f"suite/{m.split('/')[0]}/{network_}/{name}", verified(*asked), CLIMBED)


# ---- The table.


def cases() -> list[Case]:
    """All that can be run here."""
    return [*own(), *suite()]


def record(case: Case) -> Record:
    """What a case comes to now."""
    return case.run(Budget.seconds(LIMIT, Work()))


def table() -> dict[str, Record]:
    """What was committed."""
    with open(TABLE, newline="") as f:
        return {
            r["case"]: Record(
                r["answer"], int(r["subproblems"]), int(r["rounds"]), tuple(float(b) for b in r["bounds"].split())
            )
            for r in csv.DictReader(f)
        }


def write(found: dict[str, Record]) -> None:
    """Commit to this."""
    with open(TABLE, "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(HEADER)
        out.writerows((name, *r.row()) for name, r in found.items())


def main() -> int:
    """Run, compare, print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--update", action="store_true", help="write the table anew")
    asked = parser.parse_args()
    known = table() if TABLE.is_file() else {}
    found, wrong, began = dict[str, Record](), 0, time.process_time()
    for case in (c for c in cases() if asked.only in c.name):
        start = time.process_time()
        found[case.name] = now = record(case)
        before = known.get(case.name)
        differs = before is None or now.differs(before, case.near)
        wrong += differs
        took = time.process_time() - start
        print(
            f"{'CHANGED' if differs else 'same':8}{case.name:70}{took:6.2f} s  {' '.join(now.row())[:60]}", flush=True
        )
        if differs and before is not None:
            print(f"{'':8}{'was':77}{' '.join(before.row())[:60]}")
    print(f"{len(found)} cases, {wrong} changed, {time.process_time() - began:.0f} s of a processor")
    if asked.update:
        away = "" if SUITE.is_dir() else "suite/"  # what cannot be run here stays
        write({k: v for k, v in {**known, **found}.items() if asked.only or k in found or k[:6] == away})
        return 0
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
