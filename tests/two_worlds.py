"""Second models of the small drawn world, for tests of two models side by side."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from aevis_dash.domain import ModelSpec
from aevis_dash.new_like import init_like
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace
from aevis_dash.world import train
from aevis_dash.world.network import MEAN, STD

DRAWN = "aevis_dash.world.network:drawn_world_resnet"


def network(workspace: Workspace) -> nn.Module:
    """The workspace's network of the drawn world, in eval mode."""
    return train.load(Path(workspace.model.weights))


def with_classes_moved(model: nn.Module, names) -> tuple[nn.Module, tuple[str, ...]]:
    """The same network with its outputs in another order, each at another place, and the names in that order."""
    order = np.roll(np.arange(len(names)), 3).tolist()
    with torch.no_grad():
        model.fc.weight.copy_(model.fc.weight[order].clone())
        model.fc.bias.copy_(model.fc.bias[order].clone())
    return model, tuple(names[i] for i in order)


def tuned(root: Path, steps: int = 12) -> nn.Module:
    """The workspace's network, fine-tuned for a few steps on its own adversarials, some of which no longer fool it."""
    workspace = Workspace(root)
    model, examples = network(workspace), workspace.examples()
    pictures = workspace.read([e.adversarial for e in examples])
    wanted = torch.tensor([e.true_label for e in examples])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    x = (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / std
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), wanted).backward()
        optimiser.step()
    return model.eval()


def second_world(root: Path, like: Path, model: nn.Module, classes=None):
    """The workbench of a workspace of the model on the images and pairs of another workspace."""
    root.mkdir()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, root / "second.safetensors")
    init_like(root, Workspace(like), ModelSpec(DRAWN, str(root / "second.safetensors")), classes)
    return open_workbench(root)
