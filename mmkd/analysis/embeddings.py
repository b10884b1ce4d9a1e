"""Where networks put the test images: t-SNE or PCA of what their last layer sees."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from .picture import Picture
from .study import Study

METHODS = ('tsne', 'pca')


def embed(vectors: np.ndarray, method: str) -> np.ndarray:
    """Points of a plane, (N, 2), for vectors (N, C).

    Raises:
        ValueError: If there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f'--method {method}: expected one of {", ".join(METHODS)}')
    if method == 'pca' or vectors.shape[1] <= 2:
        return PCA(2).fit_transform(vectors)
    perplexity = min(30, (len(vectors) - 1) / 3)
    return TSNE(init='pca', perplexity=perplexity, random_state=0).fit_transform(vectors)


def draw_embeddings(
    study: Study, method: str = 'tsne', num_images: int = 1000, num_classes: int = 10
) -> Picture:
    """Draw the test images in the plane, coloured by their class (ECD, Fig. 2).

    Args:
        study (Study): Classifiers.
        method (str): ``'tsne'`` or ``'pca'``. Defaults to ``'tsne'``.
        num_images (int): At most so many, at even distances in the data. Defaults to 1000.
        num_classes (int): At most so many classes, the first ones. Defaults to 10.
    """
    labels = study.labels.numpy()
    shown = np.unique(labels)[:num_classes]
    chosen = np.flatnonzero(np.isin(labels, shown))
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(num_images, len(chosen))).astype(int)]
    labels, networks = labels[chosen], study.networks
    figure = Figure(figsize=(4.2 * len(networks), 4.6), layout='constrained')
    scores = {}
    row = figure.subplots(1, len(networks), squeeze=False)[0]
    for axes, network in zip(row, networks, strict=True):
        vectors = study.outputs[network.name].vectors.numpy()[chosen]
        scores[network.name] = float(silhouette_score(vectors, labels))
        points = embed(vectors, method)
        for index, label in enumerate(shown):
            here = points[labels == label]
            color = colormaps['tab10'](index % 10)
            axes.scatter(*here.T, s=6, color=color, label=study.class_name(label))
        axes.set(xticks=[], yticks=[])
        axes.set_title(f'{network.name}, silhouette {scores[network.name]:.2f}')
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles, names, loc='outside lower center', ncols=10, markerscale=3, frameon=False
    )
    name = dict(tsne='t-SNE', pca='PCA')[method]
    best = max(scores, key=scores.get)
    return Picture(
        'embeddings',
        f'Embeddings ({name})',
        figure,
        f'{name} of what the last layer sees of {len(chosen)} test images of {len(shown)} classes. '
        'The silhouette, of the vectors themselves, is 1 where images lie with their class alone '
        f'and 0 where classes overlap: {best} separates them best.',
        dict(method=method, images=len(chosen), silhouette=scores),
    )
