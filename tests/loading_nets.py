"""Small networks and ways of making them, for the tests of loading."""

import functools

import torch
from torch import nn


class Net(nn.Module):
    """A small classifier with batch norm."""

    def __init__(self, classes: int = 5, width: int = 4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = nn.BatchNorm2d(width)
        self.act = nn.ReLU()
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        """Give the logits."""
        return self.fc(self.act(self.bn(self.conv(x))).mean((2, 3)))


class Tied(nn.Module):
    """Two layers that hold one tensor."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        """Give the logits of the mean colours."""
        return self.second(torch.relu(self.first(x.mean((2, 3)))))


class Around(nn.Module):
    """Hold a network under the name `net`."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        """Give the network's logits."""
        return self.net(x)


class Split(nn.Module):
    """A network whose features may stand in a wrapper."""

    def __init__(self, wrap=nn.Identity):
        super().__init__()
        self.features = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        """Give the logits."""
        return self.fc(self.features(x).mean((2, 3)))


class Heads(nn.Module):
    """A network with attention between its positions, whose number of heads shows in neither graph nor weights."""

    def __init__(self, heads: int = 1):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 4, stride=8), nn.ReLU()
        self.mix = nn.MultiheadAttention(4, heads, batch_first=True)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        """Give the logits."""
        seen = self.act(self.conv(x)).flatten(2).transpose(1, 2)
        return self.fc(self.mix(seen, seen, seen, need_weights=False)[0].mean(1))


class Choosy(nn.Module):
    """Branch on the image, and write over what it is given."""

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.factor = factor
        self.mix = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        """Mix the maps."""
        if x.sum() > 1e9:
            return x
        x.mul_(self.factor)
        return torch.tanh(self.mix(x))


class Branched(nn.Module):
    """A network with a module that torch.fx cannot trace."""

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.conv, self.act, self.last = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ReLU()
        self.parts = nn.Sequential(Choosy(factor))
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        """Give the logits."""
        return self.fc(self.last(self.parts(self.act(self.conv(x)))).mean((2, 3)))


def doubled_if_dark(x):
    """Branch on the image."""
    return x * 2 if x.mean() < 1e9 else x


class Calling(nn.Module):
    """A network with a function that torch.fx cannot trace."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x):
        """Give the logits."""
        return self.fc(self.act(doubled_if_dark(self.conv(x))).mean((2, 3)))


def plain(classes: int = 5, width: int = 4, bias=True):
    """Make a network of a width."""
    model = Net(classes, width)
    model.fc.bias.requires_grad_(bias)
    return model


def split():
    """Make the network whose features are not wrapped."""
    return Split(lambda inner: inner)


def parallel_features():
    """Make the same, with its features in DataParallel."""
    return Split(nn.DataParallel)


def parallel():
    """Make a network in DataParallel."""
    return nn.DataParallel(seeded())


def compiled():
    """Make a network that torch.compile wrapped, inside DataParallel."""
    return nn.DataParallel(torch.compile(seeded()))


def averaged():
    """Make an average of a network's weights."""
    return torch.optim.swa_utils.AveragedModel(seeded())


def scripted():
    """Make a network in TorchScript."""
    return torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()))


def seeded(classes: int = 5):
    """Make a network with the same weights at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Net(classes).eval()


def on_meta():
    """Make a network whose weights hold no numbers yet."""
    with torch.device("meta"):
        return Net()


def halved():
    """Make a network in half precision."""
    return Net().half()


class Makers:
    """A class that holds a function."""

    @staticmethod
    def wide():
        """Make a wide network."""
        return Net(width=8)


partly = functools.partial(Net, width=6)
deeper = functools.partial(partly, classes=7)
net = seeded()
random_net = Net()


def spectral():
    """Its weight is computed of the state at each call, and is something else before the first one."""
    torch.manual_seed(3)
    model = Net()
    nn.utils.spectral_norm(model.fc)
    return model


def lazy():
    """The sizes of its weights are not known before the first call."""
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))
