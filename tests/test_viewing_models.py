"""Networks that take a view of what a convolution gives, as many tutorials write them, through the whole analysis."""

import numpy as np
import pytest
import torch
from conftest import shrink
from test_channels import MEAN, NAMES, SIZE, STD, drawn, normalised
from torch import nn

import aevis_dash
from aevis_dash.config import AttackParameters
from aevis_dash.domain import Intervention


class Viewing(nn.Module):
    """x.view needs its numbers in memory in the order of its axes."""

    def __init__(self, channels):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 6, 5), nn.Conv2d(6, 8, 5)
        self.relu, self.other = nn.ReLU(), nn.ReLU()
        side = (SIZE - 4) // 2 - 4
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(8 * side * side, 3)

    def features(self, x):
        return self.other(self.second(self.pool(self.relu(self.first(x)))))

    def forward(self, x):
        x = self.features(x)
        return self.head(x.view(x.size(0), -1))


def inputs(images):
    return normalised(images).clone(memory_format=torch.contiguous_format)


def trained(channels):
    labels = np.arange(90) % 3
    x = inputs([drawn(label, channels, 100 + i) for i, label in enumerate(labels)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Viewing(channels)
        solver = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(30):
            solver.zero_grad()
            nn.functional.cross_entropy(model(x), torch.from_numpy(labels)).backward()
            solver.step()
    return model.eval()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_of_a_convolution_goes_through_the_whole_analysis(channels, tmp_path):
    model, images = trained(channels), np.stack([drawn(i % 3, channels, i) for i in range(12)])
    labels = [NAMES[i % 3] for i in range(12)]
    how = {"mean": (MEAN,) * channels, "std": (STD,) * channels}
    bench = aevis_dash.init_workspace(tmp_path / "lab", model, images, labels, classes=NAMES, **how)
    shrink(bench.workspace)
    bench = aevis_dash.open_workspace(tmp_path / "lab", model=model)
    files = [entry.file for entry in bench.workspace.images]
    with torch.no_grad():
        wanted = model(inputs(images)).softmax(1).numpy()
    np.testing.assert_allclose([found.probabilities for found in bench.judging.predict(files)], wanted, atol=1e-6)
    bench.attacks.attack(bench.workspace.images, parameters=AttackParameters(epsilon=40, steps=10))
    fooled = next(judged for judged in bench.judging.judged_examples() if judged.misclassified)
    bench.datapaths.extract(fooled.example.id, nulls=False)
    assert bench.datapaths.triplet(fooled.example.id) is not None
    last = bench.layers.layers[-1].index
    found = bench.flips.verify(fooled.example.id, Intervention(last))
    with torch.no_grad():
        pair = bench.workspace.read([fooled.example.source, fooled.example.adversarial])
        source, adversarial = model.features(inputs(pair))
        adversarial[list(found.maps)] = source[list(found.maps)]
        assert int(model.head(adversarial.reshape(1, -1)).argmax()) == fooled.example.true_label
