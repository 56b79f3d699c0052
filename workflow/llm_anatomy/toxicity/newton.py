"""L2-penalised logistic regression by Newton's method, for narrow dense features.

Minimises  |w|² / 2 + C sum_i s_i log(1 + exp(-t_i (w · x_i + b))),  t_i = ±1,  s_i the class
weights n / (2 n_class): the objective of scikit-learn's balanced `LogisticRegression`, whose calls
alone cost more than a fit of a few dozen features: see docs/toxicity.md.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

MAX_WIDTH = 256
# Relative to the objective's scale; rankings stop changing long before.
DECREMENT = 1e-8
HALVINGS = 30


def fit(
    x: Float[ndarray, "texts features"],
    truth: Bool[ndarray, " texts"],
    c: float,
    max_iter: int,
    start: Float[ndarray, " weights"] | None = None,
) -> Float[ndarray, " weights"]:
    """Fit and return the weights, the intercept behind them.

    Args:
        x: Standardised features.
        truth: The labels; both classes occur.
        c: Inverse strength of the penalty.
        max_iter: Most Newton steps.
        start: Weights to start from; zeros when left out.
    """
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    positives = truth.sum()
    weight = c * len(truth) / (2 * np.where(truth, positives, len(truth) - positives))
    penalty = np.ones(design.shape[1])
    penalty[-1] = 0.0
    w = np.zeros(design.shape[1]) if start is None else start.copy()

    def objective(candidate: ndarray) -> float:
        margin = design @ candidate
        loss = np.logaddexp(0, margin) - truth * margin
        return float((penalty * candidate**2).sum() / 2 + (weight * loss).sum())

    value = objective(w)
    for _ in range(max_iter):
        probability = expit(design @ w)
        gradient = penalty * w + design.T @ (weight * (probability - truth))
        curvature = weight * probability * (1 - probability)
        hessian = (design * curvature[:, None]).T @ design
        # The tiny ridge keeps the factorisation possible where the intercept's curvature vanishes.
        hessian[np.diag_indices_from(hessian)] += penalty + 1e-10
        step = cho_solve(cho_factor(hessian, check_finite=False), gradient, check_finite=False)
        decrement = float(gradient @ step)
        if decrement <= DECREMENT * (1 + abs(value)):
            break
        for halving in range(HALVINGS):
            candidate = w - step / 2**halving
            new = objective(candidate)
            if new <= value - 1e-4 * decrement / 2**halving:
                break
        else:
            break
        w, value = candidate, new
    return w
