"""Fisher information as a linear map of the transmit covariance, whatever is estimated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


class InformationMap(ABC):
    """
    Real Fisher matrix in Gram form: F_ij(R) = Re tr(Q_j^H R Q_i), Q_i = T C_i.

    Designs, solvers and certificates know no more of what is estimated than this.

    Attributes
    ----------
    transmit : ndarray, shape (n, c)
        T: the directions that illuminate what is estimated, or their coordinates in a basis; the
        map takes covariances in the same coordinates.

    """

    transmit: Complex

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Order of the Fisher matrix."""

    @property
    @abstractmethod
    def patterns(self) -> Complex:
        """The matrices C_i, shape (n_parameters, c, m)."""

    @abstractmethod
    def with_transmit(self, transmit: Complex) -> InformationMap:
        """Same map for covariances in other coordinates: T of shape (n', c)."""

    @abstractmethod
    def rescaled(self, factors: Real) -> InformationMap:
        """Map with parameter i in a unit of its own: F_ij times factors_i factors_j."""

    @abstractmethod
    def of_gram(self, gram: Complex) -> Real:
        """Fisher matrix for T^H R T = gram, shape (c, c) [W]."""

    @abstractmethod
    def adjoint_gram(self, weights: Real) -> Complex:
        """Hermitian matrix (c, c) with Re tr(C G) = tr(Y F) for the Fisher matrix F of a Gram."""

    @cached_property
    def responses(self) -> Complex:
        """The matrices Q_i, shape (n_parameters, n, m)."""
        return self.transmit @ self.patterns

    def of_factor(self, factor: Complex) -> Real:
        """Fisher matrix for R = B B^H, B of shape (n, r) [sqrt(W)]."""
        seen = factor.conj().T @ self.transmit
        return self.of_gram(seen.conj().T @ seen)

    def of_covariance(self, covariance: Complex | Real) -> Real:
        """Fisher matrix for a covariance (n, n) [W]."""
        return self.of_gram(self.transmit.conj().T @ covariance @ self.transmit)

    def adjoint(self, weights: Real) -> Complex:
        """
        Adjoint of the map.

        Parameters
        ----------
        weights : ndarray, shape (n_parameters, n_parameters)
            Symmetric matrix Y.

        Returns
        -------
        ndarray, shape (n, n)
            The Hermitian matrix C with Re tr(C R) = tr(Y F(R)) for every Hermitian R.

        """
        return self.transmit @ self.adjoint_gram(weights) @ self.transmit.conj().T

    def coefficients(self) -> Complex:
        """Hermitian matrices A_ij with F_ij(R) = Re tr(A_ij R), (n_parameters, .., n, n)."""
        seen = self.responses
        outer = seen[:, None] @ seen.conj().swapaxes(-1, -2)[None]
        return 0.5 * (outer + outer.conj().swapaxes(-1, -2))


@dataclass(frozen=True)
class GramMap(InformationMap):
    """
    Map that is given by its matrices C_i.

    Attributes
    ----------
    transmit : ndarray, shape (n, c)
    shapes : ndarray, shape (n_parameters, c, m)
        The matrices C_i.

    """

    transmit: Complex
    shapes: Complex

    @property
    def n_parameters(self) -> int:
        """Order of the Fisher matrix."""
        return len(self.shapes)

    @property
    def patterns(self) -> Complex:
        """The matrices C_i, shape (n_parameters, c, m)."""
        return self.shapes

    def with_transmit(self, transmit: Complex) -> GramMap:
        """Same map for covariances in other coordinates: T of shape (n', c)."""
        return replace(self, transmit=transmit)

    def rescaled(self, factors: Real) -> GramMap:
        """Map with parameter i in a unit of its own: F_ij times factors_i factors_j."""
        return replace(self, shapes=self.shapes * factors[:, None, None])

    def of_gram(self, gram: Complex) -> Real:
        """Fisher matrix for T^H R T = gram, shape (c, c) [W]."""
        n = self.n_parameters
        seen = (gram @ self.shapes).reshape(n, -1)
        fisher = (self.shapes.reshape(n, -1).conj() @ seen.T).real
        return 0.5 * (fisher + fisher.T)

    def adjoint_gram(self, weights: Real) -> Complex:
        """Hermitian matrix (c, c) with Re tr(C G) = tr(Y F) for the Fisher matrix F of a Gram."""
        symmetric = 0.5 * (weights + weights.T)
        mixed = np.tensordot(symmetric, self.shapes, axes=(1, 0))
        c = self.shapes.shape[1]
        out: Complex = (mixed.transpose(1, 0, 2).reshape(c, -1)
                        @ self.shapes.transpose(1, 0, 2).reshape(c, -1).conj().T)
        return 0.5 * (out + out.conj().T)


@dataclass(frozen=True)
class BlockMap(InformationMap):
    """
    Several things estimated one by one: information across them is neglected.

    Attributes
    ----------
    blocks : tuple of InformationMap
        At least one; parameters and columns of T are those of the blocks, one after the other.

    """

    blocks: tuple[InformationMap, ...]

    @cached_property
    def transmit(self) -> Complex:  # type: ignore[override]
        """Columns of all blocks side by side."""
        return np.hstack([block.transmit for block in self.blocks])

    @property
    def n_parameters(self) -> int:
        """Order of the Fisher matrix."""
        return sum(block.n_parameters for block in self.blocks)

    @cached_property
    def parameter_spans(self) -> tuple[slice, ...]:
        """Which parameters are those of each block."""
        return spans([block.n_parameters for block in self.blocks])

    @cached_property
    def column_spans(self) -> tuple[slice, ...]:
        """Which columns of T are those of each block."""
        return spans([block.transmit.shape[1] for block in self.blocks])

    @cached_property
    def patterns(self) -> Complex:
        """The matrices C_i, shape (n_parameters, c, m)."""
        shapes = [block.patterns for block in self.blocks]
        received = spans([shape.shape[2] for shape in shapes])
        out = np.zeros((self.n_parameters, self.transmit.shape[1], received[-1].stop),
                       dtype=complex)
        for shape, own, columns, rows in zip(
                shapes, self.parameter_spans, self.column_spans, received, strict=True):
            out[own, columns, rows] = shape
        return out

    def with_transmit(self, transmit: Complex) -> BlockMap:
        """Same map for covariances in other coordinates: T of shape (n', c)."""
        return BlockMap(tuple(block.with_transmit(transmit[:, span]) for block, span in zip(
            self.blocks, self.column_spans, strict=True)))

    def rescaled(self, factors: Real) -> BlockMap:
        """Map with parameter i in a unit of its own: F_ij times factors_i factors_j."""
        return BlockMap(tuple(block.rescaled(factors[span]) for block, span in zip(
            self.blocks, self.parameter_spans, strict=True)))

    def of_gram(self, gram: Complex) -> Real:
        """Fisher matrix for T^H R T = gram, shape (c, c) [W]."""
        out = np.zeros((self.n_parameters, self.n_parameters))
        for block, own, columns in zip(
                self.blocks, self.parameter_spans, self.column_spans, strict=True):
            out[own, own] = block.of_gram(gram[columns, columns])
        return out

    def adjoint_gram(self, weights: Real) -> Complex:
        """Hermitian matrix (c, c) with Re tr(C G) = tr(Y F) for the Fisher matrix F of a Gram."""
        n = self.transmit.shape[1]
        out = np.zeros((n, n), dtype=complex)
        for block, own, columns in zip(
                self.blocks, self.parameter_spans, self.column_spans, strict=True):
            out[columns, columns] = block.adjoint_gram(weights[own, own])
        return out

    def adjoint(self, weights: Real) -> Complex:
        """Adjoint of the map, see `InformationMap.adjoint`: that of each block by its own way."""
        own = zip(self.blocks, self.parameter_spans, strict=True)
        return np.sum([block.adjoint(weights[span, span]) for block, span in own], axis=0)


def spans(sizes: Sequence[int], begin: int = 0) -> tuple[slice, ...]:
    """Slices of the given lengths, one after the other."""
    ends = (begin + np.cumsum([0, *sizes])).tolist()
    return tuple(slice(first, last) for first, last in zip(ends[:-1], ends[1:], strict=True))
