//! The constant matrices of Winograd's minimal filtering F(2, 3) and F(3, 3), which make 2 or 3 outputs of a filter of
//! 3 taps by 4 or 5 products: `y = Aᵀ·(G·w ⊙ Bᵀ·d)`. They are polynomial interpolation at the points 0, 1, −1, (2,) ∞.
use fearless_simd::prelude::*;

/// Bᵀ, what becomes of `P` neighbouring inputs.
pub const fn input<const P: usize>() -> [[f32; P]; P] {
    let rows: &[f32] = match P {
        4 => &[
            1.0, 0.0, -1.0, 0.0, //
            0.0, 1.0, 1.0, 0.0, //
            0.0, -1.0, 1.0, 0.0, //
            0.0, 1.0, 0.0, -1.0,
        ],
        _ => &[
            2.0, -1.0, -2.0, 1.0, 0.0, //
            0.0, 2.0, 1.0, -1.0, 0.0, //
            0.0, 2.0, -3.0, 1.0, 0.0, //
            0.0, -1.0, 0.0, 1.0, 0.0, //
            0.0, 2.0, -1.0, -2.0, 1.0,
        ],
    };
    matrix(rows)
}

/// G, what becomes of the taps.
pub const fn taps<const P: usize>() -> [[f32; 3]; P] {
    const SIXTH: f32 = 1.0 / 6.0;
    let rows: &[f32] = match P {
        4 => &[
            1.0, 0.0, 0.0, //
            0.5, 0.5, 0.5, //
            0.5, -0.5, 0.5, //
            0.0, 0.0, 1.0,
        ],
        _ => &[
            0.5,
            0.0,
            0.0, //
            0.5,
            0.5,
            0.5, //
            -SIXTH,
            SIXTH,
            -SIXTH, //
            SIXTH,
            2.0 * SIXTH,
            4.0 * SIXTH, //
            0.0,
            0.0,
            1.0,
        ],
    };
    matrix(rows)
}

/// Aᵀ, how the products become `M` outputs.
pub const fn output<const M: usize, const P: usize>() -> [[f32; P]; M] {
    let rows: &[f32] = match P {
        4 => &[
            1.0, 1.0, 1.0, 0.0, //
            0.0, 1.0, -1.0, -1.0,
        ],
        _ => &[
            1.0, 1.0, 1.0, 1.0, 0.0, //
            0.0, 1.0, -1.0, 2.0, 0.0, //
            0.0, 1.0, 1.0, 4.0, 1.0,
        ],
    };
    matrix(rows)
}

const fn matrix<const R: usize, const C: usize>(rows: &[f32]) -> [[f32; C]; R] {
    assert!(rows.len() == R * C);
    let mut matrix = [[0.0; C]; R];
    let mut i = 0;
    while i < R * C {
        matrix[i / C][i % C] = rows[i];
        i += 1;
    }
    matrix
}

/// Rows as columns.
pub const fn transposed<const R: usize, const C: usize>(matrix: [[f32; C]; R]) -> [[f32; R]; C] {
    let mut turned = [[0.0; R]; C];
    let mut i = 0;
    while i < R * C {
        turned[i % C][i / C] = matrix[i / C][i % C];
        i += 1;
    }
    turned
}

/// The product of a constant matrix with vectors; zeros and ones cost nothing once this is unrolled.
#[inline(always)]
pub fn times<S: Simd, const R: usize, const C: usize>(
    s: S,
    matrix: [[f32; C]; R],
    v: [S::f32s; C],
) -> [S::f32s; R] {
    std::array::from_fn(|i| {
        let row = &matrix[i];
        // It starts from a factor of one, if there is one.
        let first = (0..C).find(|&j| row[j] == 1.0);
        let mut sum = first.map_or(S::f32s::splat(s, 0.0), |j| v[j]);
        for j in (0..C).filter(|&j| Some(j) != first) {
            if row[j] == 1.0 {
                sum = sum + v[j];
            } else if row[j] == -1.0 {
                sum = sum - v[j];
            } else if row[j] != 0.0 {
                sum = v[j].mul_add(S::f32s::splat(s, row[j]), sum);
            }
        }
        sum
    })
}

/// `L·v·Lᵀ` for a constant matrix L.
#[inline(always)]
pub fn both_sides<S: Simd, const R: usize, const C: usize>(
    s: S,
    matrix: [[f32; C]; R],
    v: [[S::f32s; C]; C],
) -> [[S::f32s; R]; R] {
    let rows: [[S::f32s; R]; C] = std::array::from_fn(|y| times(s, matrix, v[y]));
    let columns: [[S::f32s; R]; R] =
        std::array::from_fn(|x| times(s, matrix, std::array::from_fn(|y| rows[y][x])));
    std::array::from_fn(|y| std::array::from_fn(|x| columns[x][y]))
}

/// [`both_sides`] for single numbers.
#[inline(always)]
pub fn both_sides_of<const R: usize, const C: usize>(
    matrix: [[f32; C]; R],
    v: [[f32; C]; C],
) -> [[f32; R]; R] {
    let times = |v: [f32; C]| -> [f32; R] {
        std::array::from_fn(|i| (0..C).map(|j| matrix[i][j] * v[j]).sum())
    };
    let rows: [[f32; R]; C] = std::array::from_fn(|y| times(v[y]));
    let columns: [[f32; R]; R] =
        std::array::from_fn(|x| times(std::array::from_fn(|y| rows[y][x])));
    std::array::from_fn(|y| std::array::from_fn(|x| columns[x][y]))
}
