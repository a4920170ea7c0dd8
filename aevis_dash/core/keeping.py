"""Models whose forward keeps what it computes of an image: whether it ever reads it again."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from aevis_dash.core.outputs import entries_of
from aevis_dash.domain import AevisError

Held = Mapping[str, Mapping[str, tuple[Any, Any]]]
"""The attributes of every module, by the module's name, each with a copy of it where it is a dict or a list."""


def held(model: nn.Module) -> Held:
    """What the modules of a model hold before it is traced."""
    return {
        name: {
            key: (value, value.copy() if isinstance(value, dict | list) else None)
            for key, value in vars(module).items()
        }
        for name, module in model.named_modules()
    }


def refuse_keeping(model: nn.Module, before: Held, shape: tuple[int, int, int]) -> None:
    """Take out of a model what tracing left in it, and refuse one whose answers depend on the images before.

    What is kept and never read, such as an attention map for later looks, does no harm.

    Args:
        model: the model after it was traced.
        before: what it held before.
        shape: the (channels, height, width) of its input.

    Raises:
        AevisError: the model says something else of an image after another one, or that could not be tried.
    """
    kept = [
        (f"{type(model).__name__}{f'.{name}' if name else ''}.{key}", module, key, before.get(name, {}))
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if any(isinstance(one, fx.Proxy) for one in _inside(value))
    ]
    for _, module, key, old in kept:
        if key not in old:
            del vars(module)[key]
            continue
        value, content = old[key]
        if isinstance(value, dict):
            value.clear()
            value.update(content)
        elif isinstance(value, list):
            value[:] = content
        vars(module)[key] = value
    if kept and (any(_has_proxies(module) for _, module, _, _ in kept) or _reads_what_it_kept(model, shape)):
        raise AevisError(
            f"{kept[0][0]} keeps what the forward computes of an image, so what is said of one image would depend on "
            "those before it. Compute it anew at each call, or make it a buffer of the weights."
        )


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
    else:
        yield value


def _has_proxies(module: nn.Module) -> bool:
    """Whether something is left where it could not be taken out."""
    return any(isinstance(one, fx.Proxy) for value in vars(module).values() for one in _inside(value))


def _reads_what_it_kept(model: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Whether a model answers otherwise about an image after it has seen another one."""
    device = next(iter(model.parameters()), torch.zeros(())).device
    first, second = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        with torch.no_grad():
            used, fresh = copy.deepcopy(model), copy.deepcopy(model)
            used(first.clone())
            answers = [list(_tensors(each(second.clone()))) for each in (used, fresh)]
    except Exception:  # the model's own code may raise anything; then it counts as one that could not be tried
        return True
    return not all(torch.equal(*pair) for pair in zip(*answers, strict=True))


def _tensors(answer: Any) -> Iterator[Tensor]:
    if isinstance(answer, Tensor):
        yield answer
    for each in entries_of(answer).values():
        yield from _tensors(each)
