"""Every argument of every public function: what cannot be used is refused in one line that names it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import verifier
from tests.cli.files import dense
from verifier.values.errors import UserError

NAN, INF = float("nan"), float("inf")


class _Odd:
    """An object of no use, whose text has several lines."""

    def __repr__(self) -> str:
        return "odd\nthing"


NO_NUMBER: list[Any] = ["0.1", b"1", None, True, np.bool_(True), NAN, np.float32(NAN), 1j, [0.1], {}, _Odd(), object]
NO_WHOLE: list[Any] = [*NO_NUMBER, 1.5, np.float64(0.0), "1", torch.tensor([0, 1])]
NO_ENTRY = [v for v in NO_WHOLE if v is not None]
NO_FLAG: list[Any] = [0, 1, "yes", None, _Odd(), np.array([True])]
NO_ARRAY: list[Any] = ["abc", "0.5", b"x", None, [], [[]], [1, [2, 3]], [NAN, 0], [INF, 0], {}, {1.0}, _Odd(), [1j, 2],
                       [None, 1], ["1", "2"], np.zeros(0), torch.full((2,), NAN), [10**400, 0], lambda: 0]  # fmt: skip
GIVEN = [v for v in NO_ARRAY if v is not None]
NO_WORD: list[Any] = ["", "CPU", 1, None, True, ["cpu"], np.zeros(2), _Odd()]
NO_SET: list[Any] = [None, 3, "box", [0, 1], np.zeros(2), ([0, 0], [1, 1]), _Odd()]
NO_CALL: list[Any] = [3, "print", True, _Odd()]
NO_PATH: list[Any] = [3, b"x", [], _Odd(), NAN, ""]
NO_TIME: list[Any] = [v for v in NO_NUMBER if v is not None] + [-1, -INF, np.zeros(2)]
NO_LENGTH: list[Any] = [*NO_NUMBER, -1, -INF, INF, np.zeros(3)]
NO_EPS: list[Any] = [*NO_ARRAY, -0.1, INF, NAN, [0.1, -0.1], [0.1, 0.1, 0.1], True, "0.1"]
NO_NORM: list[Any] = [v for v in NO_NUMBER if v is not None] + [0, 3, -1, "inf", np.zeros(2)]

NET = dense([[1.0, -1.0], [2.0, 0.5], [0.0, 1.0]])
X, Y = np.zeros((4, 2)), np.array([0, 1, 2, 0])


def _box() -> verifier.Box:
    return verifier.Box([-1, -1], [1, 1])


def _verify(**given: Any) -> Any:
    asked = {"model": NET, "prop": verifier.robustness(verifier.Ball([0.0, 0.0], 0.1), 0), "timeout": 5} | given
    return verifier.verify(**asked)


def _half_spaces(**given: Any) -> Any:
    asked = {"lower": [0, 0], "upper": [1, 1], "disjuncts": [[([1, 0, 0], 0.5)]]} | given
    return verifier.output_property(**asked)


def _of(function: str, **usual: Any) -> Callable[..., Any]:
    return lambda **given: getattr(verifier, function)(**(usual | given))


def _asked(question: Any) -> Any:
    return verifier.verify(question, timeout=2)


WHERE: dict[str, Any] = {"model": NET, "inputs": _box()}
DATA: dict[str, Any] = {"model": NET, "x": X, "y": Y, "timeout": 0}
CALLS: dict[str, Callable[..., Any]] = {
    "Box": _of("Box", lower=[0, 0], upper=[1, 1]),
    "Ball": _of("Ball", center=[0, 0], eps=0.1),
    "load": _of("load", model=NET),
    "input_set": _of("input_set", model=NET, inputs={"x": [0, 0]}, eps=0.1),
    "diagnose": _of("diagnose", model=NET),
    "by_name": _of("by_name", net=NET, x=[0, 0]),
    "read": _of("read"),
    "bound": _of("bound", **WHERE),
    "verify": _verify,
    "lipschitz": _of("lipschitz", **WHERE, timeout=2),
    "jacobian": _of("jacobian", **WHERE),
    "monotone": _of("monotone", **WHERE, input=0, timeout=2),
    "tightness": _of("tightness", net=NET, x=X),
    "certify": _of("certify", **DATA, eps=0.01),
    "radii": _of("radii", **DATA, most=0.01),
    "robustness": _of("robustness", inputs=_box(), label=0),
    "robust": lambda **given: verifier.verify(verifier.robust(**({"net": NET, "x": [0, 0], "eps": 0.1} | given))),
    "monotonicity": lambda **given: _asked(
        verifier.monotonicity(**({"net": NET, "input": 0, "box": _box(), "tolerance": 0.1} | given))
    ),
    "equivalent": lambda **given: _asked(
        verifier.equivalent(**({"f": NET, "g": NET, "box": _box(), "eps": 0.1} | given))
    ),
    "output_range": lambda **given: _asked(
        verifier.output_range(**({"net": NET, "box": _box(), "lower": 0.0} | given))
    ),
    "find_range": _of("find_range", net=NET, box=_box(), timeout=0.2),
    "output_property": _half_spaces,
    "write_vnnlib": lambda **given: verifier.write_vnnlib(**({"prop": _half_spaces(), "path": "/nowhere/x"} | given)),
}

OPTIONAL = [v for v in NO_NUMBER if v is not None]
NO_INDEX: list[Any] = [*GIVEN, 0.5, 3, -4, [0, 3], [[1, 2]], "0"]
NO_MODEL: list[Any] = [None, 3, [], {}, _Odd(), NAN, object]
NO_DATA: list[Any] = ["abc", None, [], {}, _Odd(), [NAN], np.zeros((4, 3)), np.full((4, 2), NAN), np.zeros(4), [["a"]]]
NO_LABELS: list[Any] = ["abc", None, [], {}, _Odd(), [0.5] * 4, [0, 1], [0, 1, 2, 3], [-1, 0, 0, 0], [NAN] * 4]
BAD: dict[str, dict[str, list[Any]]] = {
    "Box": {"lower": [*NO_ARRAY, [2, 0], [0], 3], "upper": [*NO_ARRAY, [-1, 0], [0, 1, 2]]},
    "Ball": {
        "center": NO_ARRAY,
        "eps": NO_EPS,
        "norm": [*NO_NORM, None],
        "lo": [NAN, "1", [0, 1, 2], {}, _Odd(), 1j],
        "hi": [NAN, "1", [0, 1, 2], {}, _Odd()],
    },
    "load": {
        "model": NO_MODEL,
        "example": [],
        "fixed": [3, "x", [1], {"q": 1}, {"x": [1, 2, 3]}, {"x": "abc"}, {"x": [NAN, 0]}, {1: 2}, _Odd()],
        "outputs": [3, "q", ["q"], [1], {"y": 1}, ["y", "y"], _Odd()],
    },
    "input_set": {
        "model": NO_MODEL,
        "inputs": [None, 3, "box", [0, 1], {}, {"q": 0}, {"x": [1, 2, 3]}, {"x": (0, 1, 2)}, {"x": (1, 0)}, {"x": "a"},
                   _Odd()],
        "eps": [-1, NAN, "0.1", [0.1, 0.1, 0.1], {"q": 1}, _Odd()],
        "norm": [*NO_NORM, None],
        "lo": [NAN, "1", {"q": 0}, _Odd()],
        "hi": [NAN, "1", {"q": 0}, _Odd()],
    },
    "diagnose": {
        "model": NO_MODEL,
        "fixed": [3, "x", [1], {"q": 1}, {"x": [1, 2, 3]}, _Odd()],
        "outputs": [3, "q", ["q"], [1], _Odd()],
    },
    "by_name": {"net": NO_MODEL, "x": [*NO_ARRAY[:4], [1, 2, 3]], "what": NO_WORD},
    "read": {"path": [*NO_PATH, None]},
    "bound": {
        "model": NO_MODEL,
        "inputs": [*NO_SET, verifier.Box([0], [1])],
        "method": NO_WORD,
        "rows": [*GIVEN, [1, 2], np.zeros((1, 1, 3)), 1.0],
        "device": NO_WORD,
        "dtype": [*NO_WORD, "float16", np.float64],
    },
    "verify": {
        "model": NO_MODEL,
        "prop": [3, [], _Odd(), NAN, np.zeros(2), b"x", None],
        "timeout": NO_TIME,
        "device": NO_WORD,
        "seed": [*NO_WHOLE, -1],
        "accept_real": NO_FLAG,
        "watch": NO_CALL,
        "explain": NO_CALL,
    },
    "lipschitz": {
        "model": NO_MODEL,
        "inputs": [*NO_SET[1:], verifier.Box([0], [1]), {}, {"q": 0}],
        "wrt": [3, [], "q", [1], {}, _Odd()],
        "norm": [*OPTIONAL, 0.5, -1, (1, 2, 3), (1, 0), [NAN, 1], "2,2", ()],
        "outputs": NO_INDEX,
        "margins": [*NO_ENTRY, 3, -4],
        "timeout": NO_TIME,
        "tolerance": [*NO_NUMBER, -1],
        "each": NO_FLAG,
        "watch": NO_CALL,
    },
    "jacobian": {
        "inputs": NO_SET,
        "outputs": NO_INDEX,
        "margins": [*NO_ENTRY, 3],
        "timeout": NO_TIME,
        "tolerance": [*NO_NUMBER, -1],
        "within": NO_TIME,
        "watch": NO_CALL,
    },
    "monotone": {
        "inputs": NO_SET,
        "input": [*NO_WHOLE, 2, -1],
        "output": [*NO_INDEX, None],
        "timeout": NO_TIME,
        "tolerance": [*NO_NUMBER, -1],
        "watch": NO_CALL,
    },
    "tightness": {
        "net": NO_MODEL,
        "x": [*NO_ARRAY, np.zeros(3)],
        "eps": [*NO_ARRAY, -1, 0, [1, 1, 1], np.zeros((2, 2))],
        "kind": NO_WORD,
        "per_output": NO_FLAG,
        "margins": [*GIVEN, [0, 1], [0.5] * 4, [3] * 4, [-1] * 4],
        "lo": [*OPTIONAL, 9.0],
        "hi": [*OPTIONAL, -9.0],
    },
    "certify": {
        "model": NO_MODEL,
        "x": NO_DATA,
        "y": NO_LABELS,
        "eps": NO_LENGTH,
        "norm": [*NO_NORM, None],
        "lo": [NAN, "0", 1j, {}, _Odd(), 1.0, [0, 0, 0]],
        "hi": [NAN, "0", True, {}, _Odd(), -1.0, [0, 0, 0]],
        "timeout": NO_TIME,
        "indices": [3, "0", [0.5], [9], [-1], [0, 0], [True], _Odd(), [None]],
        "db": NO_PATH,
        "jobs": [*NO_WHOLE, 0, -1],
        "device": NO_WORD,
        "watch": NO_CALL,
    },
    "radii": {"most": [*NO_LENGTH, 0], "tolerance": [*OPTIONAL, 0, -1], "norm": NO_NORM, "timeout": NO_TIME},
    "robustness": {"inputs": NO_SET, "label": [*NO_WHOLE, -1]},
    "robust": {"net": NO_MODEL, "x": NO_ARRAY, "eps": NO_EPS, "norm": NO_NORM, "label": [*NO_ENTRY, -1, 3]},
    "monotonicity": {
        "input": [*NO_WHOLE, -1],
        "output": [*NO_WHOLE, -1],
        "box": NO_SET,
        "increasing": NO_FLAG,
        "tolerance": [*NO_LENGTH],
    },
    "equivalent": {"box": NO_SET, "eps": NO_LENGTH, "outputs": ["q", [], [0.5], [3], {}, NAN, ["q"], _Odd()]},
    "output_range": {"box": NO_SET, "output": [*NO_WHOLE, -1], "lower": [*OPTIONAL, INF, None], "upper": OPTIONAL},
    "find_range": {"box": NO_SET, "output": [*NO_WHOLE, -1, 3], "timeout": NO_TIME, "tolerance": [*NO_NUMBER, -1]},
    "write_vnnlib": {"prop": [*NO_SET, _box()], "path": [*NO_PATH, None]},
    "output_property": {
        "lower": [*NO_ARRAY, [2, 0], [0]],
        "upper": NO_ARRAY,
        "disjuncts": [3, "ab", [], [[]], [[1]], [[([1, 0, 0], "x")]], [[([1, 0, 0], NAN)]], [[("a", 1)]], [[([], 1)]],
                      [[([1], 0), ([1, 2], 0)]], None, _Odd()],
    },
}  # fmt: skip
TABLE = [(function, name) for function, arguments in BAD.items() for name in arguments]


@pytest.mark.parametrize(("function", "name"), TABLE)
def test_refused_in_one_line(function: str, name: str) -> None:
    """A `UserError` of one line, whatever is wrong with an argument; never an error from inside."""
    for value in BAD[function][name]:
        with pytest.raises(UserError) as caught:
            CALLS[function](**{name: value})
            pytest.fail(f"{function}({name}={value!r}) was taken")
        text = str(caught.value)
        assert text, value
        assert "\n" not in text, text
        assert len(text) < 400, text


def test_the_table_is_whole() -> None:
    """Every public function has its calls here, and every argument of those that were swept is real."""
    import inspect

    calls = {n for n in verifier.__all__ if not inspect.isclass(getattr(verifier, n))}
    assert set(CALLS) == calls | {"Ball", "Box"}
    for function, arguments in BAD.items():
        assert set(arguments) <= set(inspect.signature(getattr(verifier, function)).parameters)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0.1", ("eps", "'0.1'")),
        (True, ("eps",)),
        ([0.1, 0.2, 0.3], ("eps", "3", "2")),
        (-1, ("eps", "-1", "not negative")),
    ],
)
def test_the_line_says_what_and_what_to_do(value: Any, words: tuple[str, ...]) -> None:
    """Which argument, what was given, what to give."""
    with pytest.raises(UserError) as caught:
        verifier.Ball([0, 0], value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_the_lines_of_the_issue() -> None:
    """Of texts and truth values where numbers belong."""
    for call, word in (
        (lambda: verifier.bound(NET, np.array([0.1, 0.2])), "inputs"),
        (lambda: verifier.Ball([0, 0], "0.1"), "eps"),
        (lambda: _verify(timeout="5"), "timeout"),
        (lambda: verifier.robustness(_box(), 1.5), "label 1.5: give a whole number"),
    ):
        with pytest.raises(UserError, match=word):
            call()


EPS: list[Any] = [0.25, np.float32(0.25), np.float64(0.25), np.array(0.25), np.array([0.25]), torch.tensor(0.25),
                  [0.25, 0.25], torch.full((2,), 0.25), (0.25, 0.25), np.full((2, 1), 0.25, np.float16)]  # fmt: skip


@pytest.mark.parametrize("eps", EPS)
def test_a_radius_of_any_type(eps: Any) -> None:
    """One number, or one an input, from Python, numpy or torch."""
    net = verifier.load(NET)
    low, high = verifier.bound(net, verifier.Ball([0.5, 0.5], eps), "interval")
    np.testing.assert_allclose(high - low, 0.5 * np.array([2.0, 2.5, 1.0]), rtol=1e-6)
    assert verifier.verify(net, verifier.robustness(verifier.Ball([0.5, 0.5], eps), 1)).verdict in ("sat", "unsat")
    found = verifier.lipschitz(net, verifier.Ball([0.5, 0.5], eps), timeout=2)
    assert found.upper == pytest.approx(2.5)


def test_one_radius_an_input() -> None:
    """Boxes are as wide as each input's own radius, also where one is zero; other norms refuse several."""
    ball = verifier.Ball([1.0, 2.0], [0.25, 0.0])
    np.testing.assert_allclose(ball.box().lower, [0.75, 2.0])
    assert ball.box().lower[1] == ball.box().upper[1] == 2.0
    low, high = verifier.bound(NET, ball)
    np.testing.assert_allclose(high - low, [0.5, 1.0, 0.0], atol=1e-12)
    assert verifier.verify(NET, verifier.robustness(ball, 0), timeout=5).verdict == "sat"
    assert verifier.verify(NET, verifier.robustness(ball, 1), timeout=5).verdict == "unsat"
    for norm in (1, 2):
        with pytest.raises(UserError, match="eps"):
            verifier.Ball([1.0, 2.0], [0.5, 0.5], norm)


GOOD: list[tuple[str, dict[str, Any]]] = [
    ("Ball", {"center": torch.zeros(2, requires_grad=True), "eps": 1, "norm": np.int64(2), "lo": torch.tensor(0)}),
    ("Ball", {"center": (0, 1), "eps": np.uint8(1), "hi": [1, INF]}),
    ("Box", {"lower": (0, Fraction(1, 2)), "upper": torch.ones(2, dtype=torch.bfloat16)}),
    ("bound", {"rows": torch.ones(3)}),
    ("bound", {"rows": [[1, 2, 3]], "dtype": np.str_("float32")}),
    ("verify", {"timeout": np.int32(5), "seed": np.array(1), "accept_real": np.bool_(True)}),
    ("verify", {"timeout": torch.tensor(5)}),
    ("verify", {"timeout": None}),
    ("lipschitz", {"norm": (np.float32(INF), 1), "outputs": np.array(0), "tolerance": np.float32(0.1)}),
    ("lipschitz", {"norm": np.array([1, INF]), "outputs": torch.tensor([0, -1]), "timeout": np.float64(1)}),
    ("lipschitz", {"outputs": -1, "timeout": None}),
    ("lipschitz", {"margins": np.int8(-1)}),
    ("jacobian", {"outputs": [0, -1], "within": None}),
    ("monotone", {"input": torch.tensor(1), "output": np.int64(-1)}),
    ("monotone", {"input": np.uint8(1), "output": [1, 0, 0]}),
    ("tightness", {"x": torch.zeros(4, 2), "eps": np.float32(1), "margins": [0, 1, 2, 0], "lo": np.float32(-1)}),
    ("certify", {"x": X.tolist(), "y": Y.tolist(), "eps": np.float32(0.01), "jobs": np.int64(1)}),
    ("certify", {"eps": np.array(0.01), "indices": np.arange(2)}),
    ("certify", {"x": torch.zeros(4, 2), "y": torch.tensor(Y), "eps": 0, "lo": -1, "hi": torch.tensor(1)}),
    ("robustness", {"label": np.int64(1)}),
    ("robust", {"x": torch.zeros(2), "eps": np.float16(0.25), "label": torch.tensor(1)}),
    ("monotonicity", {"input": np.int64(1), "tolerance": np.float32(0)}),
    ("output_property", {"disjuncts": ((((1, 0, 0), np.float32(1)),),)}),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments"), GOOD)
def test_taken(function: str, arguments: dict[str, Any]) -> None:
    """Numbers of numpy and torch, arrays without axes, lists and tuples serve as well as Python's own."""
    assert CALLS[function](**arguments) is not None


def test_paths_of_both_kinds(tmp_path: Path) -> None:
    """A text or a `Path`."""
    (tmp_path / "net.onnx").write_bytes(NET)
    for path in (tmp_path / "net.onnx", str(tmp_path / "net.onnx")):
        assert verifier.bound(path, _box())[0].shape == (3,)
