"""The layers of the package: a package imports only from lower ones, and no test label reaches the training."""

import ast
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest
from helpers import Own

import promptad

# From the lowest layer up. Packages of one layer do not import each other.
LAYERS = """
errors, settings, structures, features < utils < data < runtime < backbones, visualization < prompts < models
< evaluation, results, export < engine, reports < estimator < integrations, serve < cli < __main__
"""
LOWEST = ("errors", "settings", "structures")  # with features, the only layer whose parts may import each other
MAX_FILES = 8  # directly in the package
WEB = ("fastapi", "uvicorn")  # what only the service needs
NEEDS_WEB = {"promptad.serve.app", "promptad.serve.gate"}
HEAVY = ("torch", "open_clip", "matplotlib", "scipy", "cv2", "rich")  # what the runtime does without
UNLABELLED = {
    *("images", "batches", "bit_depth", "squares", "transforms", "fingerprints", "disturbances", "reading", "tiles"),
    *("region_of_interest", "search", "corruptions", "arrays", "inputs"),
}  # modules of data
LABELLED = {"TestImage", "ClassDataset", "TestSplit"}  # classes that hold test labels

ROOT = Path(promptad.__file__).parent
LAYER_OF = {package.strip(): number for number, layer in enumerate(LAYERS.split("<")) for package in layer.split(",")}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def package_of(module: str) -> str:
    """The file or package directly in promptad that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def imported_names(path: Path, module: str) -> set[str]:
    """The full name of everything that a module imports, anywhere in it and in any form."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            names |= {f"{source}.{alias.name}" for alias in node.names}
    return names


@cache
def imported_modules(module: str) -> set[str]:
    """The modules of promptad that a module imports: an imported name may be a module, or be defined in one."""
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


def test_every_package_has_a_layer_and_few_files_are_at_the_top() -> None:
    packages = {package_of(module) for module in MODULES} - {""}
    assert packages <= LAYER_OF.keys()
    assert len(list(ROOT.glob("*.py"))) <= MAX_FILES
    for package in packages:
        assert list((ROOT / package).glob("*.py")) or (ROOT / f"{package}.py").is_file(), f"{package} is empty"


@pytest.mark.parametrize("module", [module for module in MODULES if module != "promptad"])
def test_a_package_imports_only_from_lower_layers(module: str) -> None:
    own = package_of(module)
    for other in {package_of(imported) for imported in imported_modules(module)} - {own, ""}:
        lowest = own in (*LOWEST, "features") and other in LOWEST
        assert lowest or LAYER_OF[other] < LAYER_OF[own], f"{own} imports {other}"


def test_no_modules_import_each_other() -> None:
    for module in MODULES:
        others = imported_modules(module) - {module, "promptad"}
        assert module not in {reached for other in others for reached in reached_from(other)}, module


def test_every_form_of_import_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "structures.py"
    file.write_text(
        "import promptad.engine.runs as r\nfrom promptad import settings\nfrom . import utils\n"
        "from .data.transforms import make_views\ndef late():\n    from promptad.models.registry import train\n"
    )
    assert imported_names(file, "promptad.structures") == {
        "promptad.engine.runs",
        "promptad.settings",
        "promptad.utils",
        "promptad.data.transforms.make_views",
        "promptad.models.registry.train",
    }


def test_only_the_backbones_touch_open_clip() -> None:
    imported = {m: {name.split(".")[0] for name in imported_names(path, m)} for m, path in MODULES.items()}
    assert {package_of(module) for module, names in imported.items() if "open_clip" in names} == {"backbones"}


@pytest.mark.parametrize(
    "module",
    [*(m for m in MODULES if package_of(m) in ("models", "prompts", "backbones")), "promptad.engine.model_selection"],
)
def test_no_test_label_reaches_training_or_model_selection(module: str) -> None:
    """The test oracle is a function given to the model selection, which has no other access to a test split."""
    for reached in reached_from(module):
        assert package_of(reached) not in ("evaluation", "engine", "results", "reports") or reached == module, reached
        if package_of(reached) not in ("structures", "data"):
            assert LABELLED.isdisjoint(words_of(MODULES[reached])), reached


def test_what_proposes_settings_knows_one_number_a_trial_and_no_label() -> None:
    for reached in reached_from("promptad.engine.proposals"):
        assert package_of(reached) not in ("data", "models", "evaluation", "reports"), reached
        assert package_of(reached) == "structures" or LABELLED.isdisjoint(words_of(MODULES[reached])), reached


def test_training_imports_only_data_modules_without_labels() -> None:
    for module in (m for m in MODULES if package_of(m) in ("models", "prompts", "backbones")):
        data = {reached.split(".")[2] for reached in reached_from(module) if reached.startswith("promptad.data.")}
        assert data <= UNLABELLED, module


def test_only_fit_hands_out_the_test_oracle() -> None:
    users = {module for module, path in MODULES.items() if "oracle_metric" in words_of(path)}
    assert users == {"promptad.engine.fit"}


@pytest.mark.parametrize(
    "module", ["promptad", *(module for module in MODULES if package_of(module) in (*LOWEST, "runtime", "serve"))]
)
def test_the_lowest_layer_the_runtime_and_the_service_load_numpy_and_pillow_alone(module: str) -> None:
    without = HEAVY if module in NEEDS_WEB else HEAVY + WEB
    code = f"import {module}, sys; sys.exit(any(name in sys.modules for name in {without}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_line_does_without_the_estimator() -> None:
    """Which imports scikit-learn's base, half a second."""
    users = {module for module in MODULES if "promptad.estimator" in imported_modules(module) and package_of(module)}
    assert {package_of(module) for module in users} <= {"estimator", "integrations"}


def test_images_are_read_without_torch(tmp_path: Path) -> None:
    code = "import sys, numpy; from promptad.data.images import read_image; "
    code += "read_image(numpy.zeros((4, 4, 3), numpy.uint8)); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0


def loaded_by(words: Sequence[str], folder: Path) -> tuple[set[str], str]:
    """The modules that a command has loaded at its end, in a process of its own, and what it has printed."""
    code = "import sys; from promptad.__main__ import main\n"
    code += f"sys.argv[1:] = {list(words)}\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
    code += "open('modules', 'w').write(' '.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=folder)
    assert found.returncode == 0, found.stderr
    return set((folder / "modules").read_text().split()), found.stdout + found.stderr


@pytest.mark.parametrize(
    "words",
    [
        *(["--help"], ["--version"], ["train", "--help"], ["trian"], ["train", "--epochss", "1"]),
        *(["predict", "nothere.pt", "x.png"], ["predict", ".", "nothere.png"], ["train", "--good", "nothere"]),
        *(["train", "--class-name", "carpet", "--data-root", "nothere"], ["train", "--n_pro", "0"], ["train", " "]),
    ],
)
def test_help_and_mistakes_load_little(words: list[str], tmp_path: Path) -> None:
    """Torch and what it brings take seconds: no help, and no word about a misspelt name, waits for them."""
    modules, printed = loaded_by(words, tmp_path)
    assert not modules & set(HEAVY) - {"rich"}
    assert printed


def test_a_prediction_loads_torch_and_little_beside(own: Own, tmp_path: Path) -> None:
    """Each of these takes a quarter of a second to a whole one; `tiny` needs none to judge a picture."""
    slow = {
        "open_clip",
        "torchvision",
        "timm",
        "torch._dynamo",
        "sklearn",
        "scipy.stats",
        "matplotlib",
        "huggingface_hub",
    }
    modules, printed = loaded_by(["predict", str(own.part), str(own.new / "good.png")], tmp_path)
    assert "1 good" in printed
    assert "torch" in modules
    assert not modules & (slow | {"huggingface_hub"})


def test_the_public_names_are_loaded_when_they_are_used() -> None:
    assert set(dir(promptad)) == set(promptad.__all__)
    assert promptad.PromptAD.__module__ == "promptad.estimator.promptad"
    with pytest.raises(AttributeError, match="Detector"):
        _ = promptad.Detector


def test_messages_outside_the_command_line_name_settings_not_flags() -> None:
    """A flag may be part of a whole command, such as "promptad train --good"; otherwise a setting is in backticks."""
    for module, path in MODULES.items():
        if package_of(module) == "cli" or module.endswith(".__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                assert not re.search(r"(^|\s)--[a-z]", text) or "promptad " in text, f"{module}: {text}"
