"""What takes the pages' code blocks out sees what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from .blocks import blocks, differs, run, same

PAGE = """# A page

```sh
echo one; echo 1.00001 in 0.3 s
```

```text
one
1.0 in 12 s
```

```python title="a.py"
a = 2
```

Between.

```text
not the output of anything
```

```python
print(a + 1)
```

```text
3
```

```bash
exit 1
```
"""


def test_blocks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    found = blocks(page)
    assert [(b.kind, b.shown is not None, b.line) for b in found] == [
        ("sh", True, 3), ("python", False, 12), ("python", True, 22), ("bash", False, 30),
    ]  # fmt: skip
    assert run(page, tmp_path) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("echo one", "echo two", "shown 'one', printed 'two'"),
        ("echo one", "exit 3; echo one", "page.md:3: exit status 3"),
        ("a = 2", "a = 4", "shown '3', printed '5'"),
        ("a = 2", "a = 2 / 0", "ZeroDivisionError"),
        ("\none\n1.0", "\n1.0", "1.0"),
    ],
)
def test_a_page_that_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace(old, new, 1))
    with pytest.raises(AssertionError, match=message):
        run(page, tmp_path)


def test_what_counts_as_the_same() -> None:
    assert same("took 0.12 s: 3 parts", "took 11.5 s: 3 parts")
    assert same("a  0.12345", "a 0.12346") and not same("0.12", "0.13")
    assert not same("3 parts", "4 parts") and not same("sat", "unsat")
    assert differs("a\n...\nz", "a\nb\nc\nz\n") is None
    assert differs("a\n...\nz", "a\nb\nc\n") is not None
    assert differs("a", "a\nb") == "1 lines shown, 2 printed"
