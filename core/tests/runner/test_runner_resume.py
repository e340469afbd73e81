import pytest
from fewbits import archive, runner
from fewbits.errors import RecipeError
from fewbits.testing.toys import calibration, conv_chain, depthwise


def test_the_checkpoint_holds_each_finished_step_and_survives_an_interruption(go, tmp_path):
    path = tmp_path / "c"
    with pytest.raises(KeyboardInterrupt):
        go("noise", "scale", "fails", checkpoint=path)
    assert [r.use for r in archive.read(path).history] == ["noise", "scale"]
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    runner.discard(path)
    assert not path.exists()


def interrupted(go, path, **options):
    """Leave the checkpoint of a run of two steps of which the second was interrupted."""
    with pytest.raises(KeyboardInterrupt):
        go("noise", "fails", checkpoint=path, **options)
    return path


def test_resuming_does_the_rest_only_and_ends_as_if_nothing_had_happened(go, diary, tmp_path):
    path = interrupted(go, tmp_path / "c")
    diary.events.clear()
    steps = ("noise", "noise", "quantize")
    out = go(*steps, checkpoint=path, resume=True)
    before = [event[1:3] for event in diary.events if event[0] == "before"]
    assert before == [("noise", 1), ("uniform", 2)]
    assert archive.digest(out) == archive.digest(go(*steps))
    assert len(out.history) == 3


def test_resuming_works_on_a_model_that_has_a_past(go, tmp_path):
    start = go("scale")
    path = interrupted(go, tmp_path / "c", model=start)
    out = go("noise", "quantize", model=start, checkpoint=path, resume=True)
    assert archive.digest(out) == archive.digest(go("scale", "noise", "quantize"))


def test_resuming_a_finished_run_runs_nothing(go, diary, tmp_path):
    done = go("noise", checkpoint=tmp_path / "c")
    diary.events.clear()
    again = go("noise", checkpoint=tmp_path / "c", resume=True)
    assert archive.digest(again) == archive.digest(done)
    assert diary.events == []


def test_resuming_without_a_checkpoint_begins(go, tmp_path):
    assert len(go("noise", checkpoint=tmp_path / "c", resume=True).history) == 1


@pytest.mark.parametrize(
    ("steps", "options", "words"),
    [
        (("scale", "quantize"), {}, "step 1 had name 'noise', and now it is 'scale'"),
        (("noise", "quantize"), {"seed": 5}, "step 1 had seed 0, and now it is 5"),
        (("noise",), {"calibration": None}, "calibration digest"),
        (("noise",), {"calibration": calibration(conv_chain(), 8)}, "calibration digest"),
        (("noise",), {"batch_size": 8}, "batch size 4, and now it is 8"),
    ],
)
def test_resuming_another_run_says_what_differs(go, tmp_path, steps, options, words, fault):
    path = interrupted(go, tmp_path / "c")
    error = fault(go, *steps, checkpoint=path, resume=True, kind=RecipeError, **options)
    assert words in error.message
    assert "--resume" in error.hint


def test_resuming_with_other_options_or_another_model_is_refused(go, tmp_path, fault):
    path = tmp_path / "c"
    go("scale:factor=3", checkpoint=path)
    error = fault(go, "scale:factor=4", checkpoint=path, resume=True)
    assert "had options" in error.message
    error = fault(go, "scale:factor=3", checkpoint=path, resume=True, model=depthwise())
    assert "started from another model" in error.message
    error = fault(go, "scale", checkpoint=path, resume=True, model=go("noise"))
    assert "started from another model" in error.message


def test_a_longer_checkpoint_than_the_recipe_is_another_run(go, tmp_path, fault):
    go("scale", "noise", checkpoint=tmp_path / "c")
    error = fault(go, "scale", checkpoint=tmp_path / "c", resume=True)
    assert "2 steps" in error.message
