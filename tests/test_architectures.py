"""Ten architectures of torchvision: what `python tests/architectures.py` tries of many more holds for each."""

import pytest
from architectures import ARCHITECTURES, tried

SAMPLE = {  # the layers and the maps, as counted in the modules of torchvision by hand for the first three
    "torchvision:alexnet": (7, 9344),
    "torchvision:resnet18": (17, 3904),
    "torchvision:vgg11": (10, 10944),
    "torchvision:squeezenet1_1": (26, 3944),
    "torchvision:shufflenet_v2_x0_5": (37, 2944),
    "torchvision:mobilenet_v3_small": (39, 7448),
    "torchvision:mnasnet0_5": (45, 9920),
    "torchvision:googlenet": (57, 7280),
    "torchvision:regnet_x_400mf": (67, 18272),
    "torchvision:swin_t": (36, 26496),
}


@pytest.mark.parametrize("name", SAMPLE)
def test_gates_and_partial_runs_give_the_models_own_logits(name):
    """With all gates at 1 the logits are the model's own to the bit, and a gate that does nothing is that of a silent
    map, but for few whose every path is shut by a later ReLU or ReLU6."""
    found = tried(name, ARCHITECTURES[name])
    assert (found.layers, found.maps) == SAMPLE[name]
    assert found.off == 0
    assert found.part < 2e-6
    assert found.idle <= 0.05 * found.maps
    assert found.silent < found.maps / 2
    assert found.kept == 0
    assert 2 <= found.groups <= 20
