"""House rules against dangerous calls: what a general scanner would look for, narrowed to what this house forbids.

A rule here has no exception list: who needs one of these writes the safe form instead. Tests are bound by the rules
that protect the machine they run on; the others they must be able to break, because they play the attacker.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from tests.house.tree import Module

Offences = Iterator[str]
_PICKLES = frozenset({"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal"})
_SAFE_LOADERS = frozenset({"SafeLoader", "CSafeLoader"})


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{_name(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _at(module: Module, node: ast.AST, words: str) -> str:
    return f"{module.path}:{getattr(node, 'lineno', 1)}: {words}"


def no_shell(module: Module) -> Offences:
    for call in _calls(module):
        shells = [word for word in call.keywords if word.arg == "shell" and not _is(word.value, False)]
        if shells or _name(call.func) in {"os.system", "os.popen", "asyncio.create_subprocess_shell"}:
            yield _at(module, call, "a shell: give the program and its arguments as a list")


def peers_are_verified(module: Module) -> Offences:
    words = "the peer must be verified: trust a named certificate or authority instead"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            for word in node.keywords:
                if word.arg in {"verify", "ssl", "verify_ssl", "check_hostname"} and _is(word.value, False):
                    yield _at(module, node, words)
            if _name(node.func).rpartition(".")[2] in {"_create_unverified_context", "_create_stdlib_context"}:
                yield _at(module, node, words)
        elif isinstance(node, ast.Attribute) and node.attr == "CERT_NONE":
            yield _at(module, node, words)
        elif isinstance(node, ast.Assign) and _is(node.value, False):
            unchecked = [target for target in node.targets if _name(target).endswith(".check_hostname")]
            yield from (_at(module, target, words) for target in unchecked)


def host_keys_are_pinned(module: Module) -> Offences:
    for call in _calls(module):
        for word in call.keywords:
            if word.arg == "known_hosts" and _is(word.value, None):
                yield _at(module, call, "known_hosts=None trusts any server: pin the host key of the bank's letter")


def yaml_is_loaded_safely(module: Module) -> Offences:
    for call in _calls(module):
        owner, _, method = _name(call.func).rpartition(".")
        if owner != "yaml" or method not in {"load", "load_all", "unsafe_load", "full_load"}:
            continue
        loaders = [word.value for word in call.keywords if word.arg == "Loader"] + call.args[1:2]
        if not any(_name(loader).rpartition(".")[2] in _SAFE_LOADERS for loader in loaders):
            yield _at(module, call, f"yaml.{method} builds objects: use yaml.safe_load")


def no_pickle(module: Module) -> Offences:
    for node in ast.walk(module.tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.partition(".")[0] in _PICKLES for name in names):
            yield _at(module, node, "a pickle runs code when it is read: use JSON")


def no_eval(module: Module) -> Offences:
    for call in _calls(module):
        if _name(call.func) in {"eval", "exec", "builtins.eval", "builtins.exec"}:
            yield _at(module, call, "eval and exec run whatever they are given")


def temporary_names_are_unpredictable(module: Module) -> Offences:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and _name(node.func) in {"tempfile.mktemp", "os.tempnam", "os.tmpnam"}:
            yield _at(module, node, "a name that others can take first: use tempfile.mkstemp or TemporaryDirectory")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(_SHARED):
            yield _at(module, node, "a fixed name in a shared directory: use tempfile")


_SHARED = tuple(f"/{folder}/" for folder in ("tmp", "var/tmp", "dev/shm"))

_EVERYWHERE = frozenset({no_shell, yaml_is_loaded_safely, temporary_names_are_unpredictable})


def beyond(check: Callable[[Module], Offences]) -> Callable[[str], bool]:
    """Where a rule holds: in the product, and for some in its tests as well."""
    return lambda path: check in _EVERYWHERE or not path.startswith("tests/")


# The check, what breaks it, what keeps it.
DANGERS = (
    (no_shell, "subprocess.run(command, shell=True)", "subprocess.run(['ls', path], check=True)"),
    (peers_are_verified, "session.get(url, ssl=False)", "session.get(url, ssl=context)"),
    (host_keys_are_pinned, "asyncssh.connect(host, known_hosts=None)", "asyncssh.connect(host, known_hosts=known)"),
    (yaml_is_loaded_safely, "yaml.load(text)", "yaml.load(text, Loader=yaml.SafeLoader)\nyaml.safe_load(text)"),
    (no_pickle, "import pickle", "import json"),
    (no_eval, "eval(text)", "ast.literal_eval(text)\nconnection.execute(query)"),
    (temporary_names_are_unpredictable, "tempfile.mktemp()", "tempfile.mkstemp()"),
)
MORE_DANGERS = (
    ("no_shell", "os.system('ls')"),
    ("no_shell", "subprocess.Popen(c, shell=1)"),
    ("no_shell", "await asyncio.create_subprocess_shell(c)"),
    ("peers_are_verified", "requests.get(url, verify=False)"),
    ("peers_are_verified", "context.verify_mode = ssl.CERT_NONE"),
    ("peers_are_verified", "context.check_hostname = False"),
    ("peers_are_verified", "ssl._create_unverified_context()"),
    ("yaml_is_loaded_safely", "yaml.load(text, Loader=yaml.Loader)"),
    ("yaml_is_loaded_safely", "yaml.unsafe_load(text)"),
    ("no_pickle", "from pickle import loads"),
    ("no_pickle", "import shelve"),
    ("no_eval", "exec(code)"),
    ("temporary_names_are_unpredictable", "Path('" + _SHARED[0] + "x').write_text('')"),
)
