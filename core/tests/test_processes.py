"""Of processes that share a run, the first writes and speaks."""

import pytest
from fewbits.atomic import write_bytes
from fewbits.cli.app import main
from fewbits.processes import leads


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("1", False)])
def test_only_the_first_process_writes(tmp_path, monkeypatch, rank, first):
    if rank is None:
        monkeypatch.delenv("RANK", raising=False)
    else:
        monkeypatch.setenv("RANK", rank)
    write_bytes(tmp_path / "file", b"bytes")
    assert leads() is first
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([b"bytes"] if first else [])


@pytest.mark.parametrize(("rank", "first"), [("0", True), ("1", False)])
def test_only_the_first_process_prints(capsys, monkeypatch, rank, first):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("sys.argv", ["fewbits", "--version"])
    monkeypatch.setattr("sys.stdout", __import__("sys").stdout)
    with pytest.raises(SystemExit):
        main()
    assert ("fewbits" in capsys.readouterr().out) is first
