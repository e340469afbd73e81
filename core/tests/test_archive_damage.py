"""Whatever is wrong with an archive is an ArchiveError with a hint, and nothing else happens."""

import io
import json
import stat
import zipfile
from functools import cache

import numpy as np
import onnx
import pytest
import safetensors.numpy
from fewbits import archive
from fewbits.container import sha256
from fewbits.errors import ArchiveError
from fewbits.model import Encoding, Precision, Stage
from fewbits.outline import content_digest, stage_digest
from fewbits.testing.toys import conv_chain
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MODEL = "stages/parsed/model.onnx"
ENCODINGS = "stages/parsed/encodings.json"
WEIGHTS = "stages/parsed/weights.safetensors"


@cache
def whole() -> bytes:
    """Return the bytes of a real archive with one stage."""
    import tempfile
    from pathlib import Path

    encoding = Encoding(8, False, np.float32(0.1), np.asarray(128, np.int64))
    model = conv_chain().replace(encodings={"image": encoding}, precisions={"c": Precision(8, 8)})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.fewbits"
        archive.write(model, path)
        return path.read_bytes()


def parts() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(whole())) as held:
        return {name: held.read(name) for name in held.namelist()}


def pack(path, members, *, change=lambda info: None, compression=zipfile.ZIP_STORED):
    """Write members as they are; `change` may spoil each ZipInfo."""
    with zipfile.ZipFile(path, "w", compression) as held:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            change(info)
            held.writestr(info, data)


def forge(path, changes, **manifest_changes):
    """Write an archive with other parts and digests that fit them: a careful attacker's."""
    held = {**parts(), **changes}
    manifest = json.loads(held.pop("manifest.json"))
    manifest["parts"] = {n: {"bytes": len(d), "sha256": sha256(d)} for n, d in held.items()}
    own = {n.rpartition("/")[2]: sha256(d) for n, d in held.items() if n.startswith("stages/")}
    manifest["stages"][0]["digest"] = stage_digest("parsed", content_digest(own))
    manifest |= manifest_changes
    pack(path, [("manifest.json", json.dumps(manifest)), *held.items()])


def refused(path) -> ArchiveError:
    """Return the error that reading raises."""
    with pytest.raises(ArchiveError) as caught:
        archive.read(path)
    assert caught.value.hint
    assert str(path) in caught.value.message
    return caught.value


def test_a_forged_archive_without_changes_is_read(tmp_path):
    forge(tmp_path / "m", {})
    assert archive.read(tmp_path / "m").stage is Stage.PARSED


def test_a_missing_file_and_a_folder(tmp_path):
    assert "No such file" in refused(tmp_path / "absent").message
    assert "cannot be read" in refused(tmp_path).message


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and so on", bytes(10000)])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    assert "no fewbits archive" in refused(tmp_path / "m").message


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_a_truncated_archive(tmp_path, share):
    (tmp_path / "m").write_bytes(whole()[: int(len(whole()) * share)])
    assert "truncated" in refused(tmp_path / "m").message


def test_another_zip_has_no_manifest(tmp_path):
    pack(tmp_path / "m", [("readme.txt", b"hello")])
    assert "no manifest.json" in refused(tmp_path / "m").message


def test_a_newer_format_says_what_to_upgrade_to(tmp_path):
    forge(tmp_path / "m", {}, format=2, fewbits="7.1")
    error = refused(tmp_path / "m")
    assert "format 2" in error.message
    assert "fewbits 7.1 wrote it" in error.hint


@pytest.mark.parametrize("name", [MODEL, WEIGHTS, ENCODINGS, "provenance.json"])
def test_a_part_with_a_wrong_digest_is_named(tmp_path, name):
    held = parts()
    held[name] = held[name][:-1] + bytes([held[name][-1] ^ 1])
    pack(tmp_path / "m", held.items())
    error = refused(tmp_path / "m")
    assert "wrong digest" in error.message
    assert name in error.message


def test_a_stage_with_a_wrong_digest(tmp_path):
    held = parts()
    manifest = json.loads(held["manifest.json"])
    manifest["stages"][0]["digest"] = "0" * 64
    pack(tmp_path / "m", [*held.items(), ("manifest.json", json.dumps(manifest))][1:])
    assert "parsed has a wrong digest" in refused(tmp_path / "m").message


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "stages/../../evil",
        "a//b",
        "./a",
        "C:evil",
        "a\\..\\b",
        "stages/./x",
    ],
)
def test_a_path_that_climbs_out_is_refused(tmp_path, name):
    pack(tmp_path / "m", [*parts().items(), (name, b"evil")])
    assert name.split("\\")[0] in refused(tmp_path / "m").message
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, kind):
    def spoil(info):
        if info.filename == MODEL:
            info.external_attr = (kind | 0o777) << 16

    pack(tmp_path / "m", parts().items(), change=spoil)
    assert "link or no plain file" in refused(tmp_path / "m").message


def test_a_compressed_bomb_is_refused_before_it_is_unpacked(tmp_path):
    forge(tmp_path / "small", {})
    members = {**parts(), MODEL: bytes(200_000_000)}
    pack(tmp_path / "m", members.items(), compression=zipfile.ZIP_DEFLATED)
    assert (tmp_path / "m").stat().st_size < 1_000_000
    assert "compressed" in refused(tmp_path / "m").message


def test_members_that_overlap_claim_more_than_there_is(tmp_path):
    path = tmp_path / "m"
    pack(path, [*parts().items(), ("big", bytes(1_000_000))])
    with zipfile.ZipFile(path, "a") as held:
        place = held.getinfo("big").header_offset
        for copy in range(50):
            info = zipfile.ZipInfo(f"copy{copy}")
            info.header_offset, info.CRC = place, held.getinfo("big").CRC
            info.file_size = info.compress_size = 1_000_000
            held.filelist.append(info)
            held.NameToInfo[info.filename] = info
        held._didModify = True
    assert "claims more bytes" in refused(path).message


def test_the_same_name_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        pack(tmp_path / "m", [*parts().items(), (MODEL, b"other")])
    assert "appears twice" in refused(tmp_path / "m").message


def test_parts_that_the_manifest_does_not_list_and_the_reverse(tmp_path):
    pack(tmp_path / "m", [*parts().items(), ("stages/parsed/extra", b"x")])
    assert "stages/parsed/extra" in refused(tmp_path / "m").message
    pack(tmp_path / "n", [i for i in parts().items() if i[0] != ENCODINGS])
    assert ENCODINGS in refused(tmp_path / "n").message


def test_a_listed_part_that_belongs_to_no_stage(tmp_path):
    forge(tmp_path / "m", {"scripts/run.py": b"print()"})
    assert "belongs to no stage" in refused(tmp_path / "m").message


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": []},
        {"stages": None},
        {"stages": [{"stage": "parsed"}]},
        {"name": None, "stages": 3},
        {"format": "1"},
        {"format": None},
    ],
)
def test_a_manifest_of_another_shape(tmp_path, changes):
    forge(tmp_path / "m", {}, **changes)
    refused(tmp_path / "m")


def test_stages_out_of_order(tmp_path):
    held = parts()
    manifest = json.loads(held["manifest.json"])
    again = {**manifest["stages"][0]}
    forge(tmp_path / "m", {}, stages=[again, again])
    assert "do not fit together" in refused(tmp_path / "m").message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", b"{"),
        ("manifest.json", b"[]"),
        (MODEL, b"no protobuf"),
        (MODEL, b""),
        (WEIGHTS, b""),
        (WEIGHTS, b"\xff" * 100),
        (ENCODINGS, b"[]"),
        (ENCODINGS, b"\xff"),
        (ENCODINGS, b'{"encodings": {"x": {}}, "precisions": {}, "masks": {}}'),
        (ENCODINGS, b'{"encodings": {}, "precisions": {"c": "a9_w9"}, "masks": {}}'),
        (ENCODINGS, b'{"encodings": {}, "precisions": {}, "masks": {"w": [1]}}'),
        ("stages/parsed/preprocess.json", b'{"resize": "x"}'),
        ("provenance.json", b"[{}]"),
        ("provenance.json", b"[" * 100_000),
    ],
)
def test_parts_that_are_not_what_they_should_be_even_with_right_digests(tmp_path, name, content):
    if name == "manifest.json":
        pack(tmp_path / "m", {**parts(), name: content}.items())
    else:
        forge(tmp_path / "m", {name: content})
    refused(tmp_path / "m")


def outside(location: str, where: str) -> bytes:
    """Return the graph with a constant that claims to lie in another file."""
    proto = onnx.ModelProto.FromString(parts()[MODEL])
    tensor = onnx.helper.make_tensor("stolen", onnx.TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    if where == "initializer":
        proto.graph.initializer.append(tensor)
    elif where == "attribute":
        proto.graph.node.append(onnx.helper.make_node("Constant", [], ["s"], value=tensor))
    else:
        body = onnx.helper.make_graph([], "body", [], [], [tensor])
        proto.graph.node.append(onnx.helper.make_node("If", [""], ["s"], then_branch=body))
    return proto.SerializeToString()


@pytest.mark.parametrize("where", ["initializer", "attribute", "subgraph"])
@pytest.mark.parametrize("location", ["/etc/passwd", "../../secret", "weights.safetensors"])
def test_a_graph_that_points_at_other_files_is_refused(tmp_path, where, location):
    forge(tmp_path / "m", {MODEL: outside(location, where)})
    assert "stolen" in refused(tmp_path / "m").message


def test_a_constant_in_the_graph_that_claims_more_than_it_holds_is_refused(tmp_path):
    proto = onnx.ModelProto.FromString(parts()[MODEL])
    tensor = onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [2], b"\0" * 16, raw=True)
    tensor.dims[0] = 1_000_000
    proto.graph.initializer.append(tensor)
    forge(tmp_path / "m", {MODEL: proto.SerializeToString()})
    refused(tmp_path / "m")


def test_weights_of_another_shape_are_refused(tmp_path):
    weights = safetensors.numpy.load(parts()[WEIGHTS])
    name = next(iter(weights))
    weights[name] = weights[name].reshape(-1)[:1].copy()
    forge(tmp_path / "m", {WEIGHTS: safetensors.numpy.save(weights)})
    assert name in refused(tmp_path / "m").message


def test_nothing_in_a_path_is_followed(tmp_path):
    """An archive given through a link is read; what it names is only looked up inside it."""
    (tmp_path / "real").write_bytes(whole())
    (tmp_path / "link").symlink_to("real")
    assert archive.digest(archive.read(tmp_path / "link"))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damaged_bytes_are_found_or_change_nothing(tmp_path, data):
    content = bytearray(whole())
    # The small structures at both ends decide how the rest is read; hit them as often.
    end = st.integers(0, 400) | st.integers(len(content) - 1200, len(content) - 1)
    for place in data.draw(
        st.lists(end | st.integers(0, len(content) - 1), min_size=1, max_size=3)
    ):
        content[place] = data.draw(st.integers(0, 255))
    (tmp_path / "good").write_bytes(whole())
    (tmp_path / "bad").write_bytes(bytes(content))
    try:
        found = archive.read(tmp_path / "bad")
    except ArchiveError as error:
        assert error.hint  # noqa: PT017 - both outcomes are right
    else:
        good = archive.read(tmp_path / "good")
        assert archive.digest(found) == archive.digest(good)
        assert (found.name, found.history) == (good.name, good.history)
