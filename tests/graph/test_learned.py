"""Models of scikit-learn as `skl2onnx` writes them: probabilities are asked about, maps and labels are left out."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import verifier
from tests.laws.onnx_models import Case
from verifier.run.model import remarks
from verifier.values.errors import ModelError, PropertyError

FEATURES = 3


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, classes and numbers to learn."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, FEATURES)).astype(np.float32)
    return x, (x[:, 0] > x[:, 1] * x[:, 2]).astype(int) + (x[:, 2] > 1), x[:, 0] * 2 + x[:, 1] ** 2


def _learners() -> dict[str, tuple[Any, str]]:
    """What is fitted, and to what: classes, two of them, or numbers."""
    from sklearn import decomposition, ensemble, feature_selection, impute, linear_model, naive_bayes, svm, tree
    from sklearn import preprocessing as pre
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    def mlp(kind: Any) -> Any:
        return kind(hidden_layer_sizes=(4,), max_iter=50, random_state=0)

    return {
        "mlp of classes": ((pre.StandardScaler(), mlp(MLPClassifier)), "classes"),
        "mlp of two classes": ((pre.StandardScaler(), mlp(MLPClassifier)), "two"),
        "mlp of numbers": ((pre.MinMaxScaler(), mlp(MLPRegressor)), "numbers"),
        "logistic": ((pre.RobustScaler(), linear_model.LogisticRegression()), "classes"),
        "logistic of two": ((pre.MaxAbsScaler(), linear_model.LogisticRegression()), "two"),
        "linear": ((pre.Normalizer(), linear_model.LinearRegression()), "numbers"),
        "linear, l1": ((pre.Normalizer("l1"), linear_model.LinearRegression()), "numbers"),
        "ridge": ((linear_model.RidgeClassifier(),), "classes"),
        "linear vectors": ((svm.LinearSVC(random_state=0),), "classes"),
        "vectors": ((svm.SVR(),), "numbers"),
        "vectors, cubic": ((svm.SVR(kernel="poly"),), "numbers"),
        "vectors of classes": ((svm.SVC(),), "classes"),
        "vectors of two": ((svm.SVC(kernel="linear"),), "two"),
        "tree": ((tree.DecisionTreeRegressor(max_depth=3),), "numbers"),
        "tree of classes": ((tree.DecisionTreeClassifier(max_depth=3),), "classes"),
        "forest": ((ensemble.RandomForestClassifier(3, max_depth=2, random_state=0),), "two"),
        "boosted": ((ensemble.GradientBoostingRegressor(n_estimators=3, max_depth=2),), "numbers"),
        "boosted classes": ((ensemble.GradientBoostingClassifier(n_estimators=3, max_depth=2),), "classes"),
        "boosted two": ((ensemble.GradientBoostingClassifier(n_estimators=3, max_depth=2),), "two"),
        "imputed": ((impute.SimpleImputer(), pre.Binarizer(), linear_model.LinearRegression()), "numbers"),
        "components": ((decomposition.PCA(2), pre.PolynomialFeatures(2), linear_model.LinearRegression()), "numbers"),
        "chosen": ((feature_selection.SelectKBest(k=2), linear_model.LinearRegression()), "numbers"),
        "bayes": ((naive_bayes.GaussianNB(),), "classes"),
    }


@functools.cache
def exported(name: str, maps: bool = True) -> bytes:
    """A fitted pipeline in ONNX."""
    from skl2onnx import to_onnx
    from sklearn.pipeline import make_pipeline

    steps, what = _learners()[name]
    x, classes, numbers = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fifty steps are few
        model = make_pipeline(*steps) if len(steps) > 1 else steps[0]
        model.fit(x, {"classes": classes, "two": classes > 0, "numbers": numbers}[what])
    options = None if maps or what == "numbers" else {id(steps[-1]): {"zipmap": False}}
    found: bytes = to_onnx(model, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}, options=options).SerializeToString()
    return found


@pytest.mark.parametrize("name", list(_learners()))
def test_points_lie_within_bounds(name: str) -> None:
    net = verifier.load(exported(name))
    rng = np.random.default_rng(1)
    for size in (0.05, 1.0):
        middle = rng.standard_normal(FEATURES)
        lower, upper = verifier.bound(net, verifier.Box(middle - size, middle + size))  # compares with onnxruntime, too
        y = net.run(rng.uniform(middle - size, middle + size, (200, FEATURES)).astype(np.float32))
        assert (y >= lower - 1e-5).all() and (y <= upper + 1e-5).all()
        assert np.isfinite(lower).all() or size == 1.0  # where a norm may be zero


@pytest.mark.parametrize("maps", [True, False])
def test_scaled_mlp_is_verified(maps: bool, tmp_path: Path) -> None:
    path = tmp_path / "mlp.onnx"
    path.write_bytes(exported("mlp of classes", maps))
    net = verifier.load(path)
    assert [len(s) and s[-1] for s in net.output_shapes] == [3]  # three probabilities, and no label
    middle = data()[0][0].astype(np.float64)
    found = net.run(middle[None])[0]
    declared = "".join(f"(declare-const X_{i} Real)" for i in range(3))
    declared += "".join(f"(declare-const Y_{i} Real)" for i in range(3))
    box = "".join(f"(assert (<= X_{i} {v + 0.01}))(assert (>= X_{i} {v - 0.01}))" for i, v in enumerate(middle))
    spec = tmp_path / "p.vnnlib"
    spec.write_text(f"{declared}{box}(assert (>= Y_1 {found[1] + 0.2}))")
    assert verifier.verify(path, spec, timeout=20).verdict == "unsat"
    spec.write_text(f"{declared}{box}(assert (>= Y_1 {found[1] + 1e-4}))")
    result = verifier.verify(path, spec, timeout=20)
    assert result.verdict == "sat" and result.witness is not None
    assert any("label" in line for line in result.stats["remarks"])
    assert result.witness.y[1] == _probabilities(path, result.witness.flat)[1]


def _probabilities(path: Path, x: np.ndarray) -> list[float]:
    """As onnxruntime gives them, for the file as it is."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    _, given = session.run(None, {"X": x.astype(np.float32)[None]})
    return list(given[0].values()) if isinstance(given, list) else list(given[0])


def test_a_property_over_the_label_is_told_that_there_is_none(tmp_path: Path) -> None:
    net = verifier.load(exported("mlp of classes"))
    assert any("map" in line for line in remarks(net)) and any("'output_label'" in line for line in remarks(net))
    spec = tmp_path / "p.vnnlib"
    variables = [*(f"X_{i}" for i in range(3)), *(f"Y_{i}" for i in range(4))]
    box = "".join(f"(assert (<= X_{i} 1))(assert (>= X_{i} 0))" for i in range(3))
    spec.write_text("".join(f"(declare-const {v} Real)" for v in variables) + box + "(assert (>= Y_0 1))")
    with pytest.raises(PropertyError, match="4 output variables.*'output_label' is a label, which is left out"):
        verifier.verify(net, spec)


def test_a_label_alone_is_an_output() -> None:
    """ArgMax and the list of classes, without scores among the outputs: positions that are whole numbers."""
    model = onnx.load_model_from_string(exported("mlp of classes", False))
    del model.graph.output[1]
    net = verifier.load(model)
    x = data()[0][:20].astype(np.float64)
    assert {0.0, 1.0} <= set(net.run(x).reshape(-1))
    lower, upper = verifier.bound(net, verifier.Box(x[0] - 1e-4, x[0] + 1e-4))
    assert lower[0] - 1e-6 <= net.run(x[:1])[0, 0] <= upper[0] + 1e-6


def case(op: str, shape: list[int], outputs: int = 1, **attributes: Any) -> bytes:
    m = Case(list(shape))
    names = m.node(op, "x", outputs=outputs, domain="ai.onnx.ml", **attributes)
    m.outputs = names[:1]
    return m.bytes()


LINE = {"coefficients": [1.0, 2.0], "intercepts": [0.0, 0.0], "classlabels_ints": [0, 1]}
VECTORS = {"support_vectors": [1.0, 2.0], "vectors_per_class": [1, 1], "coefficients": [1.0, -1.0], "rho": [0.1],
           "classlabels_ints": [0, 1], "kernel_params": [0.5, 0.0, 3.0]}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (case("Normalizer", [1, 2], norm="MAX"), "use L1 or L2"),
        (case("LinearClassifier", [1, 1], 2, **LINE), "label of LinearClassifier.*second output"),
        (case("LinearRegressor", [1, 2], coefficients=[1.0, 2.0, 3.0]), "3 coefficients"),
        (case("LinearRegressor", [1, 1], coefficients=[1.0], post_transform="PROBIT"), "PROBIT"),
        (case("Scaler", [1, 1], offset=[float("nan")], scale=[1.0]), "NaN"),
    ],
)
def test_refused_by_name(model: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        verifier.load(model)


def test_probabilities_that_are_iterated_for_are_refused() -> None:
    m = Case([1, 1])
    _, scores = m.node("SVMClassifier", "x", outputs=2, domain="ai.onnx.ml", prob_a=[1.0], prob_b=[0.0], **VECTORS)
    m.outputs = [scores]
    with pytest.raises(ModelError, match="probability=False"):
        verifier.load(m.bytes())


@pytest.mark.parametrize("op", ["Imputer", "Binarizer"])
def test_what_may_be_no_number_is_refused_where_it_becomes_one(op: str) -> None:
    m = Case([1, 1])
    (y,) = m.node("Log", "x")
    given = {"imputed_value_floats": [0.0], "replaced_value_float": float("nan")} if op == "Imputer" else {}
    m.outputs = m.node(op, y, domain="ai.onnx.ml", **given)
    with pytest.raises(ModelError, match="may be no number"):
        verifier.load(m.bytes())


def test_a_normalised_zero_is_within_bounds() -> None:
    """onnxruntime gives zero there, where the quotient is none."""
    m = Case([1, 2])
    m.outputs = m.node("Normalizer", "x", domain="ai.onnx.ml", norm="L1")
    net = verifier.load(m.bytes())
    assert (net.run(np.zeros((1, 2))) == 0).all()
    lower, upper = verifier.bound(net, verifier.Box([0.0, 0.0], [1.0, 1.0]), rows=[[1.0, 1.0], [1.0, -1.0]])
    assert (lower <= 0).all() and (upper >= 0).all()


def test_no_operators_but_those() -> None:
    """A file that has no use for the standard operators need not say which set of them it means."""
    node = helper.make_node("Normalizer", ["x"], ["y"], domain="ai.onnx.ml", norm="L2")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in "xy"]
    graph = helper.make_graph([node], "alone", ends[:1], ends[1:])
    opset = [helper.make_opsetid("ai.onnx.ml", 1)]
    net = verifier.load(helper.make_model(graph, opset_imports=opset, ir_version=8))
    lower, upper = verifier.bound(net, verifier.Box([3.0, 4.0], [3.0, 4.0]))
    assert lower == pytest.approx([0.6, 0.8]) and upper == pytest.approx([0.6, 0.8])


def test_a_tree_that_leads_back_to_itself_is_refused() -> None:
    model = case(
        "TreeEnsembleRegressor", [1, 1], n_targets=1, nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0], nodes_modes=["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"], nodes_values=[0.0, 0.0, 0.0],
        nodes_truenodeids=[1, 1, 0], nodes_falsenodeids=[2, 2, 0], target_treeids=[0], target_nodeids=[2],
        target_ids=[0], target_weights=[1.0],
    )  # fmt: skip
    with pytest.raises(ModelError, match="leads back"):
        verifier.load(model)


def test_other_outputs_of_whole_numbers_stay() -> None:
    """Only classifiers of this domain lose their label: elsewhere it may be what is asked about."""
    m = Case([1, 3])
    (best,) = m.node("ArgMax", "x", axis=1)
    (y,) = m.node("Neg", "x")
    m.outputs = [best, y]
    model = onnx.load_model_from_string(m.bytes())
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(best, TensorProto.INT64, [1, 1]))
    assert len(verifier.load(model).output_shapes) == 2


def test_a_label_that_is_asked_for_by_name_stays() -> None:
    data = exported("mlp of classes", False)
    assert verifier.load(data, outputs="label").output_shapes == ((1,),)
    assert verifier.load(data).output_shapes == ((1, 3),)
    tree = exported("tree of classes")
    assert verifier.load(tree, outputs="probabilities").output_shapes == ((1, 3),)
    with pytest.raises(ModelError, match="label of TreeEnsembleClassifier depends on the input; ask about its scores"):
        verifier.load(tree, outputs="output_label")
