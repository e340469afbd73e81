"""What plugins offer: checked when offered, resolved when used, its failures named."""

import pytest
from fewbits.component import KINDS
from fewbits.errors import PluginError, RecipeError
from fewbits.plugins import discover


@pytest.fixture
def good(site):
    site.plugin("fewbits-good")
    return site


def offering(site, expression, hook="targets"):
    """Install a plugin `bad` with an algorithm, whose other hook returns `expression`."""
    site.plugin("fewbits-bad", after=f"@hookimpl\ndef {hook}():\n    return {expression}")
    return site.discover()


def broken(registry):
    """Check that `good` works and `bad` is broken with all its components; return its record."""
    assert registry.load("algorithm", "good")
    assert [r.component.name for r in registry.components()] == ["good"]
    (record,) = (r for r in registry.records if r.status != "active")
    assert (record.name, record.status) == ("bad", "broken")
    return record


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("None", "returned None; return a list of Component"),
        ("7", "returned 7; return a list of Component"),
        ("Component('target', 'x', 'X', 'm:X')", "return a list of Component"),
        ("['x']", "returned 'x', which is not a Component"),
        ("[Component('target', 8, 'X', 'm:X')]", "whose fields are not all text"),
        ("[Component('frontend', 'x', 'X', 'm:X')]", "'x' of kind 'frontend', not 'target'"),
        ("[Component('target', 'My Chip', 'X', 'm:X')]", "the name 'My Chip'"),
        ("[Component('target', '', 'X', 'm:X')]", "the name ''"),
        ("[Component('target', 'x', '', 'm:X')]", "'x' without a summary"),
        ("[Component('target', 'x', 'X', 'm.X')]", "the target 'm.X'"),
        ("[Component('target', 'x', 'X', 'm:X')] * 2", "offers the target 'x' twice"),
        ("(1 / 0 for _ in 'x')", "hook 'targets' raised ZeroDivisionError"),
        ("exit(3)", "hook 'targets' raised SystemExit: 3"),
    ],
)
def test_a_hook_that_returns_something_else_breaks_its_plugin(good, expression, words):
    assert words in broken(offering(good, expression)).reason


def test_a_hook_that_raises_has_its_traceback_in_the_record(good):
    record = broken(offering(good, "1 / 0"))
    assert "fewbits_bad.py" in record.traceback
    assert "pluggy" not in record.traceback


def test_the_step_name_quantize_belongs_to_recipes(good):
    registry = offering(good, "[Component('quantizer', 'quantize', 'X', 'm:X')]", "quantizers")
    assert "'quantize', which recipes use" in broken(registry).reason


def test_a_hook_may_be_a_generator(site):
    site.plugin(after="@hookimpl\ndef targets():\n    yield Component('target', 'x', 'X', 'm:X')")
    assert site.discover().get("target", "x").record.status == "active"


PARTS = {
    "ModuleNotFoundError: No module named 'no_such'": "import no_such",
    "AssertionError": "assert False",
    "SystemExit": "raise SystemExit",
    "has no attribute 'Pass'": "",
    "is not a subclass of fewbits.interfaces.Algorithm": "Pass = dict",
    "does not define apply": """
        from fewbits.interfaces import Algorithm
        class Pass(Algorithm):
            name = "bad"
    """,
    "has the name 'other', the hook says 'bad'": """
        from fewbits.interfaces import Algorithm
        class Pass(Algorithm):
            name = "other"
            def apply(self, model, context): ...
    """,
    "offer it through the hook 'quantizers'": """
        from fewbits.interfaces import Quantizer
        class Pass(Quantizer):
            name = "bad"
            def apply(self, model, context): ...
    """,
    "Options' is not a subclass of fewbits.options.Options": """
        from fewbits.interfaces import Algorithm
        class Pass(Algorithm):
            name = "bad"
            Options = dict
            def apply(self, model, context): ...
    """,
}


@pytest.mark.parametrize("words", PARTS)
def test_a_component_that_cannot_be_resolved_breaks_its_plugin_when_used(good, words):
    good.plugin("fewbits-bad")
    good.write("fewbits_bad_parts.py", PARTS[words])
    registry = good.discover()
    assert len(registry.components()) == 2
    with pytest.raises(
        PluginError, match=r"algorithm 'bad' of plugin 'bad' \(fewbits-bad 1.0\)"
    ) as e:
        registry.load("algorithm", "bad")
    assert words in e.value.message
    assert "FEWBITS_DISABLE=bad" in e.value.hint
    record = broken(registry)
    assert record.reason.startswith("algorithm 'bad': ")
    assert words in record.reason


def test_asking_again_for_a_broken_component_says_why_again(good):
    good.plugin("fewbits-bad")
    good.write("fewbits_bad_parts.py", "assert False")
    registry = good.discover()
    for _ in range(2):
        with pytest.raises(PluginError, match="AssertionError"):
            registry.load("algorithm", "bad")


def test_a_keyboard_interrupt_while_resolving_passes(good):
    good.plugin("fewbits-bad")
    good.write("fewbits_bad_parts.py", "raise KeyboardInterrupt")
    registry = good.discover()
    with pytest.raises(KeyboardInterrupt):
        registry.load("algorithm", "bad")


def test_a_missing_extra_is_named_and_is_no_fault_of_the_plugin(good):
    requires = ["fewbits-core", "no-such[fast]>=2; extra == 'heavy'"]
    good.plugin("fewbits-bad", requires=requires)
    good.write("fewbits_bad_parts.py", "import no_such.deep")
    registry = good.discover()
    for _ in range(2):
        with pytest.raises(PluginError, match="needs 'no_such'") as caught:
            registry.load("algorithm", "bad")
        assert caught.value.hint == "pip install 'fewbits-bad[heavy]'"
    (fault,) = registry.verify()
    assert (fault.missing, fault.component.name) == (True, "bad")
    assert [r.status for r in registry.records] == ["active", "active"]


def test_a_component_may_say_itself_what_it_needs(good):
    good.plugin("fewbits-bad")
    good.write(
        "fewbits_bad_parts.py",
        "from fewbits.errors import PluginError\n"
        "raise PluginError('it needs the vendor tool', hint='Install it from the vendor.')",
    )
    registry = good.discover()
    with pytest.raises(PluginError, match="it needs the vendor tool") as caught:
        registry.load("algorithm", "bad")
    assert caught.value.hint == "Install it from the vendor."
    assert registry.records[0].status == "active"


def test_verify_finds_every_component_that_cannot_be_resolved(good):
    good.plugin(
        "fewbits-bad",
        after="""
        @hookimpl
        def targets():
            return [Component("target", "chip", "X", "no_such_module:Chip")]
        @hookimpl
        def commands():
            return [Component("command", "go", "X", "math:pi")]
        """,
    )
    registry = good.discover()
    faults = registry.verify()
    assert [(f.component.kind, f.component.name) for f in faults] == [
        *(("target", "chip"), ("command", "go")),
    ]
    assert "fewbits-bad 1.0" in str(faults[0])
    assert not any(fault.missing for fault in faults)
    reason = broken(registry).reason
    assert "target 'chip': " in reason
    assert "command 'go': 'math:pi' is no Typer app" in reason


def test_a_command_is_a_typer_app(site):
    offer = "return [Component('command', 'go', 'X', 'go_app:app')]"
    site.plugin(after=f"@hookimpl\ndef commands():\n    {offer}")
    site.write("go_app.py", "import typer\napp = typer.Typer()")
    assert type(site.discover().load("command", "go")).__name__ == "Typer"


def test_creating_with_wrong_options_names_the_step(good):
    with pytest.raises(RecipeError, match="step 'good': there is no option 'strenght'") as caught:
        good.discover().create("algorithm", "good", {"strenght": 1})
    assert "Did you mean 'strength'?" in caught.value.hint


def test_an_unknown_name_gets_the_nearest_and_the_plugins_that_are_out(good):
    good.plugin("fewbits-bad", before="raise RuntimeError")
    with pytest.raises(PluginError, match="There is no algorithm 'god'") as caught:
        good.discover().get("algorithm", "god")
    assert "Did you mean 'good'?" in caught.value.hint
    assert "plugin 'bad' (fewbits-bad 1.0) is broken." in caught.value.hint


def test_a_name_of_another_kind_is_recognized(good):
    with pytest.raises(PluginError) as caught:
        good.discover().get("target", "good")
    assert "'good' is of kind algorithm." in caught.value.hint


def test_a_step_is_an_algorithm_or_a_quantizer(good):
    good.builtins()
    registry = good.discover()
    assert registry.step("good").component.kind == "algorithm"
    assert registry.step("uniform").component.kind == "quantizer"
    with pytest.raises(RecipeError, match="no algorithm or quantizer 'unifrom'") as caught:
        registry.step("unifrom")
    assert "Did you mean 'uniform'? Known: good, uniform." in caught.value.hint


def test_an_unknown_kind_is_an_error(good):
    with pytest.raises(PluginError, match="no kind 'algorithms'") as caught:
        good.discover().components("algorithms")
    assert "Did you mean 'algorithm'?" in caught.value.hint


def test_the_built_ins_offer_what_the_flow_needs():
    offered = {(r.component.kind, r.component.name) for r in discover().components()}
    assert {
        ("frontend", "onnx"),
        ("quantizer", "uniform"),
        ("evaluator", "fidelity"),
        ("evaluator", "classification"),
        ("dataset", "images"),
        ("dataset", "arrays"),
        ("target", "cpu"),
    } <= offered
    assert {kind for kind, _ in offered} <= set(KINDS)


def test_every_built_in_component_can_be_used(site):
    site.builtins()
    assert [str(fault) for fault in site.discover().verify()] == []
