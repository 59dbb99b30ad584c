"""Opening ONNX models: a file, compressed or not, bytes, or a ModelProto, to one ModelProto with all its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verifier.graph.tidy import one_line
from verifier.values.errors import ModelError, UserError
from verifier.values.packed import is_packed, unpacked


def in_memory(model: Any) -> bool:
    """Whether this is an ONNX model that is no file: its bytes, or an `onnx.ModelProto`."""
    return isinstance(model, bytes) or hasattr(model, "SerializeToString")


def opened(source: Any) -> tuple[Path | str, Any, bytes | str, bytes]:
    """What `load` takes, not yet walked: its name, the ModelProto with all data, what onnxruntime reads it from, bytes.

    The bytes are those of a model that is no file.

    Raises:
        ModelError: there is no model there, or its data are missing.
    """
    if in_memory(source):
        return _from_memory(source)
    path = Path(source)
    data, packed = _read(path)
    proto = _parse(path, data)
    external = _load_external(path, proto)
    if external and packed:
        raise ModelError(f"{path}: a compressed model with external data; unpack it")
    return path, proto, str(path) if external else data, b""


def _from_memory(source: Any) -> tuple[str, Any, bytes, bytes]:
    """As `opened`, of bytes or a ModelProto."""
    name = "ONNX model in memory"
    try:
        origin = source if isinstance(source, bytes) else bytes(source.SerializeToString())
    except Exception as e:  # protobuf's error type depends on its implementation
        raise ModelError(f"{name}: cannot be turned into bytes ({one_line(e)}); write it to a file") from None
    if not origin:
        raise ModelError(f"{name}: it holds nothing")
    origin = _whole(name, origin)[0]
    proto = _parse(name, origin)
    if called := one_line(ValueError(proto.graph.name))[:60]:
        name = f"ONNX model '{called}'"
    if away := [t.name for t in proto.graph.initializer if t.data_location == t.EXTERNAL]:
        raise ModelError(f"{name}: data of tensor '{away[0]}' are in another file; load them, or give the model's file")
    return name, proto, origin, origin


def proto_of(source: Any) -> Any:
    """The ModelProto of what `load` takes, with all its data."""
    if in_memory(source):
        data = source if isinstance(source, bytes) else bytes(source.SerializeToString())
        return _parse("ONNX model in memory", _whole("ONNX model in memory", data)[0])
    path = Path(source)
    proto = _parse(path, _read(path)[0])
    _load_external(path, proto)
    return proto


def parse(path: Path) -> Any:
    """The ModelProto in a file, without data that it keeps elsewhere.

    Raises:
        ModelError: there is none.
    """
    return _parse(path, _read(path)[0])


def _read(path: Path) -> tuple[bytes, bool]:
    """Contents, unpacked, and whether they were packed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise ModelError(f"{path}: is a folder, not an ONNX file") from None
    except OSError as e:
        raise ModelError(f"{path}: cannot be read: {e.strerror}") from None
    return _whole(path, data)


def _whole(path: Path | str, data: bytes) -> tuple[bytes, bool]:
    """Contents, unpacked, and whether they were packed."""
    packed = is_packed(data)
    if packed:
        try:
            data = unpacked(data)
        except UserError as e:
            raise ModelError(f"{path}: {e}") from None
    if not data:
        raise ModelError(f"{path}: the file is empty")
    if data.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: a git-lfs pointer, not the model itself; fetch it with `git lfs pull`")
    return data, packed


def _parse(path: Path | str, data: bytes) -> Any:
    import onnx

    try:
        proto = onnx.load_model_from_string(data)
    except MemoryError:
        raise
    except Exception:  # protobuf's error type depends on its implementation
        raise ModelError(f"{path}: not an ONNX model, or a truncated one") from None
    if not proto.HasField("graph") or not (proto.graph.output or proto.graph.node):
        raise ModelError(f"{path}: not an ONNX model, or a truncated one (no graph)")
    if not proto.graph.output:
        raise ModelError(f"{path}: the model has no outputs; export it with those that are asked about")
    if proto.functions:
        from onnx import inliner

        try:
            proto = inliner.inline_local_functions(proto)
        except MemoryError:
            raise
        except Exception as e:  # whatever it makes of a damaged model
            raise ModelError(f"{path}: its functions cannot be inlined: {one_line(e)}") from None
    return proto


def _load_external(path: Path, proto: Any) -> bool:
    """Read tensors stored in other files, which must lie in the model's folder.  Whether there were any."""
    external = [t for t in proto.graph.initializer if t.data_location == t.EXTERNAL]
    if not external:
        return False
    from onnx.external_data_helper import load_external_data_for_tensor

    folder = path.parent.resolve()
    for tensor in external:
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        if not location or not (folder / location).resolve().is_relative_to(folder):
            raise ModelError(f"{path}: tensor '{tensor.name}' is stored outside the model's folder ('{location}')")
        if not (folder / location).is_file():
            raise ModelError(
                f"{path}: data of tensor '{tensor.name}' are in '{location}', which is missing; put it beside the model"
            )
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except MemoryError:
            raise
        except Exception as e:  # its own checker raises types of its own
            said = f"data of tensor '{tensor.name}' in '{location}': {one_line(e)}"
            raise ModelError(f"{path}: {said}; fetch that file again") from None
    return True
