"""The classifier: a model with its preprocessing and class names.

Everywhere outside this module pixels are numbers from 0 to 1, or 8-bit grey levels; the classifier makes the model's
input of them. What it explains are the model's logits, which it finds in the graph or recognises from the outputs.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aevis_dash.core import heads
from aevis_dash.core.execution import Network
from aevis_dash.core.heads import Head
from aevis_dash.core.hidden_code import hidden_code, is_users, without_place
from aevis_dash.core.inputs import channels_first
from aevis_dash.core.layer_graph import trace_model
from aevis_dash.core.probes import probe_images
from aevis_dash.domain import AevisError, LayerGraph, Prediction, Preprocessing, reason_of


class Classifier:
    """A frozen model, its layer graph and its fingerprint.

    Args:
        model: the model, in eval mode.
        preprocessing: how an image becomes the model's input.
        class_names: the name of each class, in the order of the model's outputs.
        leaves: the modules that are kept whole when the model is traced.
        made_with: what else the model was made with, such as its arguments, which the fingerprint then depends on.

    Attributes:
        network: the traced model, which can be run with gates.
        head: what the model makes of the logits at its end.
        fingerprint: a text that differs for models, preprocessing or class names whose results may differ.

    Raises:
        AevisError: the model is in training mode, its weights hold no numbers or are no tensors, it cannot be traced,
            or it does not give a row of finite float32 logits for each image, one for each class name.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        class_names: Sequence[str],
        leaves: Sequence[str] = (),
        made_with: str = "",
    ):
        _refuse_training_mode(model)
        self.preprocessing = preprocessing
        self.class_names = tuple(class_names)
        _refuse_no_numbers(model)
        traced = trace_model(model, preprocessing.input_size, leaves, preprocessing.channels)
        self.network = Network(traced)
        outputs = self._checked_outputs()
        seen = heads.recognise(outputs)
        self.head = seen if traced.head is Head.LOGITS else traced.head
        self._flattened = self.head is not seen and heads.flattens(self.head, seen)
        if self.head is Head.PROBABILITIES:
            traced.shapes.update(dict.fromkeys(heads.take_logarithm(traced.module), outputs[:1].shape))
        self.fingerprint = _fingerprint(self, made_with)

    @property
    def layers(self) -> LayerGraph:
        """The layers of the network and the edges between them."""
        return self.network.layers

    @property
    def ungated(self) -> str:
        """The operations that bend numbers of the image and are no layer, in words: each kind, and where; empty without
        any.
        """
        return self.network.traced.ungated_in_words

    @property
    def warnings(self) -> tuple[str, ...]:
        """The reasons to doubt explanations of this model, one sentence or more for each."""
        doubts = (heads.doubt(self.head), heads.TWICE.format(head=self.head) if self._flattened else None)
        return tuple(doubt for doubt in doubts if doubt is not None)

    @property
    def device(self) -> torch.device:
        """The device that the model's parameters are on."""
        return next(iter(self.network.traced.module.parameters()), torch.zeros(())).device

    def normalise(self, pixels: Tensor) -> Tensor:
        """Turn pixels (B, C, H, W) from 0 to 1 into the model's input, of the same shape; gradients pass through."""
        low, high = self.preprocessing.value_range
        mean, std = (
            pixels.new_tensor(numbers).reshape(1, -1, 1, 1)
            for numbers in (self.preprocessing.mean, self.preprocessing.std)
        )
        return (pixels * (high - low) + low - mean) / std

    def pixels(self, images: np.ndarray) -> Tensor:
        """Turn 8-bit images (B, H, W, C) into float32 pixels (B, C, H, W) from 0 to 1 on the model's device; also
        images that are kept as floats, whose grey levels need not be whole."""
        if images.dtype.kind == "f":
            pixels = torch.from_numpy((images.astype(np.float64) / 255).astype(np.float32))
            return channels_first(pixels.to(self.device))
        tensor = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        return channels_first(tensor).to(torch.float32) / 255

    def inputs(self, images: np.ndarray) -> Tensor:
        """Turn 8-bit images (B, H, W, C) into the model's input, float32 (B, C, H, W) on its device."""
        return self.normalise(self.pixels(images))

    def predict(self, images: np.ndarray, batch: int = 32) -> list[Prediction]:
        """Predict the classes of images.

        Args:
            images: 8-bit images of the model's input size, (B, H, W, C).
            batch: how many images are run at once.

        Returns:
            The prediction for each image, in their order.
        """
        with torch.no_grad():
            chunks = [
                self.network.logits(self.inputs(images[i : i + batch])).softmax(1).cpu().numpy()
                for i in range(0, len(images), batch)
            ]
        return [Prediction(row) for chunk in chunks for row in chunk]

    def predict_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """The predicted class, int (B,), of each image whose pixels are float32 (B, H, W, C) from 0 to 1, not rounded
        to 8 bits."""
        tensor = channels_first(torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device))
        with torch.no_grad():
            return self.network.logits(self.normalise(tensor)).argmax(1).cpu().numpy()

    @cached_property
    def seconds_of_pass(self) -> float:
        """The seconds that a run of one image and its gradient take on this machine, measured once.

        The first of three runs is left out, as it also waits for memory, and the shorter one of the others counts.
        """
        image = self.inputs(self._grey()).requires_grad_()
        taken = []
        for _ in range(3):
            begun = time.perf_counter()
            torch.autograd.grad(self.network.logits(image).sum(), image)[0].sum().item()
            taken.append(time.perf_counter() - begun)
        return min(taken[1:])

    def _run_once(self) -> None:
        """Run the network on one grey image."""
        with torch.no_grad():
            self.network.logits(self.inputs(self._grey()))

    def _grey(self) -> np.ndarray:
        """A plain grey image, uint8 (1, H, W, C)."""
        return np.full((1, *self.preprocessing.input_size, self.preprocessing.channels), 128, np.uint8)

    def _checked_outputs(self) -> Tensor:
        """Give the outputs (B, K) for a grey image and a few of coloured squares; raise AevisError where they are no
        logits.
        """
        images = np.concatenate([self._grey(), probe_images(self.preprocessing.input_shape)])
        with torch.no_grad():
            try:
                logits = self.network.logits(self.inputs(images))
            except (
                Exception,
                SystemExit,
            ) as error:  # The model's own operations may raise anything; one image alone has passed.
                raise AevisError(
                    f"The model takes one image, but not {len(images)} at once: {reason_of(error)}. Let its forward "
                    "take a batch of any size."
                ) from error
        if not isinstance(logits, torch.Tensor):
            raise AevisError(
                f"The model gives a {type(logits).__name__} in place of a tensor of logits. "
                "Wrap it in a module that returns the logits alone."
            )
        if logits.dtype != torch.float32:
            raise AevisError(f"The model gives logits of type {logits.dtype}. Let it return them as torch.float32.")
        if logits.dim() != 2 or len(logits) != len(images):
            raise AevisError(
                f"The model gives a tensor of shape {tuple(logits.shape)} for {len(images)} images. Let it give a row "
                "of logits for each image."
            )
        if logits.shape[1] != len(self.class_names):
            raise AevisError(
                f"The model gives {logits.shape[1]} outputs but there are {len(self.class_names)} class names. "
                "Give one class name per output, in the model's order."
            )
        if logits.shape[1] < 2:
            raise AevisError(
                "The model has one output, so every image would be of the one class. Let it give an output for each of "
                "its two classes, such as 0 and the logit."
            )
        if not torch.isfinite(logits).all():
            raise AevisError(
                "The model gives NaN or infinite logits for a plain grey image or for coloured squares. Check its "
                "weights (half-precision weights or missing batch-norm statistics are the usual causes)."
            )
        return logits


def _refuse_no_numbers(model: nn.Module) -> None:
    """Raise AevisError for weights on the device "meta", which knows shapes and no numbers."""
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.is_meta:
            raise AevisError(
                f"The model's weights hold no numbers (first {name!r}): they are on the device 'meta'. Make the model "
                "on the CPU and load its weights."
            )


def _refuse_training_mode(model: nn.Module) -> None:
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        raise AevisError(
            f"The model is in training mode (first at {training[0]!r}), where batch norm and dropout change "
            "with every call. Call model.eval() before handing it over."
        )


def _fingerprint(classifier: Classifier, made_with: str) -> str:
    digest = hashlib.sha256(made_with.encode())
    module = classifier.network.traced.module
    digest.update(without_place(module.code).encode())
    digest.update("".join(repr(m) for m in module.children()).encode())
    for name in classifier.network.traced.kept:
        digest.update(_inside(name, module.get_submodule(name)).encode())
    digest.update(hidden_code(module, classifier._run_once).encode())
    if any(axis != 1 for axis in classifier.network.traced.axes):  # how channels and places are found may change
        places = [(layer.channels, layer.height, layer.width, layer.special) for layer in classifier.layers.layers]
        digest.update(json.dumps(places).encode())
    made = classifier.network.traced.made
    if made:  # Another version may know others, and results name layers by their number.
        digest.update(json.dumps([node.name for node in made]).encode())
    digest.update(json.dumps([_describe(classifier.preprocessing), classifier.class_names], default=list).encode())
    for name, tensor in sorted(module.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            raise AevisError(
                f"The model's state has {name!r}, which is no tensor, as quantized modules have. Hand over the model "
                "as it was before it was quantized."
            )
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
        digest.update(np.ascontiguousarray(dense.cpu().numpy()).tobytes())
    return digest.hexdigest()[:32]


def _inside(name: str, kept: nn.Module) -> str:
    """Describe a module that is kept whole by what its results depend on beside its weights; of those of the user's
    own class, which `hidden_code` tells, the names alone."""
    plain = (bool, int, float, str, tuple, list)
    parts = [
        (own,)
        if is_users(type(part))
        else (own, type(part).__module__, type(part).__qualname__, repr(sorted(_plain_attributes(part, plain).items())))
        for own, part in kept.named_modules()
    ]
    return json.dumps([name, parts])


def _plain_attributes(module: nn.Module, plain: tuple[type, ...]) -> dict[str, str]:
    return {key: repr(value) for key, value in vars(module).items() if isinstance(value, plain) and key[0] != "_"}


def _describe(preprocessing: Preprocessing) -> dict[str, Any]:
    """Tell what of the preprocessing the results depend on.

    How images are fitted is left out where they are squeezed straight to the input. All of them were so before other
    ways were known, and the results of that time still hold.
    """
    fitted = {"fit", "resize_size", "interpolation"}
    straight = preprocessing.fit == "squeeze" and preprocessing.scaled_to == preprocessing.input_size
    described = vars(preprocessing) | {"resize_size": preprocessing.scaled_to}
    if straight and preprocessing.interpolation == "bilinear":
        return {name: value for name, value in described.items() if name not in fitted}
    return described
