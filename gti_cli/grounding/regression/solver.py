"""Minimise a `Regression`: quasi-Newton steps in coordinates in which the problem is round.

Hidden states of language models lie in a narrow cone: the largest eigenvalue of their second moments C = Q D Q' is
thousands of times the typical one, and plain gradient steps would follow it alone. The Hessian is close to a known
matrix: its block of row j is about share_j C + ridge, with the share of positions that predict token j. In coordinates

    x_je = sqrt(share_j D_e + ridge) * ((w_j - start_j) Q)_e

that matrix is the identity, so L-BFGS begins with nearly a Newton step. The change of coordinates costs one
eigendecomposition (w, w), and a product (n, w) by (w, w) at each step, which is little where positions outnumber w.

Close to the solution, the objective changes by less than the rounding errors of float32 logits, and a line search that
compares values can go no further. Derivatives are exact there for longer. So where the line search gives up, Newton
steps follow that look at the gradient alone (conjugate gradients on the exact Hessian, in the same coordinates).

The methods are scipy's. Comes after `problem`; `levels` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gti_cli.grounding.regression.objective import Regression

if TYPE_CHECKING:
    import numpy.typing as npt

MOST_STEPS = 500
REMEMBERED_STEPS = 20  # pairs of vectors from which L-BFGS estimates the Hessian; scipy's default is 10
# Directions in which hidden states do not vary get no smaller diagonal than this share of the largest. Such directions
# exist: behind a LayerNorm, a combination of the coordinates is constant, and a bias adds that constant once more.
# Without a ridge, rounding errors of float32 would be stretched along them (at 1e-6 they stop the tests' Newton steps).
_SMALLEST_DIAGONAL = 1e-5
_MOST_NEWTON_STEPS, _MOST_CG_STEPS = 10, 100
_MOST_HALVINGS = 5
_CG_TOLERANCE = 0.02  # residual of a Newton step's equations, as a share of the gradient


@dataclass(frozen=True)
class Solution:
    """Rows, and how close to a stationary point they are.

    Attributes:
        rows: (n, w) float64.
        objective: The objective there, the ridge included.
        gradient: Norm of its gradient.
        steps: Steps of the solver, of both kinds.
        evaluations: Evaluations of value and gradient or of the Hessian's product: passes over the hidden states.
        converged: Whether ``gradient`` is within the tolerance. If not, the steps ran out, or rounding errors
            left no step that makes the gradient smaller.
    """

    rows: torch.Tensor
    objective: float
    gradient: float
    steps: int
    evaluations: int
    converged: bool


@dataclass(frozen=True)
class Coordinates:
    """The axes along which the Hessian of a problem is close to a diagonal.

    They depend on hidden states and targets alone, so they serve all ridges.

    Attributes:
        axes: (w, w) float64. Eigenvectors of the second moments as columns.
        moments: (w,) float64. Their eigenvalues.
        shares: (n,) float64. Share of the positions that predict each unknown.
    """

    axes: torch.Tensor
    moments: torch.Tensor
    shares: torch.Tensor

    @classmethod
    def of(cls, problem: Regression) -> Coordinates:
        """Compute them for a problem of which every row has a target."""
        moments, axes = torch.linalg.eigh(problem.second_moments())
        return cls(axes, moments.clamp(min=0) * problem.rule.scale**2, problem.shares())

    def typical_curvature(self) -> float:
        """Mean of the diagonal without a ridge: a ridge of this weight counts as much as the positions do."""
        return float(self.shares.mean() * self.moments.mean())

    def scales(self, ridge: float) -> torch.Tensor:
        """Square roots (n, w) of the diagonal with a ridge."""
        diagonal = self.shares[:, None] * self.moments + ridge
        return diagonal.clamp(min=float(diagonal.max()) * _SMALLEST_DIAGONAL).sqrt()


def solve(
    problem: Regression,
    rows: torch.Tensor,
    tolerance: float,
    coordinates: Coordinates | None = None,
    most_steps: int = MOST_STEPS,
    told: Callable[[], object] = lambda: None,
) -> Solution:
    """Minimise a problem from given rows on.

    Args:
        problem: The problem, with its ridge.
        rows: (n, w) where to begin; they may differ from the problem's ``start``.
        tolerance: Norm of the gradient at which to stop.
        coordinates: Those of the problem (None: computed here).
        most_steps: Steps after which to stop.
        told: Called after each evaluation.

    Returns:
        The rows that the solver reached. Nothing compares them with ``rows``: the steps of L-BFGS lower the objective,
        and the Newton steps behind them look at the gradient alone.
    """
    from scipy.optimize import minimize

    coordinates = Coordinates.of(problem) if coordinates is None else coordinates
    scaled = _Scaled(problem, rows, coordinates, tolerance, told)
    result = minimize(
        scaled,
        scaled.point(),
        jac=True,
        method="L-BFGS-B",
        callback=scaled.stop_if_stationary,
        # The callback ends the run; scipy's own criteria (largest coordinate of the gradient, decrease) never do.
        options={"maxiter": most_steps, "maxfun": 3 * most_steps, "maxcor": REMEMBERED_STEPS, "gtol": 0.0, "ftol": 0.0},
    )
    point, newton_steps = result.x, 0
    if int(result.nit) < most_steps:
        point, newton_steps = scaled.newton(point)
    value, _ = scaled(point)
    steps = int(result.nit) + newton_steps
    return Solution(scaled.rows_at(point), value, scaled.norm, steps, scaled.evaluations, scaled.norm <= tolerance)


class _Scaled:
    """A problem in the coordinates of the module's docstring, for scipy: flat vectors x, zero at the first rows.

    Attributes:
        evaluations: Number of evaluations so far.
        norm: Norm of the last gradient, in the coordinates of rows.
    """

    def __init__(
        self,
        problem: Regression,
        rows: torch.Tensor,
        coordinates: Coordinates,
        tolerance: float,
        told: Callable[[], object],
    ) -> None:
        self._problem, self._origin, self._tolerance = problem, rows.to(problem.start), tolerance
        self._told = told
        self._axes, self._scales = coordinates.axes, coordinates.scales(problem.ridge)
        self.evaluations = 0
        self.norm = float("inf")
        self._last: tuple[npt.NDArray[np.float64], float, npt.NDArray[np.float64]] | None = None

    def point(self) -> npt.NDArray[np.float64]:
        """The first rows."""
        return np.zeros(self._origin.numel())

    def rows_at(self, point: npt.NDArray[np.float64]) -> torch.Tensor:
        """The rows (n, w) at a point."""
        moved = torch.as_tensor(point, device=self._origin.device).reshape(self._origin.shape) / self._scales
        return self._origin + moved @ self._axes.T

    def __call__(self, point: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        """Value and gradient at a point; the point evaluated last costs nothing."""
        if self._last is not None and np.array_equal(point, self._last[0]):
            return self._last[1], self._last[2]
        value, gradient = self._problem.value_and_gradient(self.rows_at(point))
        self.evaluations += 1
        self._told()
        self.norm = float(gradient.norm())
        scaled: npt.NDArray[np.float64] = ((gradient @ self._axes) / self._scales).flatten().cpu().numpy()
        self._last = point.copy(), value, scaled
        return value, scaled

    def stop_if_stationary(self, intermediate_result: Any) -> None:
        """End the run at a small gradient. L-BFGS evaluates the point it accepts last, so the last norm is its own."""
        if self.norm <= self._tolerance:
            raise StopIteration

    def newton(self, point: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], int]:
        """Make the gradient smaller, up to the tolerance, by Newton steps.

        Args:
            point: Where to begin: close to a minimum, where the Hessian has no negative eigenvalue.

        Returns:
            The point with the smallest gradient, and the number of steps to it.
        """
        from scipy.sparse.linalg import LinearOperator, cg

        _, gradient = self(point)
        norm, steps = self.norm, 0
        while norm > self._tolerance and steps < _MOST_NEWTON_STEPS:
            here = self.rows_at(point)
            hessian = LinearOperator(
                (len(point), len(point)), matvec=lambda along, rows=here: self._curve(rows, along), dtype=np.float64
            )
            step, _ = cg(hessian, -gradient, rtol=_CG_TOLERANCE, maxiter=_MOST_CG_STEPS)
            _, ahead = self(point + step)
            for _ in range(_MOST_HALVINGS):
                if self.norm < norm:
                    break
                step = step / 2
                _, ahead = self(point + step)
            if not self.norm < norm:
                break
            point, gradient, norm, steps = point + step, ahead, self.norm, steps + 1
        return point, steps

    def _curve(self, rows: torch.Tensor, along: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The Hessian at rows (n, w), applied to a direction in these coordinates."""
        direction = torch.as_tensor(along, device=rows.device).reshape(rows.shape) / self._scales @ self._axes.T
        product = self._problem.hessian_product(rows, direction)
        self.evaluations += 1
        self._told()
        scaled: npt.NDArray[np.float64] = ((product @ self._axes) / self._scales).flatten().cpu().numpy()
        return scaled
