"""Tracing a model with torch.fx into a graph in which nothing works in place; some modules may be kept whole in it."""

import copy
import operator
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import fx, nn
from torch.jit import ScriptModule
from torch.optim.swa_utils import AveragedModel
from torchvision.models.feature_extraction import NodePathTracer

from aevis_dash.core.inputs import refuse_other_inputs
from aevis_dash.core.keeping import held, refuse_keeping
from aevis_dash.core.shape_questions import AskedProxy, ShapeQuestions
from aevis_dash.domain import AevisError, reason_of

_OUT_OF_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
"""The operators that write over their first operand, each with the one that gives a new tensor in its place."""


_INNER: tuple[tuple[Callable[[nn.Module], bool], str, str], ...] = (
    (
        lambda module: isinstance(module, ScriptModule),
        "is compiled TorchScript, which torch.fx cannot see into",
        "Hand over the module it was made from",
    ),
    (
        lambda module: hasattr(module, "_orig_mod"),
        "was wrapped by torch.compile",
        "Hand over the module that was compiled, `._orig_mod`",
    ),
    (
        lambda module: isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel),
        "spreads a module over several devices",
        "Hand over the module inside, `.module`",
    ),
    (
        lambda module: isinstance(module, AveragedModel),
        "averages the weights of a module",
        "Hand over the module inside, `.module`",
    ),
)
"""The wrappers that hide a module's layers from torch.fx: how each is known, what it is, and what to hand over
instead."""


def refuse_wrapped(model: nn.Module) -> None:
    """Raise AevisError for a model that is in a wrapper that torch.fx cannot trace, or that holds such a wrapper."""
    for name, module in model.named_modules():
        for is_kind, what, remedy in _INNER:
            if is_kind(module):
                where = f"the module {name!r}" if name else "the model"
                raise AevisError(
                    f"{type(model).__name__} cannot be traced: {where}, of the class {type(module).__name__}, "
                    f"{what}, so its layers cannot be found. {remedy}."
                )


_LOOKS = frozenset({"clone", "cpu", "detach", "item", "numpy", "tolist"})
"""The methods by which a tensor is looked at or stored elsewhere."""


class _Tracer(NodePathTracer):
    """A tracer that keeps chosen modules whole, answers questions about shapes, and remembers in which module it could
    not go on."""

    def __init__(self, leaves: frozenset[str], questions: ShapeQuestions, functions: Sequence[Callable[..., Any]] = ()):
        super().__init__(autowrap_functions=tuple(functions))
        self._leaves, self._questions = leaves, questions
        self.failed_in = ""

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Give what a module holds, or its proxy."""
        if self._questions.asking:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Give the proxy of a node."""
        return AskedProxy(node, self)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """Give the arguments that the model is traced with: the image, and for everything else its default, because
        what is explained is the model as it is called with an image alone."""
        function, args = super().create_args_for_root(root_fn, is_module, concrete_args)
        for i, each in enumerate(args[2:], 2):
            if isinstance(each, fx.Proxy) and each.node.args:
                args[i] = each.node.args[0]
                self.graph.erase_node(each.node)
        return function, args

    def create_arg(self, a: Any) -> Any:
        """Make a value that the model gives part of the graph; of an object of a class of its own, its attributes."""
        try:
            return super().create_arg(a)
        except NotImplementedError:
            inside = dict(getattr(a, "__dict__", {}))
            if not any(isinstance(each, fx.Proxy) for each in inside.values()):
                raise
            return super().create_arg(inside)

    def answer(self, node: fx.Node) -> Any:
        """Give the value of a node that depends on sizes alone; None for any other."""
        return self._questions.answer(node)

    def length(self, node: fx.Node) -> int | None:
        """Give the length of a node's value where that is a shape; None for any other."""
        return self._questions.length(node)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Tell whether a value is true, where it depends on sizes alone."""
        found = self._questions.answer(obj.node)
        return super().to_bool(obj) if found is None else bool(found)

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        """Tell whether a module is kept whole."""
        return module_qualname in self._leaves or super().is_leaf_module(m, module_qualname)

    def is_kept(self, name: str, module: nn.Module) -> bool:
        """Tell whether a module is kept whole though torch.fx would trace it."""
        return self.is_leaf_module(module, name) and not fx.Tracer.is_leaf_module(self, module, name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Trace a call of a module."""
        if self._questions.asking:  # the model is run, not traced
            return forward(*args, **kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        except (Exception, SystemExit):
            self.failed_in = self.failed_in or self.path_of_module(m)
            raise


def _never_traced() -> tuple[tuple[type[nn.Module], ...], tuple[Callable[..., Any], ...]]:
    """The classes and functions that timm says cannot be traced; none where nothing has loaded timm."""
    features = sys.modules.get("timm.models._features_fx")
    if features is None:
        return (), ()
    return tuple(features.get_notrace_modules()), tuple(features.get_notrace_functions())


def leaves_in(model: nn.Module, leaves: Sequence[str]) -> frozenset[str]:
    """Find the modules that are to be kept whole.

    Args:
        model: the model.
        leaves: names of modules in the model, the ends of such names, or names of classes.

    Returns:
        The names of all modules that are meant.

    Raises:
        AevisError: a leaf names no module.
    """
    found: set[str] = set()
    named = {name: type(module).__name__ for name, module in model.named_modules() if name}
    for leaf in leaves:
        meant = {name for name, kind in named.items() if kind == leaf or f".{name}".endswith(f".{leaf}")}
        if not meant:
            near = get_close_matches(leaf, [*named, *named.values()], 1)
            raise AevisError(
                f"{type(model).__name__} has no module {leaf!r} to keep whole. "
                + (f"Did you mean {near[0]}? " if near else "")
                + "--leaf takes the name of a module in the model, the end of such a name, or a class."
            )
        found |= meant
    return frozenset(found)


def pure_graph(
    model: nn.Module, shape: tuple[int, int, int], leaves: Sequence[str] = ()
) -> tuple[fx.GraphModule, dict[fx.Node, str], tuple[str, ...]]:
    """Trace a model into a graph in which nothing works in place.

    Args:
        model: the model, in eval mode.
        shape: the (channels, height, width) of its input.
        leaves: the modules that are kept whole; see `leaves_in`.

    Returns:
        The graph, where in the model each node is called, and the names of the author's own modules that were kept
        whole.

    Raises:
        AevisError: torch.fx cannot trace the model; the message names the line.
    """
    before = held(model)
    tracer, graph = _trace(model, leaves_in(model, leaves), shape)
    refuse_keeping(model, before, shape)
    _forget_looks(graph)
    modules = {name: _without_inplace(module) for name, module in model.named_modules() if name}
    root: dict[str, Any] = dict(modules)
    kept: dict[str, None] = {}
    for node in graph.nodes:
        if node.op == "call_module" and tracer.is_kept(str(node.target), model.get_submodule(str(node.target))):
            kept[str(node.target)] = None
            _give_copies(node)
        elif _make_pure(node, model):
            _use_result(node)
        if node.op == "get_attr":
            root[node.target] = operator.attrgetter(node.target)(model)
    used = {node.target for node in graph.nodes if node.op in ("call_module", "get_attr")}
    module = fx.GraphModule({k: v for k, v in root.items() if k in used}, graph).eval()
    return module, dict(tracer.node_to_qualname), tuple(kept)


def _trace(model: nn.Module, leaves: frozenset[str], shape: tuple[int, int, int]) -> tuple[_Tracer, fx.Graph]:
    """Trace a model; what timm says cannot be traced is kept whole only where tracing fails, as much of it can be."""
    tracer = _Tracer(leaves, ShapeQuestions(model, shape))
    try:
        return tracer, _traced(tracer, model)
    except AevisError:
        raise
    except (Exception, SystemExit) as error:
        classes, functions = _never_traced()
        if not (classes or functions):
            raise AevisError(_untraceable(model, error, tracer.failed_in)) from error
    while True:
        tracer = _Tracer(leaves, ShapeQuestions(model, shape), functions)
        try:
            return tracer, _traced(tracer, model)
        except AevisError:
            raise
        except (Exception, SystemExit) as error:
            more = _around(model, tracer.failed_in, classes) - leaves
            if not more:
                raise AevisError(_untraceable(model, error, tracer.failed_in)) from error
            leaves |= more


def _traced(tracer: _Tracer, model: nn.Module) -> fx.Graph:
    """Trace a model that takes images alone."""
    try:
        return tracer.trace(model)
    finally:
        if isinstance(graph := getattr(tracer, "graph", None), fx.Graph):
            refuse_other_inputs(model, graph)


def _around(model: nn.Module, name: str, classes: tuple[type[nn.Module], ...]) -> frozenset[str]:
    """The modules of the nearest of some classes that a module is, or stands in."""
    words = name.split(".") if name else []
    for count in range(len(words), 0, -1):
        module = model.get_submodule(".".join(words[:count]))
        if isinstance(module, classes):
            return frozenset(other for other, each in model.named_modules() if type(each) is type(module))
    return frozenset()


def _forget_looks(graph: fx.Graph) -> None:
    """Take out what the author's code only looks at or stores elsewhere, as a hook does, and gives nothing on."""
    for node in reversed(graph.nodes):
        if node.op == "call_method" and node.target in _LOOKS and not node.users:
            graph.erase_node(node)


def _give_copies(node: fx.Node) -> None:
    """Let a module that is kept whole work on copies, as it may write over what it is given."""
    for given in node.all_input_nodes:
        with node.graph.inserting_before(node):
            node.replace_input_with(given, node.graph.call_function(torch.clone, (given,)))


def _without_inplace(module: nn.Module) -> nn.Module:
    """Give the module itself, or a shallow copy that shares everything but works out of place."""
    if not getattr(module, "inplace", False):
        return module
    twin = copy.copy(module)
    twin.inplace = False  # type: ignore[assignment]
    return twin


def _make_pure(node: fx.Node, model: nn.Module) -> bool:
    """Make the node work out of place; say whether it worked in place before."""
    target, kwargs = node.target, node.kwargs
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(target)), "inplace", False))
    if node.op == "call_function":
        node.target = _out_of_place(target)
    if node.op == "call_method" and isinstance(target, str) and re.fullmatch(r"[a-z]\w*[^_]_", target):
        node.target = target[:-1]
    if kwargs.get("inplace") is True:
        node.kwargs = {**kwargs, "inplace": False}
    return node.target != target or node.kwargs != kwargs


def _out_of_place(function: Any) -> Any:
    if function in _OUT_OF_PLACE:
        return _OUT_OF_PLACE[function]
    name = getattr(function, "__name__", "")
    written = name.endswith("_") and any(getattr(home, name, None) is function for home in (torch, nn.functional))
    return getattr(torch, name[:-1], None) or getattr(nn.functional, name[:-1], function) if written else function


def _use_result(node: fx.Node) -> None:
    """Let every later reader of the tensor that `node` wrote over read the node's result; the write may be a bare
    statement.
    """
    order = {other: i for i, other in enumerate(node.graph.nodes)}
    written = node.args[0] if node.args else None
    if isinstance(written, fx.Node):
        for user in [u for u in written.users if order[u] > order[node]]:
            user.replace_input_with(written, node)


def _untraceable(model: nn.Module, error: BaseException, failed_in: str) -> str:
    where = _frame_in_user_code(error.__traceback__)
    if isinstance(error, SystemExit):
        return f"{type(model).__name__} cannot be run{where}: {reason_of(error)}. Let its forward return or raise."
    return (
        f"torch.fx cannot trace {type(model).__name__}{where}: {reason_of(error)}. "
        "Rewrite that line without branching on tensor values, or wrap it in a function marked with torch.fx.wrap."
        + (
            f" Or keep the module whole in which it stands, which then has no maps: --leaf {failed_in}."
            if failed_in
            else ""
        )
    )


def _frame_in_user_code(trace: TracebackType | None) -> str:
    ours = Path(__file__).parts[-3]
    frames = [
        frame
        for frame in traceback.extract_tb(trace)
        if not any(part in ("torch", "fx", ours) for part in Path(frame.filename).parts[:-1])
        and Path(frame.filename).name != "feature_extraction.py"
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f" at {last.filename}, line {last.lineno} ({last.line})"


def ancestors(node: fx.Node) -> set[fx.Node]:
    """Find every node that `node` depends on, itself included."""
    return _closure(node, lambda n: n.all_input_nodes)


def descendants(node: fx.Node) -> set[fx.Node]:
    """Find every node that depends on `node`, itself included."""
    return _closure(node, lambda n: list(n.users))


def _closure(node: fx.Node, step: Callable[[fx.Node], list[fx.Node]]) -> set[fx.Node]:
    seen, queue = {node}, [node]
    while queue:
        for other in step(queue.pop()):
            if other not in seen:
                seen.add(other)
                queue.append(other)
    return seen
