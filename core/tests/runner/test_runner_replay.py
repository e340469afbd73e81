import dataclasses

import numpy as np
from fewbits import archive
from fewbits.data import ArrayDataset
from fewbits.errors import DataError
from fewbits.replaying import replay
from fewbits.testing.toys import calibration


def replayed(model, registry, **options):
    options = {"calibration": calibration(model, 16), **options}
    return replay(model, registry=registry, **options)


def test_a_replay_gives_the_same_digests(go, registry, tmp_path):
    archive.write(go("noise", "scale", "quantize", "tune", seed=4, batch_size=3), tmp_path / "m")
    results = replayed(archive.read(tmp_path / "m"), registry)
    assert [r.use for r in results] == ["noise", "scale", "uniform", "tune"]
    assert all(r.same and r.actual == r.expected and not r.note for r in results)


def test_a_replay_needs_no_recipe_for_options_taken_over_from_later_steps(go, registry):
    results = replayed(go("heed", "scale:factor=3"), registry)
    assert [r.same for r in results] == [True, True]


def test_a_replay_holds_the_same_samples_out(go, registry):
    results = replayed(go("counts", "judges"), registry)
    assert [r.same for r in results] == [True, True]


def test_a_replay_shows_where_a_step_gives_something_else(go, registry, monkeypatch):
    model = go("noise", "scale", "quantize")
    scale, tune = (registry.load("algorithm", name) for name in ("scale", "tune"))
    monkeypatch.setattr(scale, "apply", tune.apply)
    results = replayed(model, registry)
    assert [r.same for r in results] == [True, False, False]
    assert [r.note for r in results] == ["", "", "it got another input than then"]


def test_a_replay_names_another_version_and_a_missing_plugin(go, registry):
    model = go("noise", "scale")
    older = dataclasses.replace(model.history[0], distribution="fewbits-x", version="0.9")
    result = replayed(model.replace(history=(older, model.history[1])), registry)[0]
    assert result.same
    assert "fewbits-x 0.9" in result.note
    gone = dataclasses.replace(model.history[0], use="vanished")
    results = replayed(model.replace(history=(gone, model.history[1])), registry)
    assert [r.actual for r in results] == ["", ""]
    assert "'vanished'" in results[0].note
    assert "because 'vanished' could not be" in results[1].note


def test_a_replay_asks_for_data_given_in_memory_and_refuses_other_data(go, registry, fault):
    model = go("quantize")
    assert "memory" in fault(replay, model, registry=registry, kind=DataError).message
    other = ArrayDataset({"image": np.zeros((4, 3, 12, 12), np.float32)})
    error = fault(replayed, model, registry, calibration=other, kind=DataError)
    assert "digests differ" in error.message
