"""Blocks are found however they are written, and tiled they compute what numpy says."""

import fewbits
import numpy as np
import onnx_ir as ir
import pytest
import se_forms as forms
from fewbits.runtime import Session
from fewbits.testing.inspection import assert_valid
from fewbits_tse.blocks import find_blocks
from fewbits_tse.rewire import drop_unused, replace_gate
from fewbits_tse.tiles import tiled_squeeze_excite

FORMS = [
    *({"pool": name} for name in forms.POOLS),
    *({"layers": name, "product": product} for name in forms.LAYERS for product in forms.PRODUCTS),
    *({"layers": layers, "inside": inside} for layers in forms.LAYERS for inside in forms.INSIDE),
    *({"gate": name} for name in forms.GATES),
]
IDS = ["-".join(form.values()) for form in FORMS]
every_form = pytest.mark.parametrize("form", FORMS, ids=IDS)


def picture(seed=0):
    """Rows that differ, so that their means do."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, forms.CHANNELS, forms.HEIGHT, forms.WIDTH))
    return (x + rng.normal(size=(2, forms.CHANNELS, forms.HEIGHT, 1))).astype(np.float32)


def tiled(model, tile_height):
    network = model.network.clone()
    (block,) = find_blocks(network.graph)
    replace_gate(network.graph, block, tile_height)
    drop_unused(network)
    return model.replace(network=network)


def outputs(model, x):
    (result,) = Session(model.network, threads=1).run({"x": x}).values()
    return result


def reference(form, x, tile_height):
    chosen = {key: form[key] for key in ("inside", "gate") if key in form}
    return tiled_squeeze_excite(x, forms.gate_of(**chosen), tile_height)


@every_form
def test_a_block_is_found_and_its_tiles_equal_the_reference(form):
    model, x = forms.block(**form), picture()
    assert [block.fault for block in find_blocks(model.graph)] == [""]
    for tile_height in (1, 4, 5, 7):
        changed = tiled(model, tile_height)
        assert_valid(changed)
        np.testing.assert_allclose(outputs(changed, x), reference(form, x, tile_height), atol=2e-5)


@every_form
def test_a_tile_of_the_whole_map_is_squeeze_and_excite(form):
    model, x = forms.block(**form), picture()
    before, after = outputs(model, x), outputs(tiled(model, forms.HEIGHT), x)
    assert np.abs(before - after).max() <= 1e-6 * np.abs(before).max()


@every_form
def test_a_block_is_found_behind_the_frontend_too(form, tmp_path):
    path, x = tmp_path / "block.onnx", picture()
    ir.save(forms.block(**form).network, path)
    model = fewbits.parse(path)
    assert [block.fault for block in find_blocks(model.graph)] == [""]
    np.testing.assert_allclose(outputs(tiled(model, 4), x), reference(form, x, 4), atol=2e-5)


@pytest.mark.parametrize("product", forms.PRODUCTS)
@pytest.mark.parametrize("layers", ["convolutions", "matmuls"])
def test_a_block_with_channels_last_is_tiled_between_transposes(layers, product, tmp_path):
    built, x = forms.keras_block(layers, product), picture()
    ir.save(built.network, tmp_path / "block.onnx")
    for model in (built, fewbits.parse(tmp_path / "block.onnx")):
        (block,) = find_blocks(model.graph)
        assert (block.fault, block.sizes) == ("", (forms.CHANNELS, forms.HEIGHT, forms.WIDTH))
        for tile_height in (1, 4, forms.HEIGHT):
            changed = tiled(model, tile_height)
            assert_valid(changed)
            expected = reference({}, x, tile_height)
            np.testing.assert_allclose(outputs(changed, x), expected, atol=2e-5)


def test_tiling_leaves_nothing_of_the_old_block_behind():
    changed = tiled(forms.block(layers="gemms", product="expanded"), 4)
    ops = [node.op_type for node in changed.graph]
    assert ops == ["AveragePool", "Conv", "Relu", "Conv", "Sigmoid", "Gather", "Mul"]
    used = {value for node in changed.graph for value in node.inputs}
    assert set(changed.graph.initializers.values()) <= used


@pytest.mark.parametrize("layers", ["matmuls", "channels_last"])
def test_what_is_added_to_a_matmul_becomes_the_convolutions_bias(layers):
    ops = [node.op_type for node in tiled(forms.block(layers=layers), 4).graph]
    assert ops == ["AveragePool", "Conv", "Relu", "Conv", "Sigmoid", "Gather", "Mul"]


def test_layers_and_pool_keep_their_names():
    model = forms.block(layers="gemms")
    kept = {n.name for n in model.graph if n.op_type in ("GlobalAveragePool", "Gemm")}
    assert kept <= {node.name for node in tiled(model, 4).graph}
