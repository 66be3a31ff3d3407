"""The floors of the house: a room imports only from lower floors (DESIGN.md, section 3)."""

import ast
from importlib.util import resolve_name
from pathlib import Path

import pytest

import promptad

# A floor's number, then a step on it: rooms on one step do not know each other.
FLOORS = {
    "errors": 1.0,
    "records": 1.1,
    "settings": 1.1,
    "files": 1.1,
    "data": 2.0,
    "prototypes": 2.0,
    "assignment": 2.0,
    "losses": 2.0,
    "metrics": 2.0,
    "moments": 2.0,
    "memory": 2.1,
    "scoring": 2.2,
    "decision": 2.3,
    "vocabulary": 2.3,
    "regions": 2.3,
    "backbone": 3.0,
    "prompts": 4.0,
    "checkpoints": 4.0,
    "detection": 4.1,
    "detector": 5.0,
    "single_anchor": 5.0,
    "training": 6.0,
    "evaluation": 6.0,
    "diagnostics": 6.0,
    "results": 6.0,
    "result_folder": 6.0,
    "saved_scores": 6.0,
    "saved_predictions": 6.0,
    "drawing": 6.0,
    "progress": 6.0,
    "overlays": 6.1,
    "judgement": 6.2,
    "systems": 6.1,
    "selection": 6.2,
    "fitting": 6.3,
    "comparison": 6.1,
    "report": 6.2,
    "options": 7.0,
    "measuring": 7.0,
    "arguments": 7.1,
    "runs": 7.1,
    "inspection": 7.1,
    "estimator": 7.2,
    "preparation": 7.2,
    "command_line": 7.3,
    "__init__": 7.4,
    "__main__": 7.4,
}
LEARNING = (
    *(
        "promptad.training",
        "promptad.single_anchor.training",
        "promptad.scoring",
        "promptad.memory",
        "promptad.decision",
    ),
    *("promptad.prompts.contexts", "promptad.single_anchor.prompts", "promptad.data.views"),
)
CHOOSING = ("promptad.systems", "promptad.selection")
LABELS = {"TestPicture", "ClassPictures"}
ROOT = Path(promptad.__file__).parent


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def room_of(module: str) -> str:
    """The file or package right under promptad; the package itself is its `__init__`."""
    return module.split(".")[1] if "." in module else "__init__"


def imported_names(path: Path, module: str) -> set[str]:
    """Every name that a module imports, wherever in it and in whatever form, in full."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            names |= {f"{source}.{alias.name}" for alias in node.names}
    return names


def imported_modules(module: str) -> set[str]:
    """The modules of promptad that a module imports: an imported name may be one, or lie in one."""
    names = {name for name in imported_names(MODULES[module], module) if name.split(".")[0] == "promptad"}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def reached_from(module: str) -> set[str]:
    """The module itself, what it imports, what that imports, and so on."""
    reached, waiting = set(), {module}
    while waiting:
        current = waiting.pop()
        reached.add(current)
        waiting |= imported_modules(current) - reached
    return reached


def words_of(path: Path) -> set[str]:
    """Every name that a module's code uses or imports."""
    words = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Attribute):
            words.add(node.attr)
        elif isinstance(node, ast.alias):
            words.add(node.name)
    return words


def test_every_file_lies_in_a_room_and_no_room_is_empty() -> None:
    assert {room_of(module) for module in MODULES} == FLOORS.keys()


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_from_lower_floors(module: str) -> None:
    room = room_of(module)
    others = {room_of(imported) for imported in imported_modules(module)} - {room}
    assert {other for other in others if FLOORS[other] >= FLOORS[room]} == set()


def test_every_form_of_import_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "prototypes.py"
    file.write_text(
        "import promptad.runs as r\nfrom promptad import metrics\nfrom . import files\n"
        "from .data.views import make_views\ndef late():\n    from promptad.training import train\n"
    )
    assert imported_names(file, "promptad.prototypes") == {
        "promptad.runs",
        "promptad.metrics",
        "promptad.files",
        "promptad.data.views.make_views",
        "promptad.training.train",
    }


def test_only_the_backbone_touches_open_clip() -> None:
    packages = {m: {name.split(".")[0] for name in imported_names(path, m)} for m, path in MODULES.items()}
    assert {room_of(module) for module, names in packages.items() if "open_clip" in names} == {"backbone"}


@pytest.mark.parametrize("room", ["data", "prototypes", "assignment", "losses", "scoring", "metrics"])
def test_tensors_and_files_do_without_clip(room: str) -> None:
    inside = [module for module in MODULES if room_of(module) == room]
    assert inside
    assert "backbone" not in {room_of(reached) for module in inside for reached in reached_from(module)}


@pytest.mark.parametrize("module", LEARNING)
def test_no_test_label_can_reach_what_learns(module: str) -> None:
    reached = reached_from(module)
    assert {room_of(other) for other in reached}.isdisjoint({"evaluation", "metrics", "detector", "runs"})
    for other in reached - {"promptad.records"}:
        assert LABELS.isdisjoint(words_of(MODULES[other])), other


@pytest.mark.parametrize("module", CHOOSING)
def test_no_test_label_can_reach_what_chooses_an_epoch(module: str) -> None:
    """The test oracle is a function that comes from outside; nothing else of a test split is known there."""
    reached = reached_from(module)
    assert {room_of(other) for other in reached}.isdisjoint({"evaluation", "metrics", "fitting", "measuring", "runs"})
    for other in reached - {"promptad.records"}:
        assert LABELS.isdisjoint(words_of(MODULES[other])), other


def test_only_fitting_hands_the_test_oracle_out() -> None:
    users = {room_of(module) for module, path in MODULES.items() if "oracle_figure" in words_of(path)}
    assert users == {"fitting"}
