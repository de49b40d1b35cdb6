"""Data flows one way: no module of the package imports one of a room above its own."""

import subprocess
import sys

import grimp


def build_graph():
    """The package's imports, but for those that only a type checker sees."""
    return grimp.build_graph("cmc", exclude_type_checking_imports=True)


ROOMS = [  # from the top; those side by side know nothing of each other
    ("cli",),
    ("api",),
    ("planning", "report", "prediction"),
    ("evaluation", "exchange"),
    ("training",),
    ("models", "demo"),
    ("features",),
    ("corpus",),
    ("hub", "metrics"),
    ("labels", "code"),
    ("files",),
]


def test_no_module_imports_one_above():
    graph = build_graph()
    illegal = graph.find_illegal_dependencies_for_layers(layers=ROOMS, containers={"cmc"})
    assert not illegal, sorted((found.importer, found.imported) for found in illegal)


def test_every_room_has_its_layer():
    graph = build_graph()
    assert {name.removeprefix("cmc.") for name in graph.find_children("cmc")} == {
        r for row in ROOMS for r in row
    }


def test_no_two_modules_import_each_other():
    graph = build_graph()
    both = [
        (one, other)
        for one in graph.modules
        for other in graph.find_modules_directly_imported_by(one)
        if one in graph.find_downstream_modules(one)
    ]
    assert not both


def test_planning_needs_neither_torch_nor_snakemake():
    code = (
        "import sys\nfrom cmc.planning import check, config, data, grid, targets, variants\n"
        "print({'torch', 'snakemake', 'pandas', 'transformers', 'cv2', 'librosa'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
