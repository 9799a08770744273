"""The objectives in double-precision numpy, straight from the papers' formulas; nothing of the package is used."""

import numpy as np


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def entropy(p, q):
    """H(p, q) of logits q."""
    return -(p * log_softmax(q)).sum(axis=-1)


def dino(targets, student, temperature):
    """Targets (G, B, K), student scores (V, B, K): mean over the pairs of different views, one by one."""
    pairs = [(g, v) for g in range(len(targets)) for v in range(len(student)) if g != v]
    return np.mean([entropy(targets[g], student[v] / temperature).mean() for g, v in pairs])


def ibot(targets, student, image, temperature, n_images):
    """Targets and scores (M, K) of patches of the images numbered (M,): per image the mean, then over all images."""
    terms = entropy(targets, student / temperature)
    return sum(terms[image == number].mean() for number in set(image.tolist())) / n_images


def sinkhorn(scores, temperature, rounds=3):
    """SwAV's algorithm on Q (K, n), with the largest score taken out of each row's exponent where asked for."""
    q = np.exp((scores - scores.max()) / temperature).T
    q /= q.sum()
    k, n = q.shape
    for _ in range(rounds):
        q /= q.sum(axis=1, keepdims=True) * k
        q /= q.sum(axis=0, keepdims=True) * n
    return (q * n).T


def sinkhorn_logarithmic(scores, temperature, rounds=3):
    """The same with logarithms throughout, for scores whose exponentials are no numbers."""
    q = scores / temperature
    n, k = q.shape
    for _ in range(rounds):
        q = q - np.logaddexp.reduce(q, axis=0, keepdims=True) + np.log(n / k)
        q = q - np.logaddexp.reduce(q, axis=1, keepdims=True)
    return np.exp(q)


def koleo(x):
    """Distances of all pairs, the nearest of each row."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    distance = np.linalg.norm(x[:, None] - x[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    return -np.log(distance.min(axis=1)).mean()


def gram(student, teacher):
    """Frobenius norm of the difference of two Gram matrices of (N, D) features, squared, per entry."""
    one, other = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (student, teacher))
    return np.linalg.norm(one @ one.T - other @ other.T, ord="fro") ** 2 / len(one) ** 2
