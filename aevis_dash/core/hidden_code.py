"""The code that the traced graph of a model calls without showing it: what a stored result also depends on.

That is the code of modules that are kept whole, of functions that are marked with torch.fx.wrap, and of hooks and
patched forwards of modules that torch.fx does not look into. Only code of the user's is told. What is installed or part
of Python is named.
"""

import hashlib
import re
import sys
import sysconfig
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dis import get_instructions
from enum import Enum
from functools import _lru_cache_wrapper, cached_property, partial
from pathlib import Path
from types import (
    CellType,
    CodeType,
    EllipsisType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    NoneType,
    SimpleNamespace,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.jit import ScriptFunction
from torch.nn.modules import module as torch_modules

_LIBRARIES = (sysconfig.get_paths()["stdlib"], str(Path(__file__).parents[1]))
"""The folders of Python's own modules and of this package."""
_PLAIN = (NoneType, bool, int, float, complex, bytes, EllipsisType, range, slice, torch.dtype, torch.device)
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)
_MADE_OF: tuple[tuple[type, tuple[str, ...]], ...] = (
    (MethodType, ("__func__", "__self__")),
    (staticmethod, ("__func__",)),
    (classmethod, ("__func__",)),
    (property, ("fget", "fset")),
    (cached_property, ("func",)),
    (partial, ("func", "args", "keywords")),
    (_lru_cache_wrapper, ("__wrapped__",)),
    (ScriptFunction, ("code",)),
    (Enum, ("name", "value")),
    (CodeType, ("co_code", "co_exceptiontable", "co_names", "co_argcount", "co_kwonlyargcount", "co_flags")),
)
"""Values that are told by some of their attributes."""
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_OF_TORCH = frozenset(vars(nn.Module()))


def hidden_code(graph: fx.GraphModule, run: Callable[[], object]) -> str:
    """Tell what code of the user's a graph calls without showing it, with the values that this code uses.

    The text does not depend on the process nor on where the files lie. A value that changes while the model runs, such
    as what a hook records, is not part of it.

    Args:
        graph: the traced model.
        run: runs the graph once, to see which values change.

    Returns:
        The text; "" where no code is hidden.
    """
    first = _Reader({})
    if not first.read(graph):
        return ""
    run()
    return _Reader(first.slots).read(graph)


def without_place(text: str) -> str:
    """Take out of a text the names that modules of the user's files have in memory, which depend on their paths."""
    return re.sub(r"_aevis_.*?_[0-9a-f]{12}", "_aevis", text)


def is_users(value: Any) -> bool:
    """Tell whether a function, class or module is the user's own, not installed and not part of Python."""
    if isinstance(value, type):
        held = [getattr(each, "__func__", each) for each in vars(value).values()]
        functions = [each for each in held if isinstance(each, FunctionType) and "__file__" in each.__globals__]
        if functions:
            return any(is_users(each) for each in functions)
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__ or ""
    spread = vars(value) if isinstance(value, ModuleType) else getattr(value, "__globals__", {})
    package = name.partition(".")[0]
    file = Path(spread.get("__file__") or "")
    if not file.is_absolute():  # as of classes, and of modules that a library makes as it runs, such as torch.ops
        if package == "__main__" or package in sys.stdlib_module_names:
            return package == "__main__"
        file = Path(getattr(sys.modules.get(package), "__file__", None) or "")
    installed = {"site-packages", "dist-packages"} & {*file.parts}
    return not installed and not any(file.is_relative_to(folder) for folder in _LIBRARIES)


class _Reader:
    """Reads hidden code; each function, class, module and object is told once, and is a number where it is used."""

    def __init__(self, before: dict[tuple[int, str], str]):
        self.slots: dict[tuple[int, str], str] = {}
        self._before = before
        self._queue: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._texts: list[str] = []
        self._open: list[int] = []
        self._users = 0
        self._state_known: set[int] = set()
        self._folders: set[str] = set()

    def read(self, graph: fx.GraphModule) -> str:
        """Tell the hidden code of a graph."""
        self._state_known = {id(part) for part in graph.modules()}
        everywhere = (torch_modules._global_forward_pre_hooks, torch_modules._global_forward_hooks)
        found = [self._hidden([list(hooks.values()) for hooks in everywhere])]
        for node in graph.graph.nodes:
            callee = graph.get_submodule(str(node.target)) if node.op == "call_module" else node.target
            found.append(self._hidden(callee))
        return without_place("\n".join([*filter(None, found), *self._texts]))

    def _hidden(self, value: Any) -> str:
        """Tell a value and what it leads to; "" where no code of the user's is among it."""
        users, mark = self._users, len(self._queue)
        text = self._tell(value)
        while len(self._texts) < len(self._queue):
            self._texts.append(self._inside(self._queue[len(self._texts)]))
        if self._users > users:
            return text
        self._forget(mark)
        return ""

    def _forget(self, mark: int) -> None:
        for each in self._queue[mark:]:
            del self._numbers[id(each)]
        del self._queue[mark:], self._texts[mark:]

    def _number(self, value: Any) -> str:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._queue)
            self._queue.append(value)
        return f"#{self._numbers[id(value)]}"

    def _slot(self, owner: Any, name: str, value: Any) -> str:
        """Tell what an owner holds under a name, unless it has changed since the first reading."""
        mark, text = len(self._queue), self._tell(value)
        plain = self.slots[id(owner), name] = re.sub(r"#\d+", "#", text)
        if self._before.get((id(owner), name), plain) != plain:
            self._forget(mark)
            return f"{name} moves"
        return f"{name}={text}"

    def _slots(self, owner: Any, held: Iterable[tuple[str, Any]]) -> str:
        return "; ".join(self._slot(owner, name, value) for name, value in sorted(held, key=lambda item: item[0]))

    def _tell(self, value: Any) -> str:
        kind = type(value)
        if kind is str:
            for folder in sorted(self._folders, key=len, reverse=True):
                value = value.replace(folder, "")
            return repr(value)
        if kind in _PLAIN or isinstance(value, np.generic):
            return repr(value)
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            return self._tell(value.tolist())
        if isinstance(value, Tensor | np.ndarray):
            return _numbers_of(value)
        if isinstance(value, _CONTAINERS):
            return self._contents(value)
        for one, names in _MADE_OF:
            if isinstance(value, one):
                told = [self._tell(getattr(value, name)) for name in names]
                return f"{kind.__name__}({', '.join(told)}{self._constants(value)})"
        if isinstance(value, nn.Module):
            return self._number(value)
        if isinstance(value, FunctionType) and "__wrapped__" in vars(value) and not is_users(value):
            return f"{value.__code__.co_name}({self._tell(vars(value)['__wrapped__'])}, {self._cells(value)})"
        named = isinstance(value, FunctionType | type | ModuleType)
        if is_users(value if named else kind) or isinstance(value, SimpleNamespace | Namespace):
            self._users += not isinstance(value, SimpleNamespace | Namespace)
            return self._number(value)
        return f"{kind.__module__}.{kind.__qualname__} {'' if isinstance(value, fx.Proxy) else _name(value)}"

    def _contents(self, value: Any) -> str:
        """Tell a container; a set in an order that is the same in every process."""
        if id(value) in self._open:
            return "itself"
        self._open.append(id(value))
        if isinstance(value, dict):
            told = sorted(f"{self._tell(key)}: {self._tell(one)}" for key, one in value.items())
        elif isinstance(value, set | frozenset):
            told = sorted(self._tell(one) for one in sorted(value, key=_first_sight))
        else:
            told = [self._tell(one) for one in value]
        self._open.pop()
        return f"{type(value).__name__}({', '.join(told)})"

    def _constants(self, code: Any) -> str:
        if not isinstance(code, CodeType):
            return ""
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        return f", {self._tell(code.co_consts)}, {arguments}"

    def _inside(self, value: Any) -> str:
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, nn.Module):
            return self._part(value)
        if isinstance(value, type):
            held = [(key, one) for key, one in vars(value).items() if not _is_made(key, one)]
            return f"class {self._tell(value.__bases__)} {self._slots(value, held)}"
        if isinstance(value, ModuleType):
            return f"module {self._slots(value, [item for item in vars(value).items() if not _is_made(*item)])}"
        return f"object {self._tell(type(value))} {self._slots(value, _attributes(value))}"

    def _function(self, function: FunctionType) -> str:
        spread, codes = function.__globals__, list(_codes(function.__code__))
        if spread.get("__file__"):
            self._folders.add(str(Path(spread["__file__"]).parent))
        names = {name for code in codes for name in code.co_names}
        used = [(name, spread[name]) for name in names if name in spread and not _is_made(name)]
        imports = {each.argval for code in codes for each in get_instructions(code) if each.opname == "IMPORT_NAME"}
        used += [(f"import {name}", sys.modules[name]) for name in imports if name in sys.modules]
        held = [("defaults", (function.__defaults__, function.__kwdefaults__)), *vars(function).items()]
        told = (self._tell(function.__code__), self._slots(function, held), self._cells(function))
        return f"function {'; '.join(told)}; {self._slots(spread, used)}"

    def _cells(self, function: FunctionType) -> str:
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        return "; ".join(self._slot(cell, name, _content(cell)) for name, cell in cells)

    def _part(self, module: nn.Module) -> str:
        """Tell a module by its class, its hooks, what it holds beside its state, and its parts."""
        hooks = [list(vars(module)[name].values()) for name in _HOOKS]
        state = dict(vars(module)["_buffers"])
        if id(module) in self._state_known:
            state = {name: each for name, each in state.items() if name in module._non_persistent_buffers_set}
        else:
            state |= vars(module)["_parameters"]
        own = [item for item in vars(module).items() if item[0] not in _OF_TORCH]
        parts = dict(vars(module)["_modules"])
        return f"part {self._tell((type(module), hooks, parts))} {self._slots(module, [*own, *state.items()])}"


def _numbers_of(value: Tensor | np.ndarray) -> str:
    """Tell a tensor or an array by its bytes."""
    if isinstance(value, Tensor):
        kind = f"{value.layout} {value.dtype} {tuple(value.shape)}"
        if value.layout is not torch.strided or value.is_meta or value.is_quantized:
            return kind
        flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        data = flat.view(torch.uint8).numpy().tobytes()
    else:
        kind, data = f"{value.dtype} {value.shape}", value.tobytes()
    return f"{kind} {hashlib.sha256(data).hexdigest()}"


def _is_made(name: str, value: Any = None) -> bool:
    """Tell whether Python makes what is held under a name; methods such as __call__ are the author's."""
    if not (name.startswith("__") and name.endswith("__")):
        return False
    return name.startswith("__annotate") or not isinstance(value, FunctionType | staticmethod | classmethod)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions which are written in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return "nothing yet"


def _attributes(value: Any) -> list[tuple[str, Any]]:
    """What an object holds, in its slots too."""
    slots = {
        name
        for each in type(value).__mro__
        for name, held in vars(each).items()
        if isinstance(held, MemberDescriptorType) and not _is_made(name)
    }
    held = [(name, getattr(value, name)) for name in slots if hasattr(value, name)]
    return [*held, *getattr(value, "__dict__", {}).items()]


def _name(value: Any) -> str:
    """The name of a function or class; "" for what has none."""
    names = [getattr(value, name, None) for name in ("__module__", "__qualname__", "__name__")]
    return ".".join(each for each in names if isinstance(each, str)) if isinstance(names[-1], str) else ""


def _first_sight(value: Any) -> str:
    """A text to put the members of a set in an order by before they are told."""
    return repr(value) if type(value) in (*_PLAIN, str) else getattr(value, "__qualname__", type(value).__qualname__)
