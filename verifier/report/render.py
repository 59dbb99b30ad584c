"""From templates to one file: styles, scripts and data inside, whatever these hold."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import Any

from verifier.values.extras import need


def render(name: str, data: Any, **values: Any) -> str:
    """The page of a template.

    What names and reasons hold is shown as text, never as markup; `data` is JSON for the page's script.

    Args:
        name: of `templates/NAME.html`, which has a script `NAME.js`.
        data: fit for JSON but for numbers that are not finite, which become null.
        values: what the template uses.
    """
    need("a page", "report")
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("verifier.report", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    folder = files("verifier.report") / "templates"
    style, base, script = ((folder / f).read_text(encoding="utf-8") for f in ("frame.css", "frame.js", f"{name}.js"))
    return environment.get_template(f"{name}.html").render(
        values, style=style, script=base + script, data=embedded(data)
    )


def embedded(value: Any) -> str:
    """JSON that is safe inside a `script` element."""
    text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def digits(value: float) -> float | None:
    """Four digits; None for what is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """With None for what is no number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list) else value
