"""A model by name, `torchvision:NAME`, `timm:NAME`, `module:factory` or `FILE.py:factory`, with its weights.

The weights come from a file or by name. `factories` makes the model, `weight_files` reads the file, `state_dicts` and
`choosing` find out which of its tensors are the model's, `published` tells the preprocessing and the class names that a
model's library publishes, and `devices` on which device models run.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from aevis_dash.core.loading.choosing import Misfit, Weights, put_into
from aevis_dash.core.loading.devices import device, device_name
from aevis_dash.core.loading.factories import (
    AUXILIARY,
    LIBRARIES,
    copy_of,
    is_file_name,
    is_instance,
    make,
    source_and_name,
    unwrapped,
)
from aevis_dash.core.loading.published import names_or_numbers, standard_class_names, standard_preprocessing
from aevis_dash.core.loading.state_dicts import Normaliser
from aevis_dash.core.loading.user_code import parse_arguments
from aevis_dash.core.loading.weight_files import read_weights
from aevis_dash.domain import IN_MEMORY, AevisError, ModelSpec, Preprocessing

__all__ = [
    "Loaded",
    "Model",
    "device",
    "device_name",
    "digests_of",
    "doubted_normaliser",
    "given_model",
    "load_model",
    "made_with",
    "names_or_numbers",
    "parse_arguments",
    "refuse_random",
    "standard_class_names",
    "standard_preprocessing",
]


Model = nn.Module
"""A network as its author wrote it, for code that does not import torch."""


@dataclass(frozen=True)
class Loaded:
    """A model that was loaded.

    Attributes:
        model: the model, in eval mode and in float32.
        notes: sentences that say what was done to load it and is no matter of course, such as a prefix taken off.
        normaliser: the mean and std that the file of weights holds beside the weights that were taken.
        classes: the number of classes for which a library's model was made in place of its own number.
    """

    model: nn.Module
    notes: tuple[str, ...] = ()
    normaliser: Normaliser | None = None
    classes: int | None = None


def load_model(spec: ModelSpec) -> Loaded:
    """Load a model with its weights, in eval mode and in float32, on the CPU unless its own code puts it elsewhere.

    Every parameter and buffer comes from the file of weights where one is named, but for counts of batches.

    Raises:
        AevisError: there is no such model or no such weights, they do not fit one another, or the model cannot be put
            into eval mode; the message says which.
    """
    if spec.in_memory:
        raise AevisError(
            f"The workspace was made of a model in memory ({spec.source.removeprefix(IN_MEMORY)}), which no command "
            "can load. Open it from Python, aevis_dash.open_workspace(folder, model=model), "
            "or make it anew with --model."
        )
    source, _ = source_and_name(spec)
    _refuse_unmet_weights(source, spec)
    if not (spec.weights and is_file_name(spec.weights)):
        if spec.weights_key:
            raise AevisError(
                f"--weights-key {spec.weights_key} chooses among a file's weights. Give a file by --weights."
            )
        model, notes = unwrapped(make(spec))
        return _finished(spec, Loaded(model, _of_wrappers(notes), classes=_own_number(spec, source)))
    classes, path = _own_number(spec, source), Path(spec.weights)
    model, wrappers = unwrapped(make(spec))
    spare = AUXILIARY if source == "torchvision" else ()
    weights = Weights(path, read_weights(path), spec.weights_key, spec.source, spare)
    more: tuple[str, ...] = ()
    try:
        taken = put_into(model.float(), weights)
    except Misfit as misfit:
        if source not in LIBRARIES or misfit.classes is None or classes is not None:
            raise
        classes = misfit.classes
        model = make(spec, num_classes=classes)
        taken = put_into(model.float(), weights)
        more = (f"the model was made for {classes} classes, as the file's last layer has so many",)
    return _finished(spec, Loaded(model, (*_of_wrappers(wrappers), *taken.notes, *more), taken.normaliser, classes))


def given_model(spec: ModelSpec, model: nn.Module) -> Loaded:
    """Take a copy of a model that Python code hands over, in eval mode and float32. So what becomes of the model later,
    such as by further training, changes no answer about it.

    Raises:
        AevisError: what is handed over is no model or cannot be copied, or the model stays in training mode.
    """
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise AevisError(
            f"The model is {what}, and no torch.nn.Module. Hand over the model itself, or name it by a text."
        )
    inner, notes = unwrapped(copy_of(model, f"The model ({type(model).__name__})"))
    return _finished(spec, Loaded(inner, _of_wrappers(notes)))


def _own_number(spec: ModelSpec, source: str) -> int | None:
    """The number of classes that the arguments ask a library for."""
    number = parse_arguments(spec.model_args).get("num_classes") if source in LIBRARIES else None
    return number if isinstance(number, int) else None


def _of_wrappers(said: Sequence[str]) -> tuple[str, ...]:
    return (f"taken off, as torch.fx cannot see through it: {', '.join(said)}",) if said else ()


def _finished(spec: ModelSpec, loaded: Loaded) -> Loaded:
    loaded.model.float()
    loaded.model.eval()
    _refuse_forced_training(loaded.model, spec.source)
    unmade = [name for name, one in loaded.model.named_parameters() if is_lazy(one)]
    if unmade:
        raise AevisError(
            f"{spec.source} has lazy modules whose sizes are not known yet (first {unmade[0]!r}). Let the function "
            "that makes it call it once, as in model(torch.zeros(1, 3, 224, 224)), or give a file of its weights."
        )
    return loaded


def _refuse_forced_training(model: nn.Module, source: str) -> None:
    """Raise AevisError where eval() has no effect, as where a module's own train() sets a mode of its choice."""
    training = [
        (name or type(model).__name__, type(module)) for name, module in model.named_modules() if module.training
    ]
    if training:
        name, kind = training[0]
        own = " Its class has a train() of its own." if "train" in vars(kind) else ""
        raise AevisError(
            f"{source} stays in training mode though eval() is called (first at {name!r}), so batch norm and dropout "
            f"would change with every call.{own} Let train(mode) set the mode that it is given."
        )


def made_with(spec: ModelSpec) -> str:
    """What of a spec may change a model's answers and stand neither in its graph nor in its weights; "" for nothing."""
    arguments = parse_arguments(spec.model_args)
    return json.dumps(arguments, sort_keys=True, default=repr) if arguments else ""


def doubted_normaliser(loaded: Loaded, preprocessing: Preprocessing) -> tuple[str, ...]:
    """A warning where the file of weights holds another mean and std than the images are normalised by."""
    found = loaded.normaliser
    if found is None:
        return ()
    low, high = preprocessing.value_range
    mine = (preprocessing.mean, preprocessing.std)
    same = all(
        np.allclose(np.broadcast_to(theirs, 3), ours, atol=1e-3)
        for theirs, ours in zip((found.mean, found.std), mine, strict=True)
    )
    if same and (low, high) == (0, 1):
        return ()
    return (
        f"The file of weights holds a normaliser that is not part of the model ({found.names[0]}): mean "
        f"{_numbers(found.mean)} and std {_numbers(found.std)}. The preprocessing of this workspace has mean "
        f"{_numbers(mine[0])} and std {_numbers(mine[1])}. "
        "If the network was trained behind that normaliser, write its numbers into [preprocessing].",
    )


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def refuse_random(spec: ModelSpec, model: nn.Module) -> None:
    """Refuse a model whose weights are random, since nothing that is found of it would hold the next time.

    Args:
        spec: where the model comes from.
        model: the model that was loaded from there.

    Raises:
        AevisError: loading the model again gives other numbers. Of the models of libraries this is asked only where no
            weights are named.
    """
    if spec.weights and source_and_name(spec)[0] in LIBRARIES:
        return
    again = _digests_elsewhere(spec) if is_instance(spec) else digests_of(spec)
    for name, digest in _digests(model).items():
        if again.get(name, digest) != digest:
            raise AevisError(
                f"{spec.source} makes other weights at every call (first {name!r}), so nothing that is found would "
                + (
                    "hold the next time. The file of weights does not hold them: let the model draw them by a seed."
                    if spec.weights
                    else "hold the next time. Give a file of weights, or let the function load them."
                )
            )


def digests_of(spec: ModelSpec) -> dict[str, str]:
    """Load a model, and give a digest of each tensor of its state by name."""
    return _digests(load_model(spec).model)


def _digests(model: nn.Module) -> dict[str, str]:
    """A digest of each tensor of a model by its name: of its state, and what else its modules hold, but for what hooks
    of torch.nn.utils, such as its spectral norm, compute of the state at each call."""
    computed = {
        f"{name}.{getattr(hook, 'name', '')}".lstrip(".")
        for name, module in model.named_modules()
        for hook in module._forward_pre_hooks.values()
        if type(hook).__module__.startswith("torch.nn.utils.")
    }
    beside = {
        f"{name}.{key}".lstrip("."): value
        for name, module in model.named_modules()
        for key, value in (*vars(module).items(), *module._buffers.items())
        if isinstance(value, torch.Tensor)
    }
    return {
        name: hashlib.sha256(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
        for name, tensor in {**beside, **model.state_dict()}.items()
        if isinstance(tensor, torch.Tensor)
        and not tensor.is_meta
        and tensor.layout == torch.strided
        and tensor.dim()
        and name not in computed
    }


def _digests_elsewhere(spec: ModelSpec) -> dict[str, str]:
    """The digests of a model in another process, which runs the module that holds it anew."""
    code = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from aevis_dash.core import loading; "
        "from aevis_dash.domain import ModelSpec; "
        "print('\\n' + json.dumps(loading.digests_of(ModelSpec(**json.loads(sys.argv[1])))))"
    )
    words = [json.dumps(asdict(spec)), json.dumps(sys.path)]
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    if run.returncode:
        why = (run.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise AevisError(f"{spec.source} cannot be loaded in another process: {why}. Name a function that makes it.")
    return json.loads(run.stdout.splitlines()[-1])


def _refuse_unmet_weights(source: str, spec: ModelSpec) -> None:
    """Raise AevisError for a library's model without weights, which would be random, and for a missing weights file."""
    if source in LIBRARIES and not spec.weights:
        raise AevisError(
            f"{spec.source} without weights is a random network. Give --weights: a file, or a name such as DEFAULT."
        )
    if source not in LIBRARIES and spec.weights and not is_file_name(spec.weights):
        raise AevisError(f"There is no weights file {spec.weights}. Mend `weights` in workspace.toml or --weights.")
