//! Partial results are compared through what they are merged to: backends may cut their blocks differently.
use resnet::kernels::MOMENTS;
use resnet::ops::Op;

/// What output `i` of a convolution, of `c` channels, is merged to: rows of `c` numbers. `None` for
/// an output that is no partial result of the pixels' blocks.
pub fn merged(op: &Op, i: usize, partials: &[f32], c: usize) -> Option<Vec<f64>> {
    match op {
        Op::Conv2d(_) if i == 1 => Some(moments(partials, c)),
        Op::Conv2dGradInput(_) if i == 1 => Some(sums(partials, 2 * c)),
        _ => None,
    }
}

/// Adds up the blocks of `len` numbers.
pub fn sums(partials: &[f32], len: usize) -> Vec<f64> {
    let mut total = vec![0.0; len];
    for block in partials.chunks_exact(len) {
        for (total, p) in total.iter_mut().zip(block) {
            *total += f64::from(*p);
        }
    }
    total
}

/// Merges blocks `[count, pivot, mean − pivot, M2]` of `c` channels by Chan, Golub and LeVeque's rule into rows of
/// count, mean and M2.
fn moments(partials: &[f32], c: usize) -> Vec<f64> {
    let mut merged = vec![0.0; 3 * c];
    for block in partials.chunks_exact(MOMENTS * c) {
        for ch in 0..c {
            let [count, pivot, mean, m2] = [0, 1, 2, 3].map(|row| f64::from(block[row * c + ch]));
            if count == 0.0 {
                continue;
            }
            let all = merged[ch] + count;
            let distance = pivot + mean - merged[c + ch];
            merged[2 * c + ch] += m2 + distance * distance * merged[ch] * count / all;
            merged[c + ch] += distance * count / all;
            merged[ch] = all;
        }
    }
    merged
}
