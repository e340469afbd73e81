"""Installed plugins: in each case of failure the others work and the bad one is named."""

import os
import sys

import pytest
from fewbits.errors import PluginError
from fewbits.plugins import discover, from_environment


@pytest.fixture
def good(site):
    """Return a site with one good plugin, called after every bad one (`bad` < `good`)."""
    site.plugin("fewbits-good")
    return site


def only_bad(registry, status, name="bad"):
    """Check that the good plugin works; return the record of the bad one, which is not active."""
    component = registry.create("algorithm", "good", {"strength": 2})
    assert component.options.strength == 2
    assert [r.name for r in registry.records if r.status == "active"] == ["good"]
    (record,) = (r for r in registry.records if r.status != "active")
    assert (record.name, record.distribution, record.version) == (name, f"fewbits-{name}", "1.0")
    assert record.status == status
    assert not [r for r in registry.components() if r.record.name == name]
    return record


def test_a_good_plugin_is_active_and_its_component_works(good):
    registry = good.discover()
    (record,) = registry.records
    assert (record.name, record.distribution, record.version) == ("good", "fewbits-good", "1.0")
    assert (record.status, record.reason, record.traceback) == ("active", "", "")
    (registered,) = registry.components("algorithm")
    assert registered.record == record
    assert registry.get("algorithm", "good") == registered
    assert registry.load("algorithm", "good").__module__ == "fewbits_good_parts"


def test_components_are_imported_only_when_used(good):
    registry = good.discover()
    assert "fewbits_good_parts" not in sys.modules
    registry.load("algorithm", "good")
    assert "fewbits_good_parts" in sys.modules


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("assert not 'this'", "AssertionError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
        ("def f(:", "SyntaxError"),
    ],
    ids=["import error", "AssertionError", "SystemExit", "BaseException", "syntax"],
)
def test_a_plugin_that_raises_at_import_is_broken(good, statement, named):
    good.plugin("fewbits-bad", before=statement)
    record = only_bad(good.discover(), "broken")
    assert record.reason.startswith("importing 'fewbits_bad' raised ")
    assert named in record.reason
    assert "fewbits_bad.py" in record.traceback
    assert "stevedore" not in record.traceback


def test_a_keyboard_interrupt_at_import_passes(good):
    good.plugin("fewbits-bad", before="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        good.discover()


@pytest.mark.parametrize("entry", ["bad = fewbits_bad:missing", "bad = not a module", "bad = nil"])
def test_an_entry_point_that_leads_nowhere_is_broken(good, entry):
    good.install("fewbits-bad", entries=[entry])
    good.write("fewbits_bad.py", "")
    only_bad(good.discover(), "broken")


def test_a_wrong_hook_signature_is_broken_in_pluggys_words(good):
    good.plugin("fewbits-bad", after="@hookimpl\ndef progress(label, percent): pass")
    record = only_bad(good.discover(), "broken")
    assert "for hook 'progress'" in record.reason
    assert "Argument(s) {'percent'} are declared in the hookimpl" in record.reason


def test_an_unknown_hook_is_broken_and_the_nearest_is_named(good):
    good.plugin("fewbits-bad", after="@hookimpl\ndef after_steps(step): pass")
    record = only_bad(good.discover(), "broken")
    assert "unknown hook 'after_steps'. Did you mean 'after_step'?" in record.reason


def test_a_hook_marked_optional_may_be_unknown(site):
    site.plugin(after="@hookimpl(optionalhook=True)\ndef of_a_later_core(): pass")
    assert site.discover().records[0].status == "active"


def test_a_hook_wrapper_is_broken(good):
    good.plugin("fewbits-bad", after="@hookimpl(wrapper=True)\ndef progress(label): yield")
    assert "hook 'progress' is a wrapper" in only_bad(good.discover(), "broken").reason


@pytest.mark.parametrize("value", ["fewbits_bad", "fewbits_bad:nothing"])
def test_a_plugin_without_a_hook_is_broken(good, value):
    good.install("fewbits-bad", entries=[f"bad = {value}"])
    good.write("fewbits_bad.py", "nothing = None\ndef algorithms(): return []")
    assert "@fewbits.hookimpl" in only_bad(good.discover(), "broken").reason


@pytest.mark.parametrize(
    "line", ["fewbits-core>=7", "Fewbits_Core (<0.0.1)", "fewbits.core==0.0.*"]
)
def test_an_incompatible_plugin_is_not_imported(good, line):
    good.plugin("fewbits-bad", before="raise RuntimeError", requires=[line, "numpy"])
    record = only_bad(good.discover(), "incompatible")
    assert record.reason.startswith("it needs fewbits-core ")
    assert "fewbits_bad" not in sys.modules


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["fewbits-core"],
        ["fewbits-core>=0.0.1,<99"],
        ["fewbits-core>=7; extra == 'later'"],
        ["fewbits-core>=7; python_version < '3'"],
        ["fewbits-core-extras>=7"],
    ],
)
def test_a_requirement_that_does_not_exclude_this_core_is_compatible(site, lines):
    site.plugin(requires=lines)
    assert site.discover().records[0].status == "active"


def test_a_core_before_its_release_is_within_a_plugins_bounds(site, monkeypatch):
    monkeypatch.setattr("fewbits.discovery.__version__", "0.2.0rc1")
    site.plugin(requires=["fewbits-core>=0.1,<0.3"])
    assert site.discover().records[0].status == "active"


def test_a_requirement_that_cannot_be_read_is_broken(good):
    good.plugin("fewbits-bad", requires=["fewbits-core >>> 1"])
    assert "'fewbits-core >>> 1' cannot be read" in only_bad(good.discover(), "broken").reason


def test_a_plugin_name_claimed_twice_goes_to_nobody_and_both_are_named(good):
    for name in ("fewbits-one", "fewbits-two"):
        good.plugin(name, before="raise RuntimeError", entries=[f"same = {name.replace('-', '_')}"])
    registry = good.discover()
    assert [(r.name, r.status) for r in registry.records] == [
        *(("good", "active"), ("same", "conflict"), ("same", "conflict")),
    ]
    for record in registry.records[1:]:
        assert (
            record.reason
            == "the plugin name 'same' is claimed by fewbits-one 1.0 and fewbits-two 1.0"
        )
    assert registry.load("algorithm", "good")


def test_disabling_one_distribution_ends_a_conflict(site):
    for name in ("fewbits-one", "fewbits-two"):
        site.plugin(name, entries=[f"same = {name.replace('-', '_')}"])
    registry = site.discover(disabled=["fewbits-two"])
    assert [r.status for r in registry.records] == ["active", "disabled"]
    assert registry.load("algorithm", "one")


def test_a_component_claimed_twice_goes_to_nobody_and_both_are_named(good):
    good.plugin("fewbits-one", offers="same")
    good.plugin("fewbits-two", offers="same")
    registry = good.discover()
    assert [r.status for r in registry.records] == ["active", "conflict", "conflict"]
    for record in registry.records[1:]:
        for word in ("'same'", "fewbits-one 1.0", "fewbits-two 1.0"):
            assert word in record.reason
    assert [r.component.name for r in registry.components()] == ["good"]
    with pytest.raises(PluginError, match=r"plugin 'one'.* is conflict: .*plugin 'two'"):
        registry.get("algorithm", "same")


def test_an_algorithm_and_a_quantizer_cannot_share_a_name_as_both_are_steps(site):
    site.plugin("fewbits-one", offers="same")
    site.plugin(
        "fewbits-two",
        after="""
        @hookimpl
        def quantizers():
            return [Component("quantizer", "same", "Another", "somewhere:Else")]
        """,
    )
    assert [r.status for r in site.discover().records] == ["conflict", "conflict"]


def test_a_clash_with_the_built_ins_leaves_them_alone(good):
    good.builtins()
    good.plugin("fewbits-uniform")
    good.install("fewbits-usurper", entries=["builtin = fewbits_good"])
    registry = good.discover()
    assert [(r.name, r.distribution, r.status) for r in registry.records] == [
        ("builtin", "fewbits-core", "active"),
        ("builtin", "fewbits-usurper", "conflict"),
        ("good", "fewbits-good", "active"),
        ("uniform", "fewbits-uniform", "conflict"),
    ]
    assert registry.get("quantizer", "uniform").record.name == "builtin"
    assert "fewbits-core" in registry.records[3].reason


@pytest.mark.parametrize("named", ["bad", "fewbits-bad", "Fewbits_Bad"])
def test_a_disabled_plugin_is_not_imported(good, named):
    good.plugin("fewbits-bad", before="raise RuntimeError")
    registry = good.discover(disabled=[named])
    assert only_bad(registry, "disabled").traceback == ""
    assert registry.unknown_disabled == ()
    with pytest.raises(PluginError, match=r"plugin 'bad' \(fewbits-bad 1.0\) is disabled"):
        registry.get("algorithm", "bad")


def test_a_name_to_disable_that_nobody_has_is_reported(good):
    assert good.discover(disabled=["goood", "good"]).unknown_disabled == ("goood",)


def test_the_environment_disables_plugins(good, monkeypatch):
    good.plugin("fewbits-bad")
    monkeypatch.setenv("FEWBITS_DISABLE", " bad, ,other")
    status = {r.name: r.status for r in from_environment(disabled={"good"}).records}
    assert (status["good"], status["bad"], status["builtin"]) == ("disabled", "disabled", "active")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("METADATA", b"Metadata-Version: 2.1\n"),
        ("entry_points.txt", b"[fewbits.plugins]\nbad\n"),
        ("entry_points.txt", b"[fewbits.plugins]\nbad = \xff\xfe\n"),
    ],
)
def test_unreadable_metadata_is_broken(good, file, content):
    good.plugin("fewbits-bad")
    (good.path / "fewbits_bad-1.0.dist-info" / file).write_bytes(content)
    registry = good.discover()
    assert registry.load("algorithm", "good")
    assert [r.status for r in registry.records] == ["active", "broken"]
    assert "fewbits_bad-1.0.dist-info" in registry.records[1].reason


def test_a_distribution_added_after_the_first_look_is_seen(good):
    """stevedore's cache would serve the first answer again, Python's that of the same instant."""
    assert [r.name for r in good.discover().records] == ["good"]
    before = good.path.stat()
    good.plugin("fewbits-late")
    os.utime(good.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    registry = good.discover()
    assert [r.name for r in registry.records] == ["good", "late"]
    assert registry.load("algorithm", "late")


def test_of_one_distribution_found_twice_the_first_on_the_path_counts(good, tmp_path):
    other = type(good)(tmp_path / "other")
    other.path.mkdir()
    other.install("fewbits-good", version="2.0")
    (record,) = discover(path=[str(good.path), str(other.path)]).records
    assert (record.version, record.status) == ("1.0", "active")


def test_plugins_come_in_the_same_order_wherever_they_lie(site):
    for name in ("fewbits-zeta", "fewbits-alpha", "fewbits-mid"):
        site.plugin(name)
    site.builtins()
    names = [r.name for r in site.discover().records]
    assert names == ["builtin", "alpha", "mid", "zeta"]
