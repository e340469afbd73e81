import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fewbits.atomic import atomic_file, atomic_folder, write_bytes
from fewbits.errors import FewbitsError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_written_whole(tmp_path):
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_interrupts_the_writing_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def interrupted():
        with atomic_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path, monkeypatch, call):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(FewbitsError, match="No space left") as caught:
        write_bytes(tmp_path / "a", b"new")
    assert "make room" in caught.value.hint
    assert names(tmp_path) == []


def test_a_real_limit_of_the_system_is_met_in_the_middle_of_writing(tmp_path):
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from fewbits.atomic import write_bytes; from fewbits.errors import FewbitsError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(Path(sys.argv[1]), bytes(5000))\n"
        "except FewbitsError as error: print(error.message, error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "File too large" in done.stdout
    assert "limit" in done.stdout
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "hint"),
    [("absent/a", "Create the folder"), (".", "That is a folder"), ("plain/a", "is a file")],
)
def test_a_path_that_cannot_be_written_names_the_remedy(tmp_path, path, hint):
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(FewbitsError, match="cannot be written") as caught:
        write_bytes(tmp_path / path, b"new")
    assert hint in caught.value.hint
    assert names(tmp_path) == ["plain"]


def test_a_device_is_not_replaced():
    with pytest.raises(FewbitsError, match="device"):
        write_bytes(Path(os.devnull), b"new")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_permissions_are_those_of_the_old_file_or_of_any_new_one(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "new", b"x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new").chmod(0o600)
    write_bytes(tmp_path / "new", b"y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_written_whole(tmp_path, there):
    path = tmp_path / "new"
    if there:
        path.mkdir()
    with atomic_folder(path) as folder:
        (folder / "a").write_text("one")
        assert not path.exists() or not names(path)
    assert (path / "a").read_text() == "one"
    assert names(tmp_path) == ["new"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o777 & ~mask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("there", [False, True])
def test_whatever_interrupts_the_writing_leaves_no_folder(tmp_path, error, there):
    path = tmp_path / "new"
    if there:
        path.mkdir()

    def interrupted():
        with atomic_folder(path) as folder:
            (folder / "a").write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == (["new"] if there else [])
    assert not there or names(path) == []


def test_a_folder_that_holds_something_stays_as_it_is(tmp_path):
    (tmp_path / "a").write_text("kept")
    with pytest.raises(FewbitsError, match="holds files already"), atomic_folder(tmp_path):
        pytest.fail("it must not begin")
    with pytest.raises(FewbitsError, match="is a file"), atomic_folder(tmp_path / "a"):
        pytest.fail("it must not begin")
    assert (tmp_path / "a").read_text() == "kept"


def test_a_folder_needs_a_place(tmp_path):
    place = tmp_path / "absent" / "new"
    with pytest.raises(FewbitsError, match="No such file") as caught, atomic_folder(place):
        pytest.fail("it must not begin")
    assert "Create the folder first" in caught.value.hint


def test_of_processes_that_share_a_run_one_writes_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with atomic_folder(tmp_path / "new") as folder:
        (folder / "a").write_text("nowhere")
    assert names(tmp_path) == []
