import zipfile
from pathlib import Path

import numpy as np
import pytest
from fewbits.builtin.arrayfile import ArrayFile
from fewbits.builtin.arrays import ArrayReader
from fewbits.data import InputSpec, Request
from fewbits.errors import DataError
from fewbits.preprocess import Preprocess

RNG = np.random.default_rng(0)
SPEC = InputSpec("input", (None, 3, 4, 5), np.dtype(np.float32))
PLANES = RNG.normal(size=(7, 3, 4, 5)).astype(np.float32)
PICTURES = RNG.integers(0, 256, (7, 4, 5, 3), np.uint8)
LABELS = np.arange(7) * 3
SAID = Preprocess(mean=(1, 2, 3), std=(4,))


def opened(path, *inputs, preprocess=None, count=None):
    return ArrayReader().open(Request(str(path), inputs or (SPEC,), preprocess, count))


def whole(dataset, size=3, name="input"):
    return np.concatenate([batch.inputs[name] for batch in dataset.batches(size)])


def saved(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    return tmp_path / "x.npy"


def test_float32_goes_in_as_it_is(tmp_path):
    dataset = opened(saved(tmp_path, PLANES), preprocess=SAID)
    assert np.array_equal(whole(dataset), PLANES)
    assert [len(batch) for batch in dataset.batches(3)] == [3, 3, 1]
    about = dataset.describe()
    assert (about["count"], about["preprocess"], about["reader"]) == (7, "", "arrays")


def resident_kb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("save", ["npy", "npz", "compressed"])
def test_reading_takes_no_more_memory_for_more_samples(tmp_path, monkeypatch, save):
    monkeypatch.setattr("fewbits.builtin.arrayfile.HELD_BYTES", 1 << 20)
    spec = InputSpec("input", (None, 1 << 18), np.dtype(np.float32))
    array = np.broadcast_to(np.float32(3), (64, 1 << 18))
    path = tmp_path / f"x.{save[:3].replace('com', 'npz')}"
    {"npy": np.save, "npz": np.savez, "compressed": np.savez_compressed}[save](path, array)
    dataset = opened(path, spec)
    before, after = resident_kb(), []
    for batch in dataset.batches(2):
        assert (batch.inputs["input"] == 3).all()
        after.append(resident_kb())
        del batch
    assert max(after) - before < 24 << 10, "64 MB were read"


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_compressed_array_goes_through_a_temporary_file(tmp_path, monkeypatch, order):
    np.savez_compressed(tmp_path / "a.npz", input=np.asarray(PLANES, order=order))
    held = whole(opened(tmp_path / "a.npz"))
    monkeypatch.setattr("fewbits.builtin.arrayfile.HELD_BYTES", 0)
    assert np.array_equal(whole(opened(tmp_path / "a.npz")), held)


def test_pictures_go_through_the_preprocessing(tmp_path):
    dataset = opened(saved(tmp_path, PICTURES), preprocess=SAID)
    expected = ((PICTURES - np.float32([1, 2, 3])) / np.float32(4)).transpose(0, 3, 1, 2)
    assert np.array_equal(whole(dataset), expected)
    assert dataset.describe()["preprocess"] == "mean=[1,2,3],std=4"


def test_pictures_are_resized_and_cropped_like_files(tmp_path):
    said = Preprocess(resize=8, crop=(4, 5))
    dataset = opened(saved(tmp_path, PICTURES), preprocess=said)
    from PIL import Image

    expected = [said.apply(Image.fromarray(pixels)) for pixels in PICTURES]
    assert np.array_equal(whole(dataset), expected)


@pytest.mark.parametrize("axis", [True, False])
def test_grey_pictures_may_leave_out_the_channel_axis(tmp_path, axis):
    spec = InputSpec("input", (None, 1, 4, 5), np.dtype(np.float32))
    grey = PICTURES[..., :1] if axis else PICTURES[..., 0]
    dataset = opened(saved(tmp_path, grey), spec, preprocess=Preprocess(std=2))
    assert np.array_equal(whole(dataset)[:, 0], PICTURES[..., 0] / np.float32(2))


def test_pictures_for_a_channels_last_network(tmp_path):
    spec = InputSpec("input", (None, 4, 5, 3), np.dtype(np.float32))
    dataset = opened(saved(tmp_path, PICTURES), spec, preprocess=Preprocess(layout="NHWC"))
    assert np.array_equal(whole(dataset), PICTURES)


def test_an_input_of_bytes_takes_bytes_as_they_are(tmp_path):
    spec = InputSpec("input", (None, 4, 5, 3), np.dtype(np.uint8))
    got = whole(opened(saved(tmp_path, PICTURES), spec))
    assert got.dtype == np.uint8
    assert np.array_equal(got, PICTURES)


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4"])
def test_other_floats_are_cast_and_the_cast_is_told(tmp_path, dtype):
    array = PLANES.astype(dtype)
    dataset = opened(saved(tmp_path, array))
    assert whole(dataset).dtype == np.float32
    assert np.array_equal(whole(dataset), array.astype(np.float32))
    assert dataset.describe()["cast"] == {"input": f"{array.dtype} -> float32"}


def test_features_and_whole_numbers_feed_networks_without_pictures(tmp_path):
    features = InputSpec("f", (None, 60), np.dtype(np.float32))
    assert np.array_equal(
        whole(opened(saved(tmp_path, PLANES.reshape(7, 60)), features), name="f"),
        PLANES.reshape(7, 60),
    )
    tokens = InputSpec("t", (None, None), np.dtype(np.int64))
    words = np.arange(14, dtype=np.int32).reshape(7, 2)
    got = whole(opened(saved(tmp_path, words), tokens), name="t")
    assert got.dtype == np.int64
    assert np.array_equal(got, words)


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        (("input", "images", "x"), "input"),
        (("other", "images", "x"), "images"),
        (("other", "x"), "x"),
        (("only", "labels"), "only"),
        (("only", "y", "names"), "only"),
        (("arr_0", "arr_1"), "arr_0"),
    ],
)
def test_the_array_of_an_npz_is_found(tmp_path, keys, chosen):
    arrays = {key: np.full_like(PLANES, i) for i, key in enumerate(keys)}
    for key in ("labels", "y", "names"):
        if key in arrays:
            arrays[key] = LABELS
    np.savez(tmp_path / "a.npz", **arrays)
    assert np.array_equal(whole(opened(tmp_path / "a.npz")), arrays[chosen])


def test_key_and_labels_of_a_file_with_several_sets(tmp_path):
    np.savez_compressed(
        tmp_path / "a.npz",
        calib_images=PICTURES[:3],
        calib_labels=LABELS[:3].astype(np.uint8),
        images=PICTURES,
        labels=LABELS,
        names=np.array(["cat", "dog"]),
    )
    calib = opened(f"{tmp_path / 'a.npz'}#calib_images", preprocess=SAID)
    assert calib.labels.tolist() == [0, 3, 6]
    assert calib.labels.dtype == np.int64
    every = opened(tmp_path / "a.npz", preprocess=SAID)
    assert every.labels.tolist() == LABELS.tolist()
    assert [b.labels.tolist() for b in every.batches(4)] == [[0, 3, 6, 9], [12, 15, 18]]


@pytest.mark.parametrize(
    ("key", "labels"),
    [("x", "y"), ("x_test", "y_test"), ("digits", "digits_labels"), ("a", "labels"), ("a", "y")],
)
def test_labels_are_found_by_name(tmp_path, key, labels):
    np.savez(tmp_path / "a.npz", **{key: PLANES, labels: LABELS[:, None]})
    assert opened(f"{tmp_path / 'a.npz'}#{key}").labels.tolist() == LABELS.tolist()


def test_several_inputs_take_the_arrays_of_their_names(tmp_path):
    other = InputSpec("other", (None, 2), np.dtype(np.float32))
    vectors = RNG.normal(size=(7, 2)).astype(np.float32)
    np.savez(tmp_path / "a.npz", other=vectors, input=PICTURES, labels=LABELS)
    dataset = opened(tmp_path / "a.npz", SPEC, other, preprocess=SAID)
    assert np.array_equal(whole(dataset, name="other"), vectors)
    assert whole(dataset).shape == (7, 3, 4, 5)
    assert dataset.labels.tolist() == LABELS.tolist()


def test_count_and_select(tmp_path):
    path = saved(tmp_path, PLANES)
    assert np.array_equal(whole(opened(path, count=2)), PLANES[:2])
    part = opened(path).select([6, 0, 2])
    assert np.array_equal(whole(part, 2), PLANES[[6, 0, 2]])
    assert part.describe()["rows"] == [6, 0, 2]
    with pytest.raises(DataError, match="holds 7 samples, fewer than the 8"):
        opened(path, count=8)


def test_digest_follows_the_values_taken(tmp_path):
    path = saved(tmp_path, PLANES)
    before, part = opened(path).describe()["digest"], opened(path, count=3).describe()["digest"]
    changed = PLANES.copy()
    changed[5] += 1
    saved(tmp_path, changed)
    assert opened(path).describe()["digest"] != before
    assert opened(path, count=3).describe()["digest"] == part


def test_digest_does_not_depend_on_how_the_array_is_stored(tmp_path):
    np.savez(tmp_path / "a.npz", input=PLANES)
    np.savez_compressed(tmp_path / "b.npz", input=np.asfortranarray(PLANES))
    first, second = (opened(tmp_path / f"{n}.npz").describe()["digest"] for n in "ab")
    assert first == second


BAD_ARRAYS = {
    "wrong shape": (PLANES[:, :, :3], r"\(3, 3, 5\).*\(batch, 3, 4, 5\)", "layout"),
    "channels last": (PLANES.transpose(0, 2, 3, 1), "samples of shape", "transpose"),
    "one sample": (PLANES[0], "samples of shape", "batch axis"),
    "whole numbers": (PLANES.astype(np.int32), "holds int32", "astype"),
    "truth values": (PLANES > 0, "holds bool", "astype"),
    "text": (np.array(["a", "b"]), "holds <U1", "astype"),
    "empty": (PLANES[:0], "is empty", "input"),
    "scalar": (np.float32(3), "is empty", "input"),
    "bytes channels first": (PICTURES.transpose(0, 3, 1, 2), "no pictures", "channels last"),
    "small pictures": (PICTURES[:, :3], r"samples of shape \(3, 3, 5\)", "--preprocess"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_what_does_not_fit_is_named_with_the_remedy(tmp_path, case):
    array, message, remedy = BAD_ARRAYS[case]
    with pytest.raises(DataError, match=rf"x\.npy.*{message}") as caught:
        opened(saved(tmp_path, array), preprocess=SAID)
    assert remedy in caught.value.hint


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_values_that_are_no_float32_numbers_are_named_with_their_sample(tmp_path, bad):
    array = PLANES.astype(np.float64)
    array[5, 0, 1, 2] = bad
    dataset = opened(saved(tmp_path, array))
    with pytest.raises(DataError, match=r"x\.npy .* sample 5"):
        whole(dataset)
    with pytest.raises(DataError, match="sample 5"):
        whole(dataset.select([4, 5]))


def test_pictures_without_preprocessing_are_an_error_with_the_remedy(tmp_path):
    with pytest.raises(DataError, match="not said") as caught:
        opened(saved(tmp_path, PICTURES))
    assert "--preprocess" in caught.value.hint


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": PLANES, "b": PLANES}, r"not clear"),
        ({"labels": LABELS}, r"not clear"),
        ({"x": PLANES, "labels": LABELS[:5]}, r"a\.npz#labels holds 5 labels for 7"),
        ({"x": PLANES, "labels": LABELS.astype(np.float32)}, r"a\.npz#labels is float32"),
        ({"x": PLANES, "labels": np.eye(7, dtype=int)}, r"a\.npz#labels is int64 of shape"),
        ({"x": PLANES[:, :2]}, r"a\.npz#x gives samples of shape"),
    ],
)
def test_a_wrong_npz_names_the_key(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "a.npz")


def test_a_missing_key_is_answered_with_those_there_are(tmp_path):
    np.savez(tmp_path / "a.npz", calib_images=PLANES)
    with pytest.raises(DataError, match="no array 'calib_image'") as caught:
        opened(f"{tmp_path / 'a.npz'}#calib_image")
    assert "'calib_images'" in caught.value.hint
    with pytest.raises(DataError, match="without a name"):
        opened(f"{saved(tmp_path, PLANES)}#key")


def test_inputs_without_an_array_are_an_error(tmp_path):
    np.savez(tmp_path / "a.npz", input=PLANES, second=PLANES)
    other = InputSpec("other", (None, 2), np.dtype(np.float32))
    with pytest.raises(DataError, match=r"input, other, and .* holds input, second"):
        opened(tmp_path / "a.npz", SPEC, other)
    with pytest.raises(DataError, match="one array without a name"):
        opened(saved(tmp_path, PLANES), SPEC, other)


def test_inputs_of_different_lengths_are_an_error(tmp_path):
    other = InputSpec("other", (None, 2), np.dtype(np.float32))
    np.savez(tmp_path / "a.npz", input=PLANES, other=np.zeros((6, 2), np.float32))
    with pytest.raises(DataError, match="different numbers of samples"):
        opened(tmp_path / "a.npz", SPEC, other)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, compressed, part):
    write = np.savez_compressed if compressed else np.savez
    write(tmp_path / "a.npz", x=PLANES)
    for path in (tmp_path / "a.npz", saved(tmp_path, PLANES)):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(DataError, match=path.name):
            whole(opened(path))


@pytest.mark.parametrize("held", [0, 1 << 20])
def test_a_damaged_member_is_an_error_that_names_its_key(tmp_path, monkeypatch, held):
    monkeypatch.setattr("fewbits.builtin.arrayfile.HELD_BYTES", held)
    np.savez_compressed(tmp_path / "a.npz", x=PLANES)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.npz#x cannot be read"):
        opened(tmp_path / "a.npz")


def test_python_objects_are_never_loaded(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    for path in (tmp_path / "x.npy", tmp_path / "a.npz"):
        with pytest.raises(DataError, match="cannot be read"):
            opened(path)


def test_a_missing_file_and_a_zip_of_other_things(tmp_path):
    with pytest.raises(DataError, match=r"no file .*none\.npy"):
        opened(tmp_path / "none.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", "this is text")
    with pytest.raises(DataError, match=r"a\.npz#x cannot be read"):
        opened(tmp_path / "a.npz")


def test_a_hash_in_a_files_name_is_no_key(tmp_path):
    np.save(tmp_path / "a#b.npy", PLANES)
    assert np.array_equal(whole(opened(tmp_path / "a#b.npy")), PLANES)
    assert ArrayFile.parse("dir#1/a.npz#k").key == "k"


def test_claims_names_that_end_in_npy_or_npz(tmp_path):
    reader = ArrayReader()
    assert reader.accepts("a.npy")
    assert reader.accepts("a.NPZ#key")
    assert not reader.accepts(str(tmp_path))
    assert not reader.accepts("a.png")
