//! Single-threaded matrix products on slices, over the `gemm` crate. Callers split their work by
//! problem shape and run the pieces in parallel, so that no sum depends on the number of threads.
#![allow(unsafe_code)] // the crate's interface is raw pointers; the bounds are checked here

use gemm::Parallelism;

/// A matrix in a slice: element (i, j) at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// `rows` x `columns`, row-major; `data` holds exactly that.
    pub(super) fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a {rows} x {columns} matrix");
        Matrix { data, rows, columns, row: columns, column: 1 }
    }

    /// The transposed matrix, in place.
    pub(super) fn transposed(self) -> Self {
        let Matrix { data, rows, columns, row, column } = self;
        Matrix { data, rows: columns, columns: rows, row: column, column: row }
    }
}

/// `out = a b`, or `out += a b`; `out` is row-major.
pub(super) fn product<T: num_traits::One + num_traits::Zero + 'static>(
    out: &mut [T],
    a: Matrix<T>,
    b: Matrix<T>,
    accumulate: bool,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(b.rows == k && out.len() == m * n, "{m} x {k} times {} x {n}", b.rows);
    if m * n * k == 0 {
        if !accumulate {
            out.iter_mut().for_each(|v| *v = T::zero());
        }
        return;
    }
    let alpha = if accumulate { T::one() } else { T::zero() };
    // SAFETY: a, b and out hold m*k, k*n and m*n elements under the strides given (checked in
    // `Matrix::new` and above), and out cannot overlap a or b: it is borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            alpha,
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
