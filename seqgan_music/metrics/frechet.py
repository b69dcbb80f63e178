"""How far apart are two clouds of feature vectors?

Conventions
-----------
The Fréchet distance between the normal distributions of the same mean and covariance (Dowson and Landau 1982), as in
the FID of Heusel et al. (NeurIPS 2017), there on an image network's features:

    |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁^½ C₂ C₁^½)^½)

The trace of the root is taken as the sum of the square roots of the eigenvalues of the *symmetric* matrix C₁^½ C₂ C₁^½,
found by `numpy.linalg.eigh`, with negative ones, which only rounding makes, set to 0: no root of a product that is not
symmetric, hence no complex numbers, also where covariances are singular.

The estimate is biased: two sets drawn from one distribution are some way apart, the farther the fewer they are. So
distances compare only at equal numbers, and beside the distance between two real sets of that number, the *floor*.

- `frechet_distance`: of two sets of vectors; `seqgan_music.metrics.yang_lerch.vectors` makes them of melodies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def frechet_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Fréchet distance between the normal distributions fitted to two sets of vectors.

    Parameters
    ----------
    first : array (M, d)
    second : array (N, d)
        Rows with a NaN are left out of either.

    Returns
    -------
    float
        0 or more, in the square of the vectors' unit; NaN where fewer than two vectors are left. Covariances divide by
        M − 1.

    Raises
    ------
    ValueError
        If the arrays are not two-dimensional with equally many columns, at least one, or not finite.

    Examples
    --------
    >>> frechet_distance([[0.0], [2.0]], [[3.0], [7.0]])  # means 1 and 5, deviations √2 and √8
    18.0
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1] or not one.shape[1]:
        raise ValueError(f"expected vectors (M, d) and (N, d), not {one.shape} and {other.shape}")
    if np.isinf(one).any() or np.isinf(other).any():
        raise ValueError("feature vectors must be finite")
    one, other = (rows[~np.isnan(rows).any(axis=1)] for rows in (one, other))
    if min(len(one), len(other)) < 2:
        return float("nan")
    shift = one.mean(axis=0) - other.mean(axis=0)
    c1, c2 = (np.cov(rows, rowvar=False).reshape(one.shape[1], -1) for rows in (one, other))
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ c2 @ root), 0)).sum()
    return float(max(shift @ shift + np.trace(c1) + np.trace(c2) - 2 * cross, 0))
