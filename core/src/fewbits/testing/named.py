"""The contract of named models."""

import math
from dataclasses import asdict

import pytest

from fewbits import api, runner
from fewbits.interfaces import Evaluator, NamedModel
from fewbits.model import Model
from fewbits.plugins import Registry, from_environment
from fewbits.recipe import parse_step


class NamedModelContract:
    """What every named model promises. Give the fixture `named`.

    Its network is read and a few samples are run; a model that must be fetched first belongs
    behind a mark of its own.
    """

    @pytest.fixture
    def named(self) -> NamedModel:
        """Return the named model under test; the subclass gives it."""
        raise NotImplementedError("give the fixture `named`")

    @pytest.fixture
    def registry(self) -> Registry:
        """Return the installed plugins."""
        return from_environment()

    @pytest.fixture
    def model(self, named: NamedModel, registry: Registry) -> Model:
        """Return the network, read as the named model says."""
        return api.parse(
            named.network(), preprocess=named.preprocess(), registry=registry, **named.reading()
        )

    def test_network_lies_where_it_lay(self, named: NamedModel) -> None:
        assert named.network().is_file()
        assert named.network() == named.network()

    def test_network_can_be_read(self, model: Model) -> None:
        assert model.input_names

    def test_calibration_samples_fit_the_network(
        self, named: NamedModel, model: Model, registry: Registry
    ) -> None:
        path = named.calibration()
        if path is not None:
            assert len(api.open_data(path, model, registry, 1)) == 1

    def test_it_can_be_measured_as_it_says(
        self, named: NamedModel, model: Model, registry: Registry
    ) -> None:
        path = named.evaluation()
        asked = [parse_step(text) for text in named.evaluators()]
        judges: list[Evaluator] = [
            registry.create("evaluator", each.use, each.options) for each in asked
        ]
        if path is None:
            return
        measured = api.evaluate(
            model,
            path,
            target="full_precision",
            evaluators=judges or None,
            count=2,
            registry=registry,
        )
        assert measured.images == 2

    def test_samples_to_measure_on_are_others_than_those_to_calibrate(
        self, named: NamedModel
    ) -> None:
        assert named.evaluation() is None or named.evaluation() != named.calibration()

    def test_recipe_can_run(self, named: NamedModel, model: Model, registry: Registry) -> None:
        recipe = named.recipe()
        if recipe is not None:
            runner.check(model, recipe, registry, calibrated=named.calibration() is not None)

    def test_info_is_one_line_each_and_a_figure_says_of_what(self, named: NamedModel) -> None:
        info = named.info()
        texts = [text for text in asdict(info).values() if isinstance(text, str)]
        assert not [text for text in texts if text != text.strip() or "\n" in text]
        if info.full_precision is not None:
            assert math.isfinite(info.full_precision)
            assert info.metric, "say what the figure counts"
