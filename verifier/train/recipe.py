"""Everything that decides how a network is trained, as data; read from a TOML file, checked key by key."""

from __future__ import annotations

import tomllib
import types
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from verifier.train.method import Method
from verifier.train.methods import METHODS
from verifier.train.methods.ibp import IBP
from verifier.train.schedule import Blend, Ramp, Steps
from verifier.values.errors import UserError, why


@dataclass(frozen=True)
class DataOptions:
    """Which data (see `train.data.read`).

    Attributes:
        source: `digits`, a folder, an `.npz` file, `torchvision:NAME`; relative to the recipe's file.
        limit: so many of the training part; all where 0.
        lower, upper: the range of the inputs, which boxes are cut to.
        held_out: the share of the training part that is kept for choosing the best epoch; none where 0.
        crop: pixels by which images are moved at random; none where 0.
        flip: whether images are mirrored at random.
    """

    source: str = "digits"
    limit: int = 0
    lower: float = 0.0
    upper: float = 1.0
    held_out: float = 0.0
    crop: int = 0
    flip: bool = False


@dataclass(frozen=True)
class ModelOptions:
    """Which network (see `train.architectures`).

    Attributes:
        architecture: `cnn3`, `cnn5`, `cnn7` or `mlp`.
        width, bn, depth: of it; its own where None.
        normalize: whether inputs are normalised by the training part's mean and deviation, inside the network.
        init: `ibp` (Shi et al. 2021) or `kaiming`.
    """

    architecture: str = "cnn3"
    width: int | None = None
    bn: bool | None = None
    depth: int | None = None
    normalize: bool = True
    init: str = "ibp"


@dataclass(frozen=True)
class ScheduleOptions:
    """What changes with the epochs.

    Attributes:
        eps: the radius that is to be certified.
        train_eps: the radius to train with; eps where None.
        epochs: how many.
        ramp_start, ramp_end: the epochs between which the radius grows.
        shape: of the ramp: `smooth`, `linear` or `constant`.
        lr: learning rate (Adam), multiplied by `factor` at each of the `milestones`.
    """

    eps: float = 0.1
    train_eps: float | None = None
    epochs: int = 70
    ramp_start: float = 0.0
    ramp_end: float = 20.0
    shape: str = "smooth"
    lr: float = 5e-4
    milestones: tuple[int, ...] = (50, 60)
    factor: float = 0.2


@dataclass(frozen=True)
class TrainOptions:
    """How the losses become steps.

    Attributes:
        batch: samples a step.
        weight: the robust loss's share; the clean loss has the rest.
        weight_start: the share before the ramp, which moves evenly to `weight` during it (as in Gowal et al. 2018,
            section 4); `weight` from the first step where None.
        l1: factor of the sum of the weights' magnitudes.
        stabilize: factor of Shi et al.'s regularisers during the ramp.
        clip: largest ℓ2 norm of a gradient; none where 0.
        average: from which epoch on weights are averaged (stochastic weight averaging); never where 0.  The held-out
            part, where there is one, then measures the average.
        patience: epochs without a better certified accuracy of the held-out part before training stops; never where 0.
        seed: of everything random.
    """

    batch: int = 256
    weight: float = 1.0
    weight_start: float | None = None
    l1: float = 0.0
    stabilize: float = 0.5
    clip: float = 10.0
    average: int = 0
    patience: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.  `read` makes one from a file; every part has defaults."""

    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    method: Method = field(default_factory=IBP)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    train: TrainOptions = field(default_factory=TrainOptions)

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            UserError: names the key.
        """
        for where, kind in _TABLES.items():
            _right(getattr(self, where), kind, where)
        _right(self.method, Method, "method")
        d, m, s, t = self.data, self.model, self.schedule, self.train
        for what, ok in {
            "data.limit must not be negative": d.limit >= 0,
            "data.lower must be below data.upper": d.lower < d.upper,
            "data.held_out must be at least 0 and less than 1": 0 <= d.held_out < 1,
            "data.crop must not be negative": d.crop >= 0,
            "model.width must be positive": m.width is None or m.width > 0,
            "model.depth must be positive": m.depth is None or m.depth > 0,
            "model.init must be ibp or kaiming": m.init in ("ibp", "kaiming"),
            "schedule.eps must not be negative": s.eps >= 0,
            "schedule.train_eps must not be negative": s.train_eps is None or s.train_eps >= 0,
            "schedule.epochs must be positive": s.epochs > 0,
            f"schedule.ramp_end {s.ramp_end:g} is after the last epoch, {s.epochs}: eps would not come to its end": (
                s.ramp_end <= s.epochs or s.shape == "constant" or s.eps == 0
            ),
            "schedule.lr must be positive and at most 1e30": 0 < s.lr <= 1e30,
            "schedule.milestones must not be negative": all(m >= 0 for m in s.milestones),
            "schedule.factor must be positive": s.factor > 0,
            "train.batch must be positive": t.batch > 0,
            "train.weight must be in [0, 1]": 0 <= t.weight <= 1,
            "train.weight_start must be in [0, 1]": t.weight_start is None or 0 <= t.weight_start <= 1,
            "train.l1 must not be negative": t.l1 >= 0,
            "train.stabilize must not be negative": t.stabilize >= 0,
            "train.clip must not be negative": t.clip >= 0,
            "train.average must not be negative": t.average >= 0,
            "train.patience must not be negative": t.patience >= 0,
            "train.patience needs data.held_out": t.patience == 0 or d.held_out > 0,
            "train.seed must be at least 0 and below 2^63": 0 <= t.seed < 2**63,
        }.items():
            if not ok:
                raise UserError(f"{what}; correct it")
        self.ramp(), self.rate()

    def ramp(self) -> Ramp:
        """The radius by epoch."""
        s = self.schedule
        return Ramp(s.eps if s.train_eps is None else s.train_eps, s.ramp_start, s.ramp_end, s.shape)

    def share(self) -> Blend:
        """The robust loss's share by epoch."""
        t, s = self.train, self.schedule
        return Blend(t.weight if t.weight_start is None else t.weight_start, t.weight, s.ramp_start, s.ramp_end)

    def rate(self) -> Steps:
        """The learning rate by epoch."""
        return Steps(self.schedule.lr, self.schedule.milestones, self.schedule.factor)


def read(path: Path) -> Recipe:
    """The recipe in a TOML file with the tables `[data]`, `[model]`, `[method]`, `[schedule]` and `[train]`.

    Raises:
        UserError: the file cannot be read; an unknown table or key; a value of the wrong type or out of range.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: not TOML: {why(e)}") from None
    try:
        recipe = parse(content)
    except UserError as e:
        raise UserError(f"{path}: {e}") from None
    source = recipe.data.source
    beside = path.parent / source
    if source != "digits" and not source.startswith("torchvision:") and beside.exists():
        from dataclasses import replace

        recipe = replace(recipe, data=replace(recipe.data, source=str(beside)))
    return recipe


_TABLES: dict[str, type[Any]] = {
    "data": DataOptions, "model": ModelOptions, "schedule": ScheduleOptions, "train": TrainOptions
}  # fmt: skip


def parse(content: dict[str, Any]) -> Recipe:
    """The recipe of nested tables.

    Raises:
        UserError: as of `read`, without the file's name.
    """
    for key, table in content.items():
        if key not in _TABLES and key != "method":
            raise UserError(f"[{key}]: no such table; there are {', '.join(['method', *_TABLES])}")
        if not isinstance(table, dict):
            raise UserError(f"{key}: must be a table [{key}]")
    parts: dict[str, Any] = {key: _filled(cls, content.get(key, {}), key) for key, cls in _TABLES.items()}
    chosen = dict(content.get("method", {}))
    name = chosen.pop("name", "ibp")
    if not isinstance(name, str) or name not in METHODS:
        raise UserError(f"method.name: {name!r} is none of {', '.join(METHODS)}")
    if "data_lower" in get_type_hints(METHODS[name]):  # what is attacked stays in the data's range
        chosen = {"data_lower": parts["data"].lower, "data_upper": parts["data"].upper} | chosen
    return Recipe(**parts, method=_filled(METHODS[name], chosen, "method"))


def _filled(cls: type[Any], table: dict[str, Any], where: str) -> Any:
    """An object of a dataclass with a table's values; a key is a field's name without an underscore at its end."""
    known: dict[str, Field[Any]] = {f.name.rstrip("_"): f for f in fields(cls)}
    hints = get_type_hints(cls)
    values = {}
    for key, value in table.items():
        if key not in known:
            raise UserError(f"{where}.{key}: no such key; there are {', '.join(known) or 'none'}")
        values[known[key].name] = _typed(value, hints[known[key].name], f"{where}.{key}")
    missing = [k for k, f in known.items() if f.name not in values and _required(f)]
    if missing:
        raise UserError(f"{where}.{missing[0]} is missing")
    try:
        return cls(**values)
    except UserError as e:
        raise UserError(f"[{where}]: {e}") from None


def _right(part: Any, kind: type[Any], where: str) -> None:
    """See that a part of a recipe that was made in Python is of its kind, and each value as a file would have it."""
    if not isinstance(part, kind):
        raise UserError(f"{where}: a {type(part).__name__} is no {kind.__name__}; give one")
    hints = get_type_hints(type(part))
    for f in fields(part):
        value, may = getattr(part, f.name), get_args(hints[f.name])
        if value is not None or type(None) not in may:
            plain = [_plain(v) for v in value] if isinstance(value, tuple) else _plain(value)
            _typed(plain, hints[f.name], f"{where}.{f.name.rstrip('_')}")


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python's."""
    return value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value


def _required(f: Field[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _typed(value: Any, hint: Any, where: str) -> Any:
    """A value as its field has it."""
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [a for a in get_args(hint) if a is not type(None)]
        return _typed(value, kinds[0], where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise UserError(f"{where}: {value!r} must be a list")
        return tuple(_typed(v, get_args(hint)[0], where) for v in value)
    if hint is float and type(value) in (int, float):
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise UserError(f"{where}: {value!r} is not a finite number")
        return number
    if type(value) is not hint:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise UserError(f"{where}: {value!r} must be {names.get(hint, hint)}")
    return value
