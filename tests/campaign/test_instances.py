"""Lists of instances, in every layout of the competition."""

from __future__ import annotations

from pathlib import Path

import pytest

from verifier.campaign.instances import read
from verifier.values.errors import UserError


def place(folder: Path, *names: str, text: str = "onnx/a.onnx,vnnlib/p.vnnlib,60\n") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instances.csv").write_text(text)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def test_a_folder_of_version_1(tmp_path: Path) -> None:
    place(tmp_path / "acasxu", "onnx/a.onnx.gz", "vnnlib/p.vnnlib")
    for source in (tmp_path / "acasxu", tmp_path / "acasxu" / "instances.csv"):
        (i,) = read(source)
        assert (i.category, i.onnx, i.vnnlib, i.timeout) == ("acasxu", "onnx/a.onnx", "vnnlib/p.vnnlib", 60.0)
        assert i.model == str(tmp_path / "acasxu/onnx/a.onnx.gz") and i.spec == str(tmp_path / "acasxu/vnnlib/p.vnnlib")
        assert i.expected == "" and i.files == [i.model, i.spec]


def test_a_folder_of_benchmarks_in_both_versions(tmp_path: Path) -> None:
    place(tmp_path / "b" / "2.0", "onnx/a.onnx", "vnnlib/p.vnnlib.gz")
    place(tmp_path / "c" / "1.0", "onnx/a.onnx", "vnnlib/p.vnnlib.gz")
    place(tmp_path / "c" / "2.0", "onnx/a.onnx", "vnnlib/p.vnnlib.gz")
    place(tmp_path / "a", "onnx/a.onnx", "vnnlib/p.vnnlib.gz")
    (tmp_path / "notes").mkdir()
    found = read(tmp_path)
    assert [(i.category, i.onnx) for i in found] == [
        ("a", "a/onnx/a.onnx"), ("b", "b/2.0/onnx/a.onnx"), ("c", "c/1.0/onnx/a.onnx")
    ]  # fmt: skip
    assert all(Path(path).is_file() for i in found for path in i.files)
    assert [i.category for i in read(tmp_path / "c" / "2.0")] == ["c"]


def test_a_query_over_several_networks(tmp_path: Path) -> None:
    field = "[('f','onnx/a.onnx'),('g','onnx/b.onnx')]"
    place(tmp_path / "m", "onnx/a.onnx", "onnx/b.onnx", text=f'"{field}",vnnlib/p.vnnlib,100\n')
    (i,) = read(tmp_path / "m")
    assert i.onnx == field
    assert i.model == {"f": str(tmp_path / "m/onnx/a.onnx"), "g": str(tmp_path / "m/onnx/b.onnx")}
    assert len(i.files) == 3 and hash(i.key)


def test_columns_by_name_and_absolute_paths(tmp_path: Path) -> None:
    text = (
        f"expected,timeout_s,benchmark,vnnlib,onnx,more\nunsat,5,fam,p.vnnlib,{tmp_path}/a.onnx,x\nunsat?,6,f,q,b,y\n"
    )
    place(tmp_path, "a.onnx", "p.vnnlib", text=text)
    first, second = read(tmp_path)
    assert (first.category, first.onnx, first.expected) == ("fam", f"{tmp_path}/a.onnx", "unsat")
    assert first.model == str(tmp_path / "a.onnx") and second.expected == ""


def test_files_compressed_unpacked_in_the_folder_above_and_nowhere(tmp_path: Path) -> None:
    place(tmp_path / "s", "p.vnnlib", text="models/a.onnx, p.vnnlib.gz, 1\nnone.onnx,p.vnnlib,1\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.onnx").touch()
    first, second = read(tmp_path / "s")
    assert first.files == [str(tmp_path / "models/a.onnx"), str(tmp_path / "s/p.vnnlib")]
    assert second.model == str(tmp_path / "s/none.onnx")


def test_repeated_lines_once_capped_and_chosen(tmp_path: Path) -> None:
    place(tmp_path / "b", text="a.onnx,p.vnnlib,60\n\na.onnx,p.vnnlib,90\nb.onnx,q_1.vnnlib,5\n")
    assert [i.timeout for i in read(tmp_path / "b", cap=30.0)] == [30.0, 5.0]
    assert [i.onnx for i in read(tmp_path / "b", only="q_?.vnnlib")] == ["b.onnx"]
    assert [i.onnx for i in read(tmp_path / "b", only="nothing,a.on", cap=1.0)] == ["a.onnx"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.onnx,p.vnnlib\n", ":1: cannot be read as onnx,vnnlib,timeout"),
        ("a.onnx,p.vnnlib,60\na.onnx,,60\n", ":2: cannot be read"),
        ("a.onnx,p.vnnlib,-1\n", ":1: cannot be read"),
        ("a.onnx,p.vnnlib,inf\n", ":1: cannot be read"),
        ("\"[('f')]\",p.vnnlib,1\n", ":1: [('f')]: neither a file"),
        ("", "no instance"),
    ],
)
def test_what_cannot_be_read(text: str, words: str, tmp_path: Path) -> None:
    place(tmp_path, text=text)
    with pytest.raises(UserError) as e:
        read(tmp_path)
    assert words in str(e.value) and str(tmp_path) in str(e.value) and "\n" not in str(e.value)


def test_nothing_there(tmp_path: Path) -> None:
    for source in (tmp_path / "gone", tmp_path):
        with pytest.raises(UserError, match="give a folder"):
            read(source)
    place(tmp_path)
    with pytest.raises(UserError, match="no instance matches xyz"):
        read(tmp_path, only="xyz")
