"""Least-squares problems as sums over their samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigvalsh

from fastmotion.linear._checks import (
    as_columns,
    as_finite,
    as_real,
    check_finite,
    check_nonnegative,
)
from fastmotion.linear._quadratic import check_constraints, check_gram, check_met, minimise

# Numbers in a block of rows: 2 MiB as float64, which a cache holds.
_BLOCK_SIZE = 1 << 18
_MIN_BLOCK_ROWS = 256


def row_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Yield slices of rows that are long enough for BLAS and short enough for a cache."""
    step = max(_MIN_BLOCK_ROWS, _BLOCK_SIZE // max(n_columns, 1))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def as_block(x: NDArray) -> NDArray[np.float64]:
    """Return rows as BLAS wants them; without a copy if they are so already."""
    return np.ascontiguousarray(x, dtype=np.float64)


class NormalEquations:
    """Sums that determine a linear least-squares problem, ``A @ coef`` to be close to ``b``.

    Sums over any blocks of samples can be accumulated one after another (`update`) or apart, on
    threads or machines, and merged (`merge`, ``+``). They are kept in float64, of the size of the
    number of features squared; the samples themselves are not kept. New equations are empty: they
    take their shape from the first samples or from what they are merged with.

    Attributes
    ----------
    gram : ndarray of shape (n_features, n_features), float64
        ``A.T @ W @ A``, with the weights of the samples on the diagonal of W. Read-only.
    moment : ndarray of shape (n_features,) or (n_features, n_outputs), float64
        ``A.T @ W @ b``. Read-only.
    energy : float or ndarray of shape (n_outputs,)
        ``b.T @ W @ b``, per output.
    n_samples : int
        How many samples were seen, those of weight zero included.
    weight_sum : float
        The sum of their weights.

    Notes
    -----
    The relative error of a solution from the sums alone grows with the condition number of the Gram
    matrix, which is the square of that of ``A``. `refine` takes the residual from the data once
    more and so removes that error but for its square (the corrected seminormal equations [1]_);
    repeated, it reaches what a factorisation of ``A`` reaches. A condition number beyond 1e13 or so
    is not told from a singular problem.

    References
    ----------
    .. [1] Å. Björck, "Stability analysis of the method of seminormal equations for linear least
       squares problems", Linear Algebra and its Applications 88-89, 1987, 31-48.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.linear import NormalEquations
    >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    >>> b = 2 + 3 * A[:, 1]
    >>> equations = NormalEquations().update(A[:2], b[:2]) + NormalEquations().update(A[2:], b[2:])
    >>> equations.n_samples
    4
    >>> equations.solve()
    array([2., 3.])
    >>> equations.solve(constraints=[[1, 1]], values=[4])
    array([0.667, 3.333])
    """

    n_samples: int
    weight_sum: float

    def __init__(self) -> None:
        self.n_samples = 0
        self.weight_sum = 0.0
        self._gram: NDArray[np.float64] | None = None
        self._moment: NDArray[np.float64] = np.empty(0)
        self._energy: NDArray[np.float64] = np.empty(0)

    @classmethod
    def from_moments(
        cls,
        gram: ArrayLike,
        moment: ArrayLike,
        energy: ArrayLike,
        n_samples: int,
        weight_sum: float | None = None,
    ) -> Self:
        """Return equations made of sums that were computed elsewhere.

        Parameters
        ----------
        gram : array_like of shape (n_features, n_features)
            Symmetric, ``A.T @ W @ A``.
        moment : array_like of shape (n_features,) or (n_features, n_outputs)
            ``A.T @ W @ b``.
        energy : float or array_like of shape (n_outputs,)
            ``b.T @ W @ b``, per output.
        n_samples : int
            How many samples they are of.
        weight_sum : float or None, default=None
            The sum of the weights; None stands for weights of one.

        Returns
        -------
        NormalEquations
            With copies of the sums.

        Raises
        ------
        TypeError
            A sum does not hold real numbers.
        ValueError
            Shapes do not match, or a number is NaN, infinite or, where it must not be, negative.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        >>> b = 2 + 3 * A[:, 1]
        >>> NormalEquations.from_moments(A.T @ A, A.T @ b, b @ b, n_samples=4).solve()
        array([2., 3.])
        """
        matrix = check_gram(gram)
        right = as_finite(moment, "moment", (1, 2))
        square = as_finite(energy, "energy", (0, 1))
        if matrix.shape != (len(right), len(right)):
            raise ValueError(
                f"gram must have shape ({len(right)}, {len(right)}), as moment has {len(right)} "
                f"rows, got {matrix.shape}"
            )
        if square.shape != right.shape[1:]:
            raise ValueError(
                f"energy must have shape {right.shape[1:]}, as moment has shape {right.shape}, "
                f"got {square.shape}"
            )
        n_samples = int(check_nonnegative(n_samples, "n_samples"))
        weight_sum = n_samples if weight_sum is None else weight_sum
        weight_sum = check_nonnegative(weight_sum, "weight_sum")
        return cls()._add(matrix.copy(), right.copy(), square.copy(), n_samples, weight_sum)

    @property
    def gram(self) -> NDArray[np.float64]:
        """Gram matrix ``A.T @ W @ A``, read-only; a ValueError if the equations are empty.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        >>> b = 2 + 3 * A[:, 1]
        >>> equations = NormalEquations().update(A, b)
        >>> equations.gram
        array([[ 4.,  6.],
               [ 6., 14.]])
        """
        return _read_only(self._filled_gram())

    @property
    def moment(self) -> NDArray[np.float64]:
        """Moment ``A.T @ W @ b``, read-only; a ValueError if the equations are empty.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        >>> b = 2 + 3 * A[:, 1]
        >>> equations = NormalEquations().update(A, b)
        >>> equations.moment
        array([26., 54.])
        """
        self._filled_gram()
        return _read_only(self._moment)

    @property
    def energy(self) -> float | NDArray[np.float64]:
        """Energy ``b.T @ W @ b``, per output; a ValueError if the equations are empty.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        >>> b = 2 + 3 * A[:, 1]
        >>> equations = NormalEquations().update(A, b)
        >>> equations.energy, float(b @ b)
        (214.0, 214.0)
        """
        self._filled_gram()
        return _read_only(self._energy) if self._energy.ndim else float(self._energy)

    def _filled_gram(self) -> NDArray[np.float64]:
        if self._gram is None:
            raise ValueError("the equations are empty; call update(A, b) first")
        return self._gram

    def update(self, A: ArrayLike, b: ArrayLike, weight: ArrayLike | None = None) -> Self:
        """Add samples to the sums.

        Parameters
        ----------
        A : array_like of shape (n_samples, n_features)
            What the coefficients multiply. It is converted to float64 in blocks of rows, never as
            a whole.
        b : array_like of shape (n_samples,) or (n_samples, n_outputs)
            What ``A @ coef`` is to be close to.
        weight : array_like of shape (n_samples,) or None, default=None
            Not negative; a weight of 2 counts as two equal samples. None stands for ones.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            An argument does not hold real numbers.
        ValueError
            Shapes do not match each other or those of earlier samples, a number is NaN or infinite
            or so large that its square is, or a weight is negative. The sums then are unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        >>> b = 2 + 3 * A[:, 1]
        >>> equations = NormalEquations()
        >>> for rows in (slice(0, 3), slice(3, 4)):
        ...     equations = equations.update(A[rows], b[rows])
        >>> equations.n_samples, equations.solve()
        (4, array([2., 3.]))
        """
        A, b, weight = self._check_samples(A, b, weight)
        sums = _sums(A, b, weight)
        check_sums(sums, A, b)
        weight_sum = float(len(A)) if weight is None else float(weight.sum())
        return self._add(*sums, len(A), weight_sum)

    def _check_samples(
        self, A: ArrayLike, b: ArrayLike, weight: ArrayLike | None
    ) -> tuple[NDArray, NDArray, NDArray[np.float64] | None]:
        A, b = as_real(A, "A", (2,)), as_real(b, "b", (1, 2))
        if 0 in A.shape[1:] + b.shape[1:]:
            raise ValueError(f"A and b must have columns, got shapes {A.shape} and {b.shape}")
        if len(A) != len(b):
            raise ValueError(f"A and b must have as many rows, got {len(A)} and {len(b)}")
        if self._gram is not None:
            self._check_shape("A and b", A.shape[1], b.shape[1:])
        return A, b, None if weight is None else check_weight(weight, len(A))

    def _check_shape(self, name: str, n_features: int, outputs: tuple[int, ...]) -> None:
        if (n_features, *outputs) != self._moment.shape:
            raise ValueError(
                f"{name} must be of the shape of the equations, whose moment has shape "
                f"{self._moment.shape}, got one of {(n_features, *outputs)}"
            )

    def _add(
        self,
        gram: NDArray[np.float64],
        moment: NDArray[np.float64],
        energy: NDArray[np.float64],
        n_samples: int,
        weight_sum: float,
    ) -> Self:
        if self._gram is None:
            self._gram, self._moment, self._energy = gram, moment, energy
        else:
            # New arrays: those that were handed out, or are shared with other equations, stay.
            self._gram = self._gram + gram
            self._moment = self._moment + moment
            self._energy = self._energy + energy
        self.n_samples += n_samples
        self.weight_sum += weight_sum
        return self

    def merge(self, other: NormalEquations) -> Self:
        """Add the sums of other equations to these.

        Parameters
        ----------
        other : NormalEquations
            Of the same features and outputs, or empty. It stays as it is.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            ``other`` is something else.
        ValueError
            The shapes differ.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        >>> b = 2 + 3 * A[:, 1]
        >>> equations = NormalEquations().update(A[:2], b[:2])
        >>> equations.merge(NormalEquations().update(A[2:], b[2:])).solve()
        array([2., 3.])
        """
        if not isinstance(other, NormalEquations):
            raise TypeError(f"other must be NormalEquations, got {type(other).__name__}")
        if other._gram is None:
            return self
        if self._gram is not None:
            self._check_shape("other", len(other._moment), other._moment.shape[1:])
        return self._add(
            other._gram, other._moment, other._energy, other.n_samples, other.weight_sum
        )

    def __add__(self, other: NormalEquations) -> NormalEquations:
        if not isinstance(other, NormalEquations):
            return NotImplemented
        return NormalEquations().merge(self).merge(other)

    def __repr__(self) -> str:
        shape = "empty" if self._gram is None else f"moment of shape {self._moment.shape}"
        return f"<NormalEquations: {self.n_samples} samples, {shape}>"

    def solve(
        self,
        *,
        alpha: float = 0.0,
        prior: ArrayLike | None = None,
        smoothness: float = 0.0,
        smoothness_order: int = 1,
        constraints: ArrayLike | None = None,
        values: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        r"""Return the coefficients of the least penalised sum of squares.

        What is minimised, for each output, is

        .. math:: \sum_i w_i (a_i \cdot c - b_i)^2 + \alpha \|c - c_0\|^2 + \lambda \|D c\|^2

        Parameters
        ----------
        alpha : float, default=0.0
            Strength of the ridge, on the scale of `sklearn.linear_model.Ridge`: it is added to the
            diagonal of the Gram matrix.
        prior : array_like of shape (n_features,) or (n_features, n_outputs), default=None
            The :math:`c_0` that the ridge draws to; None stands for zeros.
        smoothness : float, default=0.0
            The strength :math:`\lambda` of the penalty on differences of successive coefficients.
        smoothness_order : {1, 2}, default=1
            Whether first or second differences are penalised.
        constraints : array_like of shape (n_constraints, n_features) or None, default=None
            Linear combinations of the coefficients that are prescribed exactly.
        values : array_like of shape (n_constraints,) or (n_constraints, n_outputs), default=None
            What they must be; None stands for zeros.

        Returns
        -------
        ndarray of the shape of `moment`, float64
            If several are best to rounding, the one of the least norm.

        Raises
        ------
        TypeError
            An argument does not hold real numbers.
        ValueError
            The equations are empty, shapes do not match, a number is NaN, infinite or negative
            where it must not be, or the constraints contradict each other.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        >>> b = 2 + 3 * A[:, 1]
        >>> equations = NormalEquations().update(A, b)
        >>> equations.solve()
        array([2., 3.])
        >>> equations.solve(alpha=1.0, prior=[2.0, 3.0])  # the ridge draws to what is right already
        array([2., 3.])
        >>> equations.solve(constraints=[[1, 0]], values=[1])  # the first coefficient is 1
        array([1.        , 3.429])
        """
        self._filled_gram()
        return self.refine(
            np.zeros_like(self._moment),
            self._moment,
            alpha=alpha,
            prior=prior,
            smoothness=smoothness,
            smoothness_order=smoothness_order,
            constraints=constraints,
            values=values,
        )

    def _penalty(
        self, alpha: float, prior: ArrayLike | None, smoothness: float, smoothness_order: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what penalties add to the Gram matrix and to the moment."""
        n_features = len(self._filled_gram())
        alpha = check_nonnegative(alpha, "alpha")
        smoothness = check_nonnegative(smoothness, "smoothness")
        if smoothness_order not in (1, 2):
            raise ValueError(f"smoothness_order must be 1 or 2, got {smoothness_order!r}")
        identity = np.eye(n_features)
        differences = np.diff(identity, smoothness_order, axis=0)
        penalty = alpha * identity + smoothness * (differences.T @ differences)
        pull = np.zeros_like(self._moment)
        if prior is not None:
            pull += alpha * self._as_coef(prior, "prior")
        return penalty, pull

    def _as_coef(self, x: ArrayLike, name: str) -> NDArray[np.float64]:
        """Return coefficients of the shape of the moment; a vector serves all outputs."""
        shape = self._moment.shape
        coef = as_finite(x, name, tuple(range(1, len(shape) + 1)))
        return as_columns(coef, (shape[0], *(shape[1:] or (1,))), name).reshape(shape)

    def residual_moment(
        self, coef: ArrayLike, A: ArrayLike, b: ArrayLike, weight: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Return ``A.T @ W @ (b - A @ coef)`` of some samples, for `refine`.

        Parameters
        ----------
        coef : array_like of the shape of `moment`
            The coefficients to refine.
        A : array_like of shape (n_samples, n_features)
            Samples as given to `update`. Where they come in blocks, add up what the blocks give.
        b : array_like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        weight : array_like of shape (n_samples,) or None, default=None
            Their weights; None stands for ones.

        Returns
        -------
        ndarray of the shape of `moment`, float64
            Zero for the coefficients of least squares without penalties.

        Raises
        ------
        TypeError
            An argument does not hold real numbers.
        ValueError
            The equations are empty, shapes do not match, or a number is NaN or infinite.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        >>> b = 2 + 3 * A[:, 1]
        >>> equations = NormalEquations().update(A, b)
        >>> equations.residual_moment([2.0, 2.0], A, b)
        array([ 6., 14.])
        >>> A.T @ (b - A @ [2.0, 2.0])
        array([ 6., 14.])
        """
        self._filled_gram()
        coef = self._as_coef(coef, "coef")
        A, b, weight = self._check_samples(A, b, weight)
        moment = np.zeros_like(self._moment)
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in row_blocks(*A.shape):
                features = as_block(A[rows])
                residual = as_block(b[rows]) - features @ coef
                if weight is not None:
                    residual = (residual.T * weight[rows]).T
                moment += features.T @ residual
        check_sums([moment], A, b)
        return moment

    def refine(
        self,
        coef: ArrayLike,
        residual_moment: ArrayLike,
        *,
        alpha: float = 0.0,
        prior: ArrayLike | None = None,
        smoothness: float = 0.0,
        smoothness_order: int = 1,
        constraints: ArrayLike | None = None,
        values: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Return coefficients that the samples' own residuals have corrected.

        Parameters
        ----------
        coef : array_like of the shape of `moment`
            What `solve` or an earlier `refine` returned.
        residual_moment : array_like of the shape of `moment`
            What `residual_moment` gives for these coefficients and all samples.
        alpha, prior, smoothness, smoothness_order, constraints, values : optional
            As given to `solve`; penalties and constraints hold for the corrected coefficients.

        Returns
        -------
        ndarray of the shape of `moment`, float64
            Closer to the best coefficients than ``coef``.

        Raises
        ------
        TypeError
            An argument does not hold real numbers.
        ValueError
            As by `solve`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> t = np.linspace(10, 11, 50)
        >>> A, b = np.stack([np.ones(50), t, t**2], axis=1), 1 + t
        >>> equations = NormalEquations().update(A, b)
        >>> coef = equations.solve()
        >>> for _ in range(2):
        ...     coef = equations.refine(coef, equations.residual_moment(coef, A, b))
        >>> bool(np.abs(coef - [1, 1, 0]).max() < 1e-9)
        True
        """
        penalty, pull = self._penalty(alpha, prior, smoothness, smoothness_order)
        coef = self._as_coef(coef, "coef")
        descent = self._as_coef(residual_moment, "residual_moment") + pull - penalty @ coef
        columns = coef.reshape(len(coef), -1)
        matrix, right = check_constraints(constraints, values, columns.shape)
        step = minimise(
            self._filled_gram() + penalty,
            descent.reshape(columns.shape),
            matrix,
            right - matrix @ columns,
        )
        refined = columns + step
        check_met(matrix, right, refined)
        return refined.reshape(coef.shape)

    def residual_sum_of_squares(self, coef: ArrayLike) -> float | NDArray[np.float64]:
        """Return ``(b - A @ coef).T @ W @ (b - A @ coef)``, per output.

        Parameters
        ----------
        coef : array_like of the shape of `moment`
            Any coefficients.

        Returns
        -------
        float or ndarray of shape (n_outputs,)
            Not negative. It is a difference of sums: its error is of the order of 1e-16 of
            `energy`, however small the residual.

        Raises
        ------
        TypeError
            ``coef`` does not hold real numbers.
        ValueError
            The equations are empty, or ``coef`` has another shape or a NaN or infinite number.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        >>> b = 2 + 3 * A[:, 1]
        >>> equations = NormalEquations().update(A, b)
        >>> equations.residual_sum_of_squares([2.0, 2.0])  # of residuals 0, 1, 2 and 3
        14.0
        """
        gram = self._filled_gram()
        coef = self._as_coef(coef, "coef")
        squares = self._energy + np.sum(coef * (gram @ coef - 2 * self._moment), axis=0)
        squares = np.maximum(squares, 0)
        return squares if squares.ndim else float(squares)

    def condition_number(self) -> float:
        """Return the ratio of the largest to the smallest eigenvalue of the Gram matrix.

        Returns
        -------
        float
            At least 1; infinite if the smallest eigenvalue is zero to rounding. It is that of the
            Gram matrix as it is; `solve` scales its diagonal to one, so that the part of it that
            comes from different units of the features does no harm.

        Raises
        ------
        ValueError
            The equations are empty.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import NormalEquations
        >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        >>> b = 2 + 3 * A[:, 1]
        >>> equations = NormalEquations().update(A, b)
        >>> round(equations.condition_number(), 2), round(float(np.linalg.cond(A.T @ A)), 2)
        (14.13, 14.13)
        """
        eigenvalues = eigvalsh(self._filled_gram())
        smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
        if smallest <= len(eigenvalues) * np.finfo(np.float64).eps * largest:
            return math.inf
        return largest / smallest


def check_weight(weight: ArrayLike, n_samples: int, name: str = "weight") -> NDArray[np.float64]:
    """Return the weights of samples as float64, C-contiguous."""
    # Sums over strided memory are rounded in another order, and kernels compile anew for it.
    array = np.ascontiguousarray(as_finite(weight, name, (1,)))
    if len(array) != n_samples:
        raise ValueError(f"{name} must have one entry per sample, {n_samples}, got {len(array)}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not be negative, got {array.min()}")
    return array


def check_sums(sums: Iterable[NDArray[np.float64]], A: NDArray, b: NDArray) -> None:
    """Raise if sums over samples are not finite, and tell whether the samples are to blame."""
    if not all(np.isfinite(part).all() for part in sums):
        check_finite(A, "A")
        check_finite(b, "b")
        raise ValueError(
            "the sums of squares overflow; divide the samples or their weights by a constant"
        )


def _sums(
    A: NDArray, b: NDArray, weight: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the Gram matrix, the moment and the energy of samples."""
    gram = np.zeros((A.shape[1], A.shape[1]))
    moment = np.zeros((A.shape[1], *b.shape[1:]))
    energy = np.zeros(b.shape[1:])
    # A number that is not finite, or whose square is not, shows in the sums.
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in row_blocks(*A.shape):
            features, target = as_block(A[rows]), as_block(b[rows])
            if weight is not None:
                root = np.sqrt(weight[rows])
                features, target = (features.T * root).T, (target.T * root).T
            gram += features.T @ features
            moment += features.T @ target
            energy += np.einsum("i...,i...->...", target, target)
    return gram, moment, energy


def _read_only(array: NDArray[np.float64]) -> NDArray[np.float64]:
    view = array.view()
    view.flags.writeable = False
    return view
