"""At least sixty architectures of torchvision and timm with random weights, each tried for what explanations rest on.

`python tests/architectures.py` tries all of them and prints the table of docs/architectures.md; names try only those.
"""

import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.execution import Network, NetworkPart
from aevis_dash.domain import AevisError, Preprocessing
from aevis_dash.geometry.dag import groups

SMALL, WHOLE = 64, 224
ARCHITECTURES: dict[str, int] = {
    "torchvision:alexnet": SMALL,
    "torchvision:convnext_tiny": SMALL,
    "torchvision:densenet121": SMALL,
    "torchvision:efficientnet_b0": SMALL,
    "torchvision:efficientnet_v2_s": SMALL,
    "torchvision:googlenet": SMALL,
    "torchvision:inception_v3": 96,
    "torchvision:maxvit_t": WHOLE,
    "torchvision:mnasnet0_5": SMALL,
    "torchvision:mobilenet_v2": SMALL,
    "torchvision:mobilenet_v3_small": SMALL,
    "torchvision:regnet_x_400mf": SMALL,
    "torchvision:regnet_y_400mf": SMALL,
    "torchvision:resnet18": SMALL,
    "torchvision:resnet50": SMALL,
    "torchvision:resnext50_32x4d": SMALL,
    "torchvision:shufflenet_v2_x0_5": SMALL,
    "torchvision:squeezenet1_1": SMALL,
    "torchvision:swin_t": SMALL,
    "torchvision:swin_v2_t": SMALL,
    "torchvision:vgg11": SMALL,
    "torchvision:vgg16_bn": SMALL,
    "torchvision:vit_b_32": WHOLE,
    "torchvision:wide_resnet50_2": SMALL,
    "timm:beit_base_patch16_224": WHOLE,
    "timm:cait_xxs24_224": WHOLE,
    "timm:coatnet_nano_rw_224": WHOLE,
    "timm:convmixer_768_32": SMALL,
    "timm:convnextv2_atto": SMALL,
    "timm:crossvit_tiny_240": 240,
    "timm:cspdarknet53": SMALL,
    "timm:cspresnet50": SMALL,
    "timm:davit_tiny": SMALL,
    "timm:deit_tiny_patch16_224": WHOLE,
    "timm:deit_tiny_distilled_patch16_224": WHOLE,
    "timm:dla34": SMALL,
    "timm:dpn48b": SMALL,
    "timm:edgenext_xx_small": SMALL,
    "timm:efficientformer_l1": WHOLE,
    "timm:efficientvit_b0": SMALL,
    "timm:fastvit_t8": SMALL,
    "timm:focalnet_tiny_srf": SMALL,
    "timm:ghostnet_100": SMALL,
    "timm:hardcorenas_a": SMALL,
    "timm:hgnet_tiny": SMALL,
    "timm:hrnet_w18_small": SMALL,
    "timm:inception_next_tiny": SMALL,
    "timm:inception_resnet_v2": 96,
    "timm:inception_v4": 96,
    "timm:levit_128s": WHOLE,
    "timm:mambaout_femto": SMALL,
    "timm:mixer_s32_224": WHOLE,
    "timm:mobilenetv3_small_050": SMALL,
    "timm:mobilevit_xxs": SMALL,
    "timm:nf_resnet26": SMALL,
    "timm:nfnet_l0": SMALL,
    "timm:pit_ti_224": WHOLE,
    "timm:poolformer_s12": SMALL,
    "timm:pvt_v2_b0": SMALL,
    "timm:regnetz_b16": SMALL,
    "timm:repvgg_a0": SMALL,
    "timm:res2net50_14w_8s": SMALL,
    "timm:resnest14d": SMALL,
    "timm:resnet10t": SMALL,
    "timm:resnetv2_50": SMALL,
    "timm:rexnet_100": SMALL,
    "timm:selecsls42b": SMALL,
    "timm:seresnet18": SMALL,
    "timm:skresnet18": SMALL,
    "timm:swin_tiny_patch4_window7_224": WHOLE,
    "timm:tf_efficientnet_b0": SMALL,
    "timm:tresnet_m": SMALL,
    "timm:vgg11": SMALL,
    "timm:vit_tiny_patch16_224": WHOLE,
    "timm:vit_small_patch32_224": WHOLE,
    "timm:vovnet39a": SMALL,
    "timm:xception41": SMALL,
    "timm:xcit_nano_12_p16_224": WHOLE,
}
"""Each architecture with the side of the images in pixels that it is tried on."""


_LOUD = ("googlenet", "inception_v3")
"""The models of torchvision that warn unless they are told whether to draw their weights."""


@dataclass(frozen=True)
class Tried:
    """What was found of one architecture.

    Attributes:
        layers: the number of its layers.
        maps: the number of its feature maps.
        groups: the number of its outermost groups.
        kept: the modules that were kept whole.
        off: the largest difference of the logits with all gates at 1 from the model's own, as a share of their range.
        silent: the maps whose values are 0 on all images.
        idle: the other maps whose gate has no gradient, although a value is not 0.
        part: the largest difference of the logits of partial runs from those of whole runs, as a share of the range.
        ungated: what bends numbers without a gate, in words.
        seconds: the time that trying it took.
    """

    layers: int
    maps: int
    groups: int
    kept: int
    off: float
    silent: int
    idle: int
    part: float
    ungated: str
    seconds: float


def made(name: str) -> nn.Module:
    """An architecture with random weights, in eval mode."""
    library, own = name.split(":")
    if library == "timm":
        import timm

        return _awake(timm.create_model(own, pretrained=False))
    return _awake(torchvision.models.get_model(own, weights=None, **({"init_weights": True} if own in _LOUD else {})))


def _awake(model: nn.Module) -> nn.Module:
    """The model in eval mode, with random numbers for those weights that begin as zeros: a last layer that says 0 of
    everything, and residual branches that are shut until they are trained."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith("bias") and not weight.any():
                weight.normal_(0, 0.5 if weight.dim() < 2 else weight.shape[1] ** -0.5)
    return model.eval()


def tried(name: str, size: int) -> Tried:
    """Try an architecture with random weights on two random images. Raises AevisError where it is refused."""
    begun = time.perf_counter()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = made(name)
        shown = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    with torch.no_grad():
        count = model(torch.zeros(1, 3, size, size)).shape[1]
    classifier = Classifier(model, Preprocessing((size, size)), [str(i) for i in range(count)])
    network, x = classifier.network, classifier.inputs(shown)
    with torch.no_grad():
        own = model(x)
        plain = network.logits(x, torch.ones(1, network.layers.n_maps))
    silent, idle = _without_effect(network, x)
    return Tried(
        len(network.layers),
        network.layers.n_maps,
        sum(group.level == 0 for group in groups(network.layers)),
        len(network.traced.kept),
        _apart(plain, own),
        silent,
        idle,
        max(_apart(_by_part(network, x, layer), plain) for layer in _some(len(network.layers))),
        network.traced.ungated_in_words,
        time.perf_counter() - begun,
    )


def _apart(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / (wanted.max() - wanted.min()))


def _some(count: int) -> list[int]:
    return sorted({0, count // 2, count - 1})


def _by_part(network: Network, x: Tensor, layer: int) -> Tensor:
    """The logits that the part behind a layer gives for the layer's own values."""
    part = NetworkPart(network, layer, None)
    state = part.prepare(x)
    with torch.no_grad():
        return part.run(state, state.start)


def _without_effect(network: Network, x: Tensor) -> tuple[int, int]:
    """The numbers of maps that are silent, and of others whose gate has no gradient on random sums of the logits."""
    gates = torch.ones(len(x), network.layers.n_maps, requires_grad=True)
    logits, values = network.record(x, range(len(network.layers)), gates)
    sums = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad((logits * sums).sum(), gates)
    fires = torch.cat([values[i].detach().abs().transpose(0, 1).flatten(1).sum(1) for i in sorted(values)])
    flat = (slope == 0).all(0)
    return int((fires == 0).sum()), int((flat & (fires > 0)).sum())


HEAD = "| architecture | layers | maps | groups | gates at 1 | partial run | silent | idle | kept whole | s |"


def in_a_row(name: str, found: Tried) -> str:
    """A line of the table of docs/architectures.md."""
    numbers = (
        found.layers,
        found.maps,
        found.groups,
        f"{found.off:.0e}",
        f"{found.part:.0e}",
        found.silent,
        found.idle,
    )
    return f"| {name} | {' | '.join(map(str, (*numbers, found.kept, round(found.seconds))))} |"


if __name__ == "__main__":
    print(HEAD, "|" + "---|" * HEAD.count(" | ") + "---|", sep="\n", flush=True)
    for each in sys.argv[1:] or ARCHITECTURES:
        try:
            print(in_a_row(each, tried(each, ARCHITECTURES[each])), flush=True)
        except AevisError as refused:
            print(f"| {each} | refused: {str(refused)[:300]} |", flush=True)
        except Exception as failed:  # a fault of ours, which the table shows beside all others
            print(f"| {each} | failed: {type(failed).__name__}: {str(failed)[:300]} |", flush=True)
