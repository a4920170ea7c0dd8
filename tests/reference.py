"""Slow twins of the core, written from the paper's formulas with loops over numpy; they use nothing of the project."""

import colorsys
import itertools
import math

import numpy as np


def conv3x3(image, kernel, bias):
    """Stride 1, zero padding 1: (C, H, W) with (D, C, 3, 3) and (D,) to (D, H, W)."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(kernel), height, width))
    for d in range(len(kernel)):
        out[d] += bias[d]
        for row in range(3):
            for col in range(3):
                seen = padded[:, row : row + height, col : col + width]
                out[d] += sum(weight * plane for weight, plane in zip(kernel[d, :, row, col], seen, strict=True))
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


def activations_after(weights, image, layer, value, skip=False):
    """The activations of every layer for one image (3, H, W), with `value` (n_l, H, W) put in place of a layer's."""
    found = [*activations(weights, image, skip=skip)[:layer], value]
    for kernel, bias in weights["convs"][layer + 1 :]:
        value = conv3x3(found[-1], kernel, bias)
        if skip and len(found) == len(weights["convs"]) - 1:
            value = value + found[0]
        found.append(np.maximum(value, 0))
    return found


def between(foil, own, gates):
    """b + z (a - b): every map k of a layer at the share gates[k] of its way from the foil's b to the image's own a."""
    return np.array([b + z * (a - b) for b, a, z in zip(foil, own, gates, strict=True)])


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


def mi_fgsm_step(source, current, momentum, gradient, epsilon, alpha, mu, region=None):
    """One step of Dong et al. for one image, pixel by pixel; epsilon and alpha in pixels of [0, 1].

    Outside `region` (H, W) the gradient counts as 0 and no pixel moves.
    """
    inside = [at for at in np.ndindex(source.shape) if region is None or region[at[1:]]]
    length = sum(abs(float(gradient[at])) for at in inside)
    moved, kept = current.copy(), mu * momentum
    for at in inside:
        kept[at] = mu * momentum[at] + (gradient[at] / length if length else 0.0)
        step = current[at] + alpha * (int(kept[at] > 0) - int(kept[at] < 0))
        nearest = min(max(step, source[at] - epsilon), source[at] + epsilon)
        moved[at] = min(max(nearest, 0.0), 1.0)
    return moved, kept


def pgd_step(source, current, gradient, epsilon, alpha, region=None):
    """One step of Madry et al. for one image, pixel by pixel; epsilon and alpha in pixels of [0, 1].

    Outside `region` (H, W) no pixel moves.
    """
    moved = current.copy()
    for at in np.ndindex(source.shape):
        if region is None or region[at[1:]]:
            step = current[at] + alpha * (int(gradient[at] > 0) - int(gradient[at] < 0))
            nearest = min(max(step, source[at] - epsilon), source[at] + epsilon)
            moved[at] = min(max(nearest, 0.0), 1.0)
    return moved


def fgsm(source, gradient, epsilon):
    """Goodfellow et al. for one image, pixel by pixel: x + epsilon sign grad, as pixels of [0, 1]."""
    moved = source.copy()
    for at in np.ndindex(source.shape):
        step = source[at] + epsilon * (int(gradient[at] > 0) - int(gradient[at] < 0))
        moved[at] = min(max(step, 0.0), 1.0)
    return moved


def l2_length(values):
    """The L2 norm of an array of numbers, of any shape."""
    return math.sqrt(math.fsum(float(v) ** 2 for v in values.ravel()))


def pgd_l2_step(source, current, gradient, epsilon, alpha, region=None):
    """One step of Madry et al. in L2 for one image: a normalised gradient step, then the projection onto the ball.

    Outside `region` (H, W) the gradient counts as 0 and no pixel moves. The projection comes first, then the clipping.
    """
    inside = [at for at in np.ndindex(source.shape) if region is None or region[at[1:]]]
    length = l2_length(np.array([gradient[at] for at in inside]))
    change = current - source
    for at in inside:
        change[at] += alpha * gradient[at] / length if length else 0.0
    own = l2_length(change)
    moved = current.copy()
    for at in inside:
        projected = source[at] + change[at] * (epsilon / own if own > epsilon else 1.0)
        moved[at] = min(max(projected, 0.0), 1.0)
    return moved


def l2_rounding(pixels, source, epsilon):
    """Grey levels in an L2 ball: changes are shortened to whole levels, then one level more for those with the largest
    remainder, while the change grows no longer than it was (by 0.05 %) or than epsilon (of pixels from 0 to 1)."""
    change = {at: float(pixels[at] - source[at]) for at in np.ndindex(source.shape)}
    change = {at: c if abs(c) >= 1e-3 else 0.0 for at, c in change.items()}
    whole = {at: math.floor(abs(c)) for at, c in change.items()}
    most = min(1.001 * math.fsum(c * c for c in change.values()), (255 * epsilon) ** 2 + 1e-6)
    for at in sorted(change, key=lambda at: whole[at] - abs(change[at])):
        longer = sum(w * w for w in whole.values()) + 2 * whole[at] + 1
        if longer > most or abs(change[at]) == whole[at]:
            break
        whole[at] += 1
    stored = source.copy()
    for at, c in change.items():
        stored[at] = source[at] + math.copysign(whole[at], c)
    return stored


def gaussian_blur(image, sigma):
    """Each pixel as the mean of those up to 4 sigma away, weighted by a Gaussian; beyond the edge its nearest pixel."""
    reach = int(4 * sigma + 0.5)
    weights = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-reach, reach + 1)]
    total, (height, width, _) = sum(weights), image.shape
    found = np.zeros(image.shape)
    for row, column in np.ndindex(height, width):
        for i, down in enumerate(range(-reach, reach + 1)):
            for j, right in enumerate(range(-reach, reach + 1)):
                at = min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)
                found[row, column] += weights[i] * weights[j] / total**2 * image[at]
    return found


def brighter(image, amount):
    """Pixels whose value of HSV has grown by an amount, up to 1, pixel by pixel through the colour space."""
    found = np.zeros(image.shape)
    for at in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[at])
        found[at] = colorsys.hsv_to_rgb(hue, saturation, min(value + amount, 1.0))
    return found


def less_contrast(image, share):
    """Pixels whose distance from the mean of their channel has shrunk to a share of it, pixel by pixel."""
    found = np.zeros(image.shape)
    for channel in range(3):
        mean = math.fsum(image[..., channel].ravel()) / image[..., channel].size
        for at in np.ndindex(image.shape[:2]):
            found[(*at, channel)] = min(max((image[(*at, channel)] - mean) * share + mean, 0.0), 1.0)
    return found


def stochastic_rounding(pixels, source, thresholds):
    """Grey levels: the source's, one higher or lower where the pixel's change that way reaches its threshold."""
    stored = source.copy()
    for at in np.ndindex(source.shape):
        if pixels[at] - source[at] >= thresholds[at]:
            stored[at] = source[at] + 1
        elif source[at] - pixels[at] >= thresholds[at]:
            stored[at] = source[at] - 1
    return stored


def attack_margin(logits, label, targeted=False):
    """The largest logit of a wrong class less the right one's; towards a target its logit less the largest other."""
    others = max(logit for i, logit in enumerate(logits) if i != label)
    return logits[label] - others if targeted else others - logits[label]


def k_density(feature, reference, sigma):
    """mean over the reference of exp(-||h - h_i||^2 / sigma^2) (Pang et al.)."""
    total = 0.0
    for other in reference:
        squared = 0.0
        for a, b in zip(feature, other, strict=True):
            squared += (float(a) - float(b)) ** 2
        total += math.exp(-squared / sigma**2)
    return total / len(reference)


def direction(feature):
    """h / ||h||_2, or h where it is 0 (the score of the direction is the K-density of these)."""
    length = math.sqrt(sum(float(v) ** 2 for v in feature))
    return [float(v) / length if length else 0.0 for v in feature]


def bootstrap_auroc(normal, adversarial, source, drawn):
    """The AUROC of each sample of sources in `drawn`, every adversarial of a source as often as the source."""
    found = []
    for sample in drawn:
        a = [normal[place] for place in sample if math.isfinite(normal[place])]
        b = [s for place in sample for s, of in zip(adversarial, source, strict=True) if of == place]
        b = [s for s in b if math.isfinite(s)]
        if a and b:
            found.append(auroc(a, b))
    return found


def auroc(normal, adversarial):
    """Share of the pairs whose adversarial scores higher, ties half."""
    wins = 0.0
    for a in normal:
        for b in adversarial:
            wins += 1.0 if b > a else 0.5 if b == a else 0.0
    return wins / (len(normal) * len(adversarial))


def eq9_distance(a, b, norm_name):
    """||a - b||_2, the same / sqrt(number of maps), or 1 - cosine, of the gates of one level."""
    if norm_name == "l2":
        return norm([u - v for u, v in zip(a, b, strict=True)])
    if norm_name == "width":
        return norm([u - v for u, v in zip(a, b, strict=True)]) / math.sqrt(len(a))
    if norm(a) == 0 or norm(b) == 0:
        return 0.0 if norm(a) == norm(b) else 1.0
    return 1 - sum(float(u) * float(v) for u, v in zip(a, b, strict=True)) / (norm(a) * norm(b))


def eq9(adv, src, tar, norm_name):
    """diff(i) of every level i; the gates come as one array per level."""
    found = []
    for a, s, t in zip(adv, src, tar, strict=True):
        found.append(eq9_distance(a, s, norm_name) - eq9_distance(a, t, norm_name))
    return found


def eq10(diff, r):
    """n_l == r, n_l counting the growing steps among the last r levels, and diff(m) the maximum of all."""
    n_l = 0
    for i in range(len(diff) - r, len(diff)):
        if diff[i] > diff[i - 1]:
            n_l += 1
    return n_l == r and all(diff[-1] >= d for d in diff)


def growth_start(diff):
    """The first level from which every later step grows."""
    for start in range(len(diff)):
        if all(diff[i] > diff[i - 1] for i in range(start + 1, len(diff))):
            return start
    raise AssertionError("the last level alone has no step")


def top_k(patterns, similarities, k):
    """How many of the k most similar show the pattern; the most similar is taken k times, the earliest of equals."""
    left, hits = list(range(len(patterns))), 0
    for _ in range(k):
        best = left[0]
        for i in left:
            if similarities[i] > similarities[best]:
                best = i
        left.remove(best)
        hits += int(patterns[best])
    return hits


def drift(d2, d3):
    """Mean of d2 / (d2 + d3), 0.5 where both are 0, over the last third of the levels minus the first third."""
    third = max(1, len(d2) // 3)
    ways = [0.5 if a + b == 0 else a / (a + b) for a, b in zip(d2, d3, strict=True)]
    first, last = ([w for w in part if not math.isnan(w)] for part in (ways[:third], ways[len(ways) - third :]))
    return sum(last) / len(last) - sum(first) / len(first)


def patched_logits(weights, receiver, donor, layer, chosen, skip=False):
    """(K,) of the receiver (3, H, W) with the donor's activations at the maps of `layer` where `chosen` (n_l,) is true.

    Layers before `layer` keep the receiver's values, also where a skip carries them around it.
    """
    found, others = activations(weights, receiver, skip=skip), activations(weights, donor, skip=skip)
    for channel in range(len(chosen)):
        if chosen[channel]:
            found[layer][channel] = others[layer][channel]
    for later in range(layer + 1, len(found)):
        value = conv3x3(found[later - 1], *weights["convs"][later])
        if skip and later == len(found) - 1:
            value = value + found[0]
        found[later] = np.maximum(value, 0)
    matrix, bias = weights["head"]
    return np.array([sum(w * m.mean() for w, m in zip(row, found[-1], strict=True)) for row in matrix]) + bias


def nudged_logits(weights, image, layer, place, by, skip=False):
    """(K,) of one image (3, H, W) with the activation at `place` (channel, row, column) of a layer raised by `by`."""
    found, matrix, bias = activations(weights, image, skip=skip), *weights["head"]
    found[layer][place] += by
    for later in range(layer + 1, len(found)):
        value = conv3x3(found[later - 1], *weights["convs"][later])
        if skip and later == len(found) - 1:
            value = value + found[0]
        found[later] = np.maximum(value, 0)
    return np.array([sum(w * m.mean() for w, m in zip(row, found[-1], strict=True)) for row in matrix]) + bias


def relevances(weights, image, layer, channel, skip=False, step=1e-6):
    """(H, W) activation of every neuron of a map times the derivative of the predicted class's logit by it."""
    values, label = (
        activations(weights, image, skip=skip)[layer][channel],
        int(np.argmax(logits(weights, image, skip=skip))),
    )
    found = np.zeros(values.shape)
    for row, col in np.ndindex(values.shape):
        more, less = (nudged_logits(weights, image, layer, (channel, row, col), s, skip)[label] for s in (step, -step))
        found[row, col] = values[row, col] * (more - less) / (2 * step)
    return found


def part_overlap(activations, numbers, part):
    """Intersection over union of one map with one part: activations and part numbers, both (B, H, W).

    The map fires at its strongest pixels, as many as the part has, and not where it is 0.
    """
    pixels = sorted(np.ndindex(numbers.shape), key=lambda at: -activations[at])
    inside = {at for at in pixels if numbers[at] == part}
    fires = {at for at in pixels[: len(inside)] if activations[at] > 0}
    return len(inside & fires) / len(inside | fires) if inside | fires else 0.0


def quadratic(q, z, lam):
    """||Q (1 - z)||^2 + lambda mean(z) for q of m rows of n numbers."""
    lost = [sum(float(row[k]) * (1 - float(z[k])) for k in range(len(z))) for row in q]
    return sum(v * v for v in lost) + lam * sum(float(v) for v in z) / len(z)


def quadratic_by_enumeration(q, lam):
    """The smallest of `quadratic` for one output: all gates but one in {0, 1}, the last at the foot of its parabola."""
    n, best = len(q), math.inf
    for corner in range(2**n):
        z = [float(corner >> k & 1) for k in range(n)]
        best = min(best, quadratic([q], z, lam))
        for k in range(n):
            if q[k] != 0:
                others = sum(q[j] * (1 - z[j]) for j in range(n) if j != k)
                foot = 1 - (lam / n / (2 * q[k]) - others) / q[k]
                best = min(best, quadratic([q], [*z[:k], min(max(foot, 0.0), 1.0), *z[k + 1 :]], lam))
    return best


def quadratic_excess(q, z, lam):
    """A bound on how far `quadratic` at z is above its smallest value: max over v in the box of <gradient, z - v>."""
    lost = [sum(float(row[k]) * (1 - float(z[k])) for k in range(len(z))) for row in q]
    excess = 0.0
    for k in range(len(z)):
        slope = lam / len(z) - 2 * sum(float(row[k]) * v for row, v in zip(q, lost, strict=True))
        excess += slope * (float(z[k]) - (0.0 if slope > 0 else 1.0))
    return excess


def steered_logits(weights, image, gates, steps, differences, skip=False):
    """(K,) of one image (3, H, W) where every map's value v becomes v * gate + (step - 1) * difference.

    Gates and steps hold one array (n_l,) per layer, the differences one array (n_l, H, W).
    """
    value, first, last = image.astype(float), None, len(weights["convs"]) - 1
    for layer, (kernel, bias) in enumerate(weights["convs"]):
        value = conv3x3(value, kernel, bias)
        if skip and layer == last:
            value = value + first
        value = np.maximum(value, 0)
        for channel in range(len(value)):
            moved = (steps[layer][channel] - 1) * differences[layer][channel]
            value[channel] = value[channel] * gates[layer][channel] + moved
        first = value if first is None else first
    matrix, bias = weights["head"]
    return np.array([sum(w * m.mean() for w, m in zip(row, value, strict=True)) for row in matrix]) + bias


def slopes(function, at, step=1e-5):
    """The derivative of a function of a vector by each entry, by central differences."""
    found = []
    for k in range(len(at)):
        more, less = np.array(at, float), np.array(at, float)
        more[k], less[k] = at[k] + step, at[k] - step
        found.append((function(more) - function(less)) / (2 * step))
    return np.array(found)


def integrated(function, n, steps):
    """The mean of the slopes of a function of n shares at the middles of equal steps from none to all of each."""
    return sum(slopes(function, np.full(n, (k + 0.5) / steps)) for k in range(steps)) / steps


def flip_margin(logits, before, wanted):
    """The lead over the class `before` of the class `wanted`, of the best other one where that is negative."""
    rival = max(v for k, v in enumerate(logits) if k != before) if wanted < 0 else logits[wanted]
    return rival - logits[before]


def odds(logits, label):
    """log p / (1 - p) of the label."""
    p = softmax(logits)[label]
    return math.log(p / (1 - p))


def contrast(logits, label, rival):
    """The mean of the label's odds and its lead over the rival; the odds alone where the rival is negative."""
    lead = odds(logits, label) if rival < 0 else logits[label] - logits[rival]
    return (odds(logits, label) + lead) / 2


def against_foil(having, differing, fires):
    """A third of the effects of having a map, two thirds of those of the difference, each over its sum of sizes."""
    all_having, all_differing = (sum(abs(v) for v in values) for values in (having, differing))
    found = []
    for h, d, f in zip(having, differing, fires, strict=True):
        found.append(h / all_having / 3 + 2 * d / all_differing / 3 if f else 0.0)
    return found


def best_first(order):
    """The indices of a vector, largest first, the earliest of equals."""
    return sorted(range(len(order)), key=lambda i: (-order[i], i))


def complete_set(parts, share):
    """Bools for every layer's part of an order: its best maps, the share of them rounded up, at least one."""
    found = []
    for part in parts:
        chosen = set(best_first(part)[: max(1, math.ceil(share * len(part) - 1e-9))])
        found += [i in chosen for i in range(len(part))]
    return found


def soft_cross_entropy(p, q):
    return -sum(a * math.log(b) for a, b in zip(p, q, strict=True))


def best_of(iterates):
    """Of triples (loss, accepted, z) the z of least loss among the accepted, the first of equals; z_0 where none is."""
    best, found = math.inf, iterates[0][2]
    for loss, accepted, z in iterates:
        if accepted and loss < best:
            best, found = loss, z
    return found


def sgd(look, start, steps, rate, momentum, upper):
    """Gates of least accepted loss of SGD with momentum in the box [0, upper]; look(z) is loss, accepted, slopes."""
    z, velocity, seen = np.array(start, float), np.zeros(len(start)), []
    for step in range(steps + 1):
        loss, accepted, slope = look(z)
        seen.append((loss, accepted, z.copy()))
        if step < steps:
            velocity = momentum * velocity + slope
            z = np.clip(z - rate * velocity, 0, upper)
    return best_of(seen)


def adam(look, start, steps, rate):
    """The same by Adam (0.9, 0.99) in [0, 1], its step length falling linearly to a tenth of `rate`."""
    z, first, second, seen = np.array(start, float), np.zeros(len(start)), np.zeros(len(start)), []
    for step in range(steps + 1):
        loss, accepted, slope = look(z)
        seen.append((loss, accepted, z.copy()))
        if step < steps:
            first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
            mean, spread = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.99 ** (step + 1))
            z = np.clip(z - rate * (1 - 0.9 * step / steps) * mean / (np.sqrt(spread) + 1e-8), 0, 1)
    return best_of(seen)


def careful(look, start, steps, rate):
    """The gates of least accepted loss of steps of Adam's length in [0, 1] that never climb, their loss and slope.

    A step that does not lower the loss, or is not accepted, is taken back and halved, and the next one follows the
    slope; a kept one makes the next longer by a fifth, up to `rate`. 10 steps without a thousandth less are the end.
    """
    z = trial = np.array(start, float)
    mean, square, kept, length, loss, losses = np.zeros(len(z)), np.zeros(len(z)), 0, 1.0, math.inf, []
    for step in range(steps + 1):
        now, accepted, slope = look(trial)
        better = accepted and now < loss
        if better:
            z, loss, gradient, length = trial, now, slope, min(1.2 * length, 1.0)
            mean, square, kept = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2, kept + 1
        else:
            length /= 2
        losses.append(loss)
        if step >= 10 and losses[-11] - loss <= 1e-3 * loss:
            break
        along = mean / (1 - 0.9**kept) if better else gradient
        trial = np.clip(z - rate * length * along / (np.sqrt(square / (1 - 0.99**kept)) + 1e-8), 0, 1)
    return z, loss, gradient


def secant_step(z, slope, change, along, bend, radius):
    """The d of least <slope, d> + <change, d>^2 / (2 along) + bend / 2 ||d||^2 in box and radius."""
    low, high = [max(-radius, -v) for v in z], [min(radius, 1 - v) for v in z]

    def at(w):
        pulls = [s + w * y for s, y in zip(slope, change, strict=True)]
        return [min(max(-pull / max(bend, 1e-12), lo), hi) for pull, lo, hi in zip(pulls, low, high, strict=True)]

    below, above = -1e4, 1e4
    for _ in range(200):
        middle = (below + above) / 2
        u = sum(y * v for y, v in zip(change, at(middle), strict=True)) / along
        below, above = (middle, above) if u > middle else (below, middle)
    return at(above)


def modelled_step(z, far, far_slope, rest_slope, bend, radius):
    """The d of least far exp(<far_slope, d> / far) + <rest_slope, d> + bend / 2 ||d||^2 in box and radius.

    Without curvature the weight w = exp(<far_slope, d> / far) is tried between all neighbouring weights at which a gate
    changes its end, and at each of these weights with that gate between its ends. With it d is continuous in w.
    """
    low, high = [max(-radius, -v) for v in z], [min(radius, 1 - v) for v in z]

    def at(w):
        pulls = [r + w * f for r, f in zip(rest_slope, far_slope, strict=True)]
        if bend:
            return [min(max(-pull / bend, lo), hi) for pull, lo, hi in zip(pulls, low, high, strict=True)]
        return [lo if pull > 0 else hi for pull, lo, hi in zip(pulls, low, high, strict=True)]

    def size(d):
        return sum(f * v for f, v in zip(far_slope, d, strict=True)) / far

    if bend:
        below, above = -30.0, 30.0
        for _ in range(100):
            middle = (below + above) / 2
            below, above = (middle, above) if size(at(math.exp(middle))) > middle else (below, middle)
        return at(math.exp(above))
    turns = {-r / f: k for k, (r, f) in enumerate(zip(rest_slope, far_slope, strict=True)) if f and -r / f > 0}
    ends = [0.0, *sorted(turns), math.inf]
    for before, after in itertools.pairwise(ends):
        d = at((before + after) / 2 if after < math.inf else before + 1)
        if before <= math.exp(min(size(d), 500)) <= after:
            return d
        if after < math.inf:
            k = turns[after]
            d[k] = 0.0
            d[k] = (math.log(after) - size(d)) * far / far_slope[k]
            if low[k] <= d[k] <= high[k]:
                return d
    raise AssertionError("a convex function has a least value in a box")


def modelled(look, start, steps, radius):
    """Gates, their loss, and what the model promises of the next step; look(z) is D, R, accepted, D' and R'."""
    gates, loss, promised = modelled_together(lambda rows: [look(rows[0])], [start], steps, radius, 1e-4)
    return gates[0], loss, promised


def modelled_together(look, starts, steps, radius, settled):
    """The same of rows that are one problem, whose losses count together; look gives a tuple for each of the rows.

    The model of each step is that of `modelled_step`, or that of `secant_step` where the latter would have foretold D
    better in the run before; the curvature of R is that along the step before, or 0. A step
    that does not lower the loss, or is not accepted, is taken back and makes the radius three tenths; one that brings
    half of what was promised makes it half as long again, and one that brings less than a tenth three tenths. A promise
    of `settled` of the loss is the end.
    """
    rows, here = [np.array(start, float) for start in starts], look(starts)
    bends, turns = [0.0] * len(rows), [(np.zeros(len(z)), 1.0, False) for z in rows]
    for step in range(steps + 1):
        moves, foretold, promised = [], [], 0.0
        for z, (far, _, _, far_slope, rest_slope), bend, (change, along, secant) in zip(
            rows, here, bends, turns, strict=True
        ):
            if secant:
                d = np.array(secant_step(z, far_slope + rest_slope, change, along, bend, radius))
            else:
                d = np.array(modelled_step(z, far, far_slope, rest_slope, bend, radius))
            grows = far * math.expm1(far_slope @ d / far), far_slope @ d + (change @ d) ** 2 / (2 * along)
            promised += -(rest_slope @ d) - bend / 2 * (d @ d) - grows[int(secant)]
            moves, foretold = [*moves, d], [*foretold, grows]
        loss = sum(each[0] + each[1] for each in here)
        if step == steps or promised <= settled * loss:
            return rows, loss, promised / loss
        there = look([z + d for z, d in zip(rows, moves, strict=True)])
        gain = loss - sum(each[0] + each[1] for each in there)
        better = all(each[2] for each in there) and gain > 0
        for i, (d, old, new) in enumerate(zip(moves, here, there, strict=True)):
            bends[i] = max(0.0, d @ (new[4] - old[4]) / (d @ d)) if d.any() else 0.0
            misses = [abs(new[0] - old[0] - each) for each in foretold[i]]
            change, along = new[3] - old[3], d @ (new[3] - old[3])
            turns[i] = (change, along, misses[1] < misses[0]) if along > 1e-12 else (np.zeros(len(d)), 1.0, False)
        radius = min(1.0, radius * (1.5 if better and gain >= promised / 2 else 1))
        radius *= 0.3 if not better or gain < promised / 10 else 1
        if better:
            rows, here = [z + d for z, d in zip(rows, moves, strict=True)], there
    raise AssertionError("the last step returns")


def eliminated(start, rounds, look, drop=0.35):
    """What elimination leaves of a set (n,): look(set) is whether it keeps the label, and the effects of its maps."""
    kept = tried = [bool(v) for v in start]
    effect, step = [0.0] * len(kept), drop
    for _ in range(rounds):
        good, now = look(np.array(tried))
        if good:
            kept, effect = tried, list(now)
        else:
            step /= 2
        inside = sorted((i for i in range(len(kept)) if kept[i]), key=lambda i: (effect[i], i))
        gone = inside[: min(max(int(len(inside) * step), 1), len(inside) - 1)]
        tried = [v and i not in gone for i, v in enumerate(kept)]
    return kept


def spearman(first, second):
    """Pearson's correlation of the ranks, equals sharing their mean rank."""

    def ranks(values):
        return np.array([(sum(w < v for w in values) + sum(w <= v for w in values) + 1) / 2 for v in values])

    a, b = ranks(first) - ranks(first).mean(), ranks(second) - ranks(second).mean()
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def strands_objective(places, distances, adv, smoothness, nearness):
    """What the curves of m datapaths cost at L layers: places[l][i] top to bottom, distances[l][i][j], the row adv.

    The sum of squared errors of all gaps, m smoothness times the squared steps of places about their layer's mean, and
    nearness times the squares of what a path nearer to the adversarial is drawn farther from it.
    """
    total, m = 0.0, len(places[0])
    level = [[v - sum(row) / m for v in row] for row in places]
    for layer, (row, apart) in enumerate(zip(level, distances, strict=True)):
        for i in range(m):
            for j in range(i + 1, m):
                total += (row[i] - row[j] - apart[i][j]) ** 2
            if layer:
                total += m * smoothness * (row[i] - level[layer - 1][i]) ** 2
            for j in range(m):
                if adv is not None and adv not in (i, j) and apart[adv][i] < apart[adv][j]:
                    total += nearness * max(0.0, abs(row[i] - row[adv]) - abs(row[j] - row[adv])) ** 2
    return total


def expected_recurrence(could, chosen, sizes):
    """In how many examples each map is drawn on average, by every way of drawing as many of each layer: (E, n)."""
    found, first = [], 0
    for size in sizes:
        total = [0.0] * size
        for open_, taken in zip(could[:, first : first + size], chosen[:, first : first + size], strict=True):
            ways = list(itertools.combinations([m for m in range(size) if open_[m]], sum(bool(t) for t in taken)))
            for m in range(size):
                total[m] += sum(m in way for way in ways) / len(ways)
        found += total
        first += size
    return found


def recurrence_above(could, chosen, sizes):
    """For k = 0, ..., E the sum over all maps of the probability of being drawn in more than k examples."""
    above, first = [0.0] * (len(could) + 1), 0
    for size in sizes:
        ways = [
            list(itertools.combinations([m for m in range(size) if open_[m]], sum(bool(t) for t in taken)))
            for open_, taken in zip(could[:, first : first + size], chosen[:, first : first + size], strict=True)
        ]
        for m in range(size):
            shares = [sum(m in way for way in of) / len(of) for of in ways]
            above = [total + part for total, part in zip(above, more_than(shares), strict=True)]
        first += size
    return above


def more_than(chances):
    """P(c > k) for k = 0, ..., E of the number c of successes, by all 2^E outcomes of E draws."""
    above = [0.0] * (len(chances) + 1)
    for outcome in itertools.product((0, 1), repeat=len(chances)):
        weight = math.prod(p if hit else 1 - p for p, hit in zip(chances, outcome, strict=True))
        for k in range(sum(outcome)):
            above[k] += weight
    return above


def correlation(a, b):
    """Pearson's correlation of two rows of numbers; None where one of them does not change."""
    a, b = ([v - sum(row) / len(row) for v in row] for row in (a, b))
    if not any(a) or not any(b):
        return None
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def own_partners(first, second):
    """Which maps correlate most with the map of their own number, over images: first[image][map] and second alike."""
    columns = [list(zip(*rows, strict=True)) for rows in (first, second)]
    own = []
    for k, here in enumerate(columns[0]):
        found = [(correlation(here, there), j) for j, there in enumerate(columns[1])]
        known = [(value, -j) for value, j in found if value is not None]
        own.append(bool(known) and -max(known)[1] == k)
    return own


def common_by_chance(first, second, same):
    """How many maps two sets have in common on average, by every way to draw the second anew among the same."""
    places = [i for i, is_same in enumerate(same) if is_same]
    size = sum(second[i] for i in places)
    ways = list(itertools.combinations(places, size))
    return sum(sum(first[i] for i in way) for way in ways) / len(ways)
