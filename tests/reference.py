"""Slow twins of the core, written from the paper's formulas with loops over numpy; they use nothing of the project."""

import math

import numpy as np


def conv3x3(image, kernel, bias):
    """Stride 1, zero padding 1: (C, H, W) with (D, C, 3, 3) and (D,) to (D, H, W)."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(kernel), height, width))
    for d in range(len(kernel)):
        for row in range(height):
            for col in range(width):
                out[d, row, col] = (padded[:, row : row + 3, col : col + 3] * kernel[d]).sum() + bias[d]
    return out


def activations(weights, image, gates=None, skip=False, inside=None):
    """The activations after every layer of a net of `hand_wired`, for one image (3, H, W).

    `gates` holds one array (n_l,) per layer; `inside` a bool (H, W) where they hold, elsewhere they are 1.
    With `skip` the last layer adds the first layer's output before its ReLU.
    """
    value, found = image.astype(float), []
    for layer, (kernel, bias) in enumerate(weights["convs"]):
        value = conv3x3(value, kernel, bias)
        if skip and layer == len(weights["convs"]) - 1:
            value = value + found[0]
        value = np.maximum(value, 0)
        if gates is not None:
            for channel in range(len(value)):
                gated = value[channel] * gates[layer][channel]
                value[channel] = gated if inside is None else np.where(inside, gated, value[channel])
        found.append(value)
    return found


def logits(weights, image, gates=None, skip=False):
    """(K,) of one image (3, H, W): the head reads the mean of every map of the last layer."""
    last = activations(weights, image, gates, skip)[-1]
    matrix, bias = weights["head"]
    return np.array([sum(w * m.mean() for w, m in zip(row, last, strict=True)) for row in matrix]) + bias


def softmax(values):
    powers = [math.exp(v - max(values)) for v in values]
    return np.array([p / sum(powers) for p in powers])


def norm(vector):
    """Euclidean length, unsquared, as printed between datapaths in Eq. 4 and 5."""
    return math.sqrt(sum(float(v) ** 2 for v in vector))


def eq4_distance(first, second):
    """dis of Eq. 4 and 5."""
    return norm([a - b for a, b in zip(first, second, strict=True)])


def eq5(p, p_gated, z, given, lam, gamma):
    """||p(x) - p(x; z)||^2 + lambda |z|_1 + gamma sum over the given z_j of ||z_j - z||_2."""
    loss = sum((a - b) ** 2 for a, b in zip(p, p_gated, strict=True)) + lam * sum(abs(v) for v in z)
    return loss + gamma * sum(eq4_distance(other, z) for other in given)


def eq7_8(f, f_gated, z, lam, gamma):
    """The joint objective: the sum over the datapaths i of each one's Eq. 7, 8, with every j != i as its partner."""
    total = 0.0
    for i in range(len(z)):
        total += norm(np.ravel(f[i]) - np.ravel(f_gated[i])) ** 2 + lam * sum(abs(v) for v in z[i])
        total += gamma * sum(eq4_distance(z[j], z[i]) for j in range(len(z)) if j != i)
    return total


def mi_fgsm_step(source, current, momentum, gradient, epsilon, alpha, mu):
    """One step of Dong et al. for one image, pixel by pixel; epsilon and alpha in pixels of [0, 1]."""
    length = sum(abs(float(g)) for g in gradient.flat)
    moved, kept = np.empty(source.shape), np.empty(source.shape)
    for at in np.ndindex(source.shape):
        kept[at] = mu * momentum[at] + (gradient[at] / length if length else 0.0)
        step = current[at] + alpha * (int(kept[at] > 0) - int(kept[at] < 0))
        nearest = min(max(step, source[at] - epsilon), source[at] + epsilon)
        moved[at] = min(max(nearest, 0.0), 1.0)
    return moved, kept


def k_density(feature, reference, sigma):
    """mean over the reference of exp(-||h - h_i||^2 / sigma^2) (Pang et al.)."""
    total = 0.0
    for other in reference:
        squared = 0.0
        for a, b in zip(feature, other, strict=True):
            squared += (float(a) - float(b)) ** 2
        total += math.exp(-squared / sigma**2)
    return total / len(reference)


def auroc(normal, adversarial):
    """Share of the pairs whose adversarial scores higher, ties half."""
    wins = 0.0
    for a in normal:
        for b in adversarial:
            wins += 1.0 if b > a else 0.5 if b == a else 0.0
    return wins / (len(normal) * len(adversarial))
