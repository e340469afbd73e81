"""Masks of pruned weights, and that the runner holds every step to them."""

import numpy as np
import pytest
from fewbits import masks
from fewbits.component import Component
from fewbits.errors import PluginError
from fewbits.graph import constant, layers, set_constant
from fewbits.hookspecs import hookimpl
from fewbits.interfaces import Algorithm, Result
from fewbits.model import Stage
from fewbits.plugins import Registry
from fewbits.provenance import Report
from fewbits.recipe import Recipe, Step
from fewbits.runner import run
from fewbits.testing import toys
from fewbits.testing.algorithm import masked


class Restorer(Algorithm):
    """Sets every weight to one and keeps the masks as they are."""

    name = "restorer"
    stage = Stage.OPTIMIZED

    def apply(self, model, context):
        new = model.copy()
        for layer in layers(new.graph):
            set_constant(layer.weight, np.ones_like(constant(layer.weight)))
        return Result(model.advance(self.stage, network=new.network), Report(True, "Ones."))


class Forgetter(Algorithm):
    """Drops the masks."""

    name = "forgetter"
    stage = Stage.OPTIMIZED

    def apply(self, model, context):
        return Result(model.advance(self.stage, masks={}), Report(True, "Forgot."))


class Opener(Algorithm):
    """Allows weights that were masked, though it moves none."""

    name = "opener"
    stage = Stage.OPTIMIZED

    def apply(self, model, context):
        opened = {name: np.ones_like(mask) for name, mask in model.masks.items()}
        return Result(model.advance(self.stage, masks=opened), Report(True, "Opened."))


class Plugin:
    @hookimpl
    def algorithms(self):
        return [
            Component("algorithm", name, name, f"{__name__}:{cls}")
            for name, cls in (
                ("restorer", "Restorer"),
                ("forgetter", "Forgetter"),
                ("opener", "Opener"),
            )
        ]


@pytest.fixture
def registry(monkeypatch):
    found = Registry()
    found.register(Plugin(), "faulty")
    created = {c.name: c for c in (Restorer, Forgetter, Opener)}
    monkeypatch.setattr(found, "create", lambda kind, name, options: created[name]())
    return found


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("restorer", "brought pruned weights"),
        ("forgetter", "lost the mask"),
        ("opener", "lost the mask"),
    ],
)
def test_a_step_that_spoils_masks_is_named(registry, step, words):
    from fewbits.builtin.cpu import CpuTarget

    model = masked(toys.conv_chain())
    with pytest.raises(PluginError, match=words) as caught:
        run(model, Recipe((Step(step, {}),)), registry=registry, target=CpuTarget())
    assert step in caught.value.message


def test_apply_puts_masked_weights_back_to_zero():
    model = masked(toys.conv_chain())
    name, mask = next(iter(model.masks.items()))
    spoilt = model.copy()
    set_constant(spoilt.graph.initializers[name], np.ones(mask.shape, np.float32))
    assert masks.violations(model) == []
    assert masks.violations(spoilt) == [name]
    mended = masks.apply(spoilt)
    assert masks.violations(mended) == []
    np.testing.assert_array_equal(constant(mended.graph.initializers[name]), mask)
    assert masks.violations(spoilt) == [name], "the model given is not changed"
    assert masks.apply(model) is model


def test_a_mask_of_another_shape_is_a_violation():
    model = masked(toys.conv_chain())
    name = next(iter(model.masks))
    wrong = model.replace(masks={name: np.ones((1, 2), np.bool_)})
    assert masks.violations(wrong) == [name]


def test_masks_may_go_with_their_weights_and_shrink_with_them():
    model = masked(toys.conv_chain())
    name = next(iter(model.masks))
    more = model.replace(masks={**model.masks, name: np.zeros_like(model.masks[name])})
    assert masks.lost(model, more) == []
    assert masks.lost(more, model) == [name]
    without = model.copy()
    for layer in list(layers(without.graph)):
        if layer.weight.name == name:
            layer.node.replace_input_with(1, without.graph.initializers[list(model.masks)[1]])
    del without.graph.initializers[name]
    assert (
        masks.lost(
            model, without.replace(masks={k: m for k, m in model.masks.items() if k != name})
        )
        == []
    )
