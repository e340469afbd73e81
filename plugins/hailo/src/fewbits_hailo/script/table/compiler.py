"""Rows of commands for the compiler alone: how layers are placed and run."""

from fewbits_hailo.script.rows import GUIDE, ZOO, Command, Use

COMPILER = tuple(
    Command(name, Use.COMPILER, here, open=True, source=source)
    for name, here, source in (
        ("performance_param", "how fast it is to be", ZOO),
        ("allocator_param", "how resources are allocated", ZOO),
        ("context_switch_param", "splitting into contexts", ZOO),
        ("resources_param", "how much of the device it may take", ZOO),
        ("hef_param", "the executable's form", GUIDE),
        ("platform_param", "where the device sits", GUIDE),
        ("buffers", "buffers between layers", ZOO),
        ("buffer_calc_param", "buffers between layers", ZOO),
        ("place", "where layers lie", GUIDE),
        ("compilation_param", "how single layers are compiled", ZOO),
        ("defuse", "splitting a layer", ZOO),
        ("merge", "merging layers", ZOO),
        ("shortcut", "a path of its own between layers", GUIDE),
        ("portal", "a path between contexts", ZOO),
        ("l4_portal", "a path between contexts", ZOO),
        ("concat", "a concat of the compiler's", GUIDE),
        ("mux_demux", "joining and splitting paths", GUIDE),
        ("shape_splitter", "splitting by shape", GUIDE),
        ("format_conversion", "how values lie", ZOO),
        ("network_group", "networks that run together", ZOO),
        ("set_kv_cache_global_params", "caches of language models", ZOO),
    )
)
