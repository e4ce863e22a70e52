"""No function, class or constant is there that nothing refers to."""

import ast
import inspect
from collections import Counter
from pathlib import Path

import fastmotion

PACKAGE = Path(fastmotion.__file__).parent
CALLERS = [PACKAGE, PACKAGE.parent / "bench"]
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# What is there for others to call.
FOR_OTHERS = {
    "compile_ptx": "looks into kernels on machines without a GPU; the developer guide has it",
}


def trees(folders):
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def names_in(node):
    """Count the names that a piece of code refers to."""
    names = Counter()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            names[part.id] += 1
        elif isinstance(part, ast.Attribute):
            names[part.attr] += 1
    return names


def beginnings_in(tree):
    """Return strings that methods put names together from, as ``_kernel("add_moments")`` does."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {
        argument.value + "_"
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "_kernel"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def definitions(tree):
    """Yield functions, classes and constants with the node that defines them."""
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS):
            yield node.name, node
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            for part in ast.walk(target) if isinstance(target, ast.AST) else ():
                if isinstance(part, ast.Name):
                    yield part.id, node


def overrides(tree):
    """Return methods that a class above ours calls: of Numba's locators, or passed on to super."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            is_locator = any("_CacheLocator" in ast.unparse(base) for base in node.bases)
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and (
                    is_locator or f"super().{member.name}(" in ast.unparse(member)
                ):
                    yield member.name


def public_names():
    """Return all public names, and the members of public classes."""
    found = set()
    for name in fastmotion.__all__:
        value = getattr(fastmotion, name)
        names = value.__all__ if inspect.ismodule(value) else [name]
        found.update(names)
        for part in (getattr(value, name, None) for name in names):
            if inspect.isclass(part):
                found.update(name for name in dir(part) if not name.startswith("_"))
    return found


def unused(sources, callers, public):
    """Yield what is defined in sources and neither referred to nor public."""
    names, beginnings = Counter(), ()
    for _, tree in callers:
        names += names_in(tree)
        beginnings += tuple(beginnings_in(tree))
    for path, tree in sources:
        hooks = set(overrides(tree))
        for name, node in definitions(tree):
            is_hook = name in hooks or (name.startswith("_") and name.endswith("_"))
            is_called = names[name] > names_in(node)[name] or name.startswith(beginnings)
            if not (is_hook or is_called or name in public):
                yield f"{path.name}: {name}"


def test_everything_is_used():
    found = list(trees(CALLERS))
    package = [(path, tree) for path, tree in found if PACKAGE in path.parents]
    lonely = {line.split(": ")[1]: line for line in unused(package, found, public_names())}
    # A reason that is not needed any more is to go as well.
    assert lonely.keys() == FOR_OTHERS.keys(), lonely


def test_what_calls_itself_alone_is_found():
    tree = ast.parse("A = 1\nB = 2\ndef f(n):\n    return f(n - 1)\ndef g():\n    return B\ng()\n")
    assert list(unused([(Path("m.py"), tree)], [(Path("m.py"), tree)], set())) == [
        "m.py: f",
        "m.py: A",
    ]
