"""Files that anyone may have written are read, or refused in one sentence."""

import ast
import io
import json
import os
import socket
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from rap_keras.errors import InputError
from rap_keras.support import reading
from rap_keras.support.files import write_arrays
from rap_keras.support.reading import (
    opened,
    read_arrays,
    read_headed,
    read_json,
    read_text,
    understood,
)


def refused(message):
    return pytest.raises(InputError, match=message)


@pytest.fixture
def kinds(tmp_path):
    """Names of what is no file."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)  # names of sockets are short
        server.bind("socket")
        os.chdir(here)
    (tmp_path / "loop").symlink_to("loop")
    return {
        tmp_path / "pipe": "to be a file, got a named pipe",
        tmp_path / "socket": "to be a file, got a socket",
        tmp_path: "to be a file, got a folder",
        "/dev/zero": "to be a file, got a device",
        tmp_path / "none": "There is no table .*none",
        tmp_path / "pipe" / "under": "There is no table .*under",
        "a" * 5000: "cannot be read .File name too long",
        tmp_path / ("a" * 300): "cannot be read .File name too long",
        "zero\0byte": "cannot be read .embedded null byte",
        "half\ud800": "cannot be read",
        tmp_path / "loop": "cannot be read .Too many levels of symbolic links",
        "": "There is no table ''",
    }


def test_only_files_are_opened(kinds):
    for path, message in kinds.items():
        with refused(message) as error, opened(path, "table"):
            pass
        assert "\n" not in str(error.value)
        assert str(error.value).endswith(".")


def test_a_file_without_permission(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("a")
    with opened(path) as file:
        assert file.read() == b"a"

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with refused("The file .*a' cannot be read .Permission denied"), opened(path):
        pass


def test_text_is_read_as_utf_8_with_or_without_a_mark(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffä,b\r\n".encode())
    assert read_text(path) == "ä,b\r\n"
    path.write_bytes(b"\xff\xfe\x00")
    with refused("Expected the table .* to be UTF-8 text, got a file that is not .'utf-8' codec"):
        read_text(path, "table")


def test_text_beyond_the_limit_is_not_read(tmp_path):
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(reading.MOST_TEXT + 2**20)  # takes no room on the disk
    tracemalloc.start()
    with refused("to have at most 256 MB, got 257 MB"):
        read_text(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "1" * 5000, '{"a": ' * 100_000], ids=range(5)
)
def test_what_is_no_json_is_told_in_one_sentence(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with refused("Expected the file .* to be JSON, got a file that is not") as error:
        read_json(path)
    assert len(str(error.value)) < 300 + len(str(path))


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RecursionError("deep\nmore"), OverflowError("x" * 999), OSError(5, "I/O")],
)
def test_whatever_is_raised_is_told_in_one_line(error):
    with refused(r"^Expected a, got b \(") as told, understood("Expected a, got b", "do c"):
        raise error
    assert str(told.value).endswith(": do c.")
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 140
    with refused("^As it is$"), understood("Expected a, got b"):
        raise InputError("As it is")


# Arrays


def npy(array=None, header=None, version=(1, 0)):
    """A .npy file; with another header in the place of its own."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.zeros(3) if array is None else array, version)
    data = file.getvalue()
    if header is None:
        return data
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\0" * 24


def header(shape="(3,)", descr="'<f8'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


def test_the_headers_of_these_tests_are_read(tmp_path):
    assert ast.literal_eval(header())["shape"] == (3,)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(header=header()))
        archive.writestr("b.npy", npy(np.arange(6).reshape(2, 3), version=(2, 0)))
    arrays = read_arrays(path, "file of arrays")
    np.testing.assert_array_equal(arrays["a"], np.zeros(3))
    np.testing.assert_array_equal(arrays["b"], [[0, 1, 2], [3, 4, 5]])


BAD = {
    "huge": npy(header=header("(10**15,)".replace("10**15", str(10**15)))),
    "wrapped": npy(header=header(f"({2**32}, {2**32})")),
    "long": npy(header=header(f"({'9' * 5000},)")),
    "negative": npy(header=header("(-3,)")),
    "short": npy(header=header("(2,)")),
    "deep": npy(header="(" * 9000 + ")" * 9000),
    "nested": npy(header=header("(" * 3000 + ")" * 3000)),
    "other": npy(header="[1]"),
    "object": npy(header=header(descr="'|O'")),
    "void": npy(header=header(f"({10**15},)", descr="'|V0'")),
    "empty": b"",
    "text": b"no array",
    "version": b"\x93NUMPY\x09\x00" + bytes(100),
}


@pytest.mark.parametrize("name", BAD)
def test_arrays_that_are_none_are_refused_before_they_take_memory(name, tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fine.npy", npy())
        archive.writestr("a.npy", BAD[name])
    tracemalloc.start()
    with refused("^Expected a file of arrays, got .*a.npz' .") as error:
        read_arrays(path, "file of arrays")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert "\n" not in str(error.value)


def test_arrays_beyond_memory_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(10**7))
    assert path.stat().st_size < 10**5
    monkeypatch.setattr(reading, "physical_memory", lambda: 10**7)
    with refused("its arrays need 0 GB, more than the machine's memory"):
        read_arrays(path, "file of arrays")
    monkeypatch.setattr(reading, "physical_memory", lambda: None)
    assert read_arrays(path, "file of arrays")["a"].shape == (10**7,)


def test_an_archive_that_is_encrypted(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with refused("a.npz' .File .*'a.npy'.* is encrypted"):
        read_arrays(path, "file of arrays")


@pytest.mark.parametrize("content", [{"kind": "other"}, [1], "a", {"kind": "b", "n": "1"}, {}])
def test_an_archive_of_another_kind(content, tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"kind": "b", "n": 1}, {"x": np.ones(2)})
    found, arrays = read_headed(path, "b", {"n": int})
    assert found == {"kind": "b", "n": 1}
    np.testing.assert_array_equal(arrays["x"], [1, 1])
    np.savez(path, header=np.array(json.dumps(content)))
    with refused("Expected a file with b, got .*a.npz', which contains something else"):
        read_headed(path, "b", {"n": int})


@pytest.mark.parametrize("text", ["", "{", "[" * 50_000], ids=range(3))
def test_an_archive_without_a_header(text, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, header=np.array(text))
    with refused("which contains something else"):
        read_headed(path, "b", {})
    np.savez(path, a=np.zeros(1))
    with refused("which contains something else"):
        read_headed(path, "b", {})
