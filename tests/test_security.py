"""Nothing in the package runs code that comes in a file or over a network."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
ALLOWED: dict[tuple[str, str], str] = {}  # (file, call): why nothing untrusted reaches it
NEVER = {
    "eval",
    "exec",
    "compile",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "cPickle.load",
    "cPickle.loads",
    "dill.load",
    "dill.loads",
    "cloudpickle.load",
    "cloudpickle.loads",
    "joblib.load",
    "marshal.load",
    "marshal.loads",
    "shelve.open",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader"}
MODULES = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}


def full_name(node, names):
    """Dotted name of what is called, through the imports of the file."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def imported(tree):
    """What the names in a file stand for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                root = one.name if one.asname else one.name.partition(".")[0]
                names[one.asname or root] = root
        elif isinstance(node, ast.ImportFrom) and node.module:
            for one in node.names:
                names[one.asname or one.name] = f"{node.module}.{one.name}"
    return names


def constant(node, keyword):
    """Value of an argument that is written out, or None."""
    for one in node.keywords:
        if one.arg == keyword:
            return one.value.value if isinstance(one.value, ast.Constant) else ...
    return None


def fault(node, names):
    """What is wrong with a call, or nothing."""
    name = full_name(node.func, names)
    if name in NEVER:
        return name
    if name == "torch.load" and constant(node, "weights_only") is not True:
        return "torch.load without weights_only=True"
    if name in {"numpy.load", "numpy.lib.npyio.load"} and constant(node, "allow_pickle"):
        return "numpy.load with allow_pickle"
    if name in {"yaml.load", "yaml.load_all"}:
        given = [one.value for one in node.keywords if one.arg == "Loader"] + node.args[1:]
        safe = any(full_name(one, names).rpartition(".")[2] in SAFE_LOADERS for one in given)
        return "" if safe else "yaml.load without a safe loader"
    return "a shell" if constant(node, "shell") else ""


def faults(text, file=""):
    """Lines of a file with a call that may run what it reads."""
    tree = ast.parse(text)
    names = imported(tree)
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        wrong = fault(node, names)
        if wrong and (file, wrong) not in ALLOWED:
            found.append(f"{file}:{node.lineno}: {wrong}")
    return found


def test_nothing_that_is_read_can_run():
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        found += faults(path.read_text(), str(path.relative_to(SOURCE)))
    assert not found, "\n".join(found)


def test_no_module_that_reads_code_is_imported():
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        roots = {name.partition(".")[0] for name in imported(ast.parse(path.read_text())).values()}
        found += [f"{path.relative_to(SOURCE)}: {name}" for name in sorted(roots & MODULES)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "eval('1')",
        "import pickle\npickle.loads(b'')",
        "from pickle import load as read\nread(file)",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x', weights_only=False)",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import os\nos.system('ls')",
    ],
)
def test_the_check_sees_each_kind(text):
    assert faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load('x', weights_only=True)",
        "import numpy as np\nnp.load('x', allow_pickle=False)\nnp.load('x')",
        "import yaml\nyaml.safe_load(text)\nyaml.load(text, Loader=yaml.SafeLoader)",
        "import subprocess\nsubprocess.run(['ls'])",
        "module.eval()\nimport re\nre.compile('x')\nimport torch\ntorch.compile(f)",
    ],
)
def test_the_check_leaves_the_rest_alone(text):
    assert not faults(text)
