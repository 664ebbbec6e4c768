//! PyTorch's orders of dimensions and ours: NCHW ↔ NHWC, OIHW ↔ `[k_h, k_w, c_in, c_out]`.
use super::golden::Array;
use crate::tensor::Shape;
use anyhow::{Result, bail, ensure};

/// How a tensor's dimensions are ordered in PyTorch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// `[c]`, `[n, c]`, `[n, c, h]` or `[n, c, h, w]`; ours is `[n, h, w, c]`.
    Activation,
    /// `[c_out, c_in, k_h, k_w]`, or `[out, in]` of a linear layer; ours is `[k_h, k_w, c_in, c_out]`.
    Weight,
    /// `[n]`, one number per example.
    Examples,
    /// Any dimensions, taken as one row of numbers: what an optimiser sees.
    Flat,
    /// One number, the first of ours: an entry of a log.
    First,
}

impl Layout {
    /// The dimensions that a tensor of PyTorch's has here.
    ///
    /// # Errors
    /// When it has another number of dimensions than the layout.
    pub fn shape(self, torch: &[usize]) -> Result<Shape> {
        ensure!(
            torch.iter().all(|&d| d > 0 && d <= u32::MAX as usize),
            "the dimensions {torch:?} are not usable"
        );
        Ok(match (self, torch) {
            (Layout::Activation, &[c]) => Shape::channels(c),
            (Layout::Activation, &[n, c]) => Shape([n, 1, 1, c]),
            (Layout::Activation, &[n, c, h]) => Shape([n, h, 1, c]),
            (Layout::Activation, &[n, c, h, w]) => Shape([n, h, w, c]),
            (Layout::Weight, &[out, c_in]) => Shape([1, 1, c_in, out]),
            (Layout::Weight, &[out, c_in, k_h, k_w]) => Shape([k_h, k_w, c_in, out]),
            (Layout::Examples, &[n]) => Shape::examples(n),
            (Layout::First, [] | [1]) => Shape::channels(1),
            (Layout::Flat, dims) => Shape::channels(dims.iter().product()),
            _ => bail!("the dimensions {torch:?} are too few or too many"),
        })
    }

    /// Our order of a tensor in PyTorch's.
    ///
    /// # Errors
    /// As [`Layout::shape`].
    pub fn to_ours<T: Copy>(self, torch: &Array<T>) -> Result<Vec<T>> {
        let Shape([a, b, c, d]) = self.shape(&torch.shape)?;
        Ok(match self {
            // [n, c, h, w] seen as rows of positions, one per channel.
            Layout::Activation => permute(&torch.data, [a, d, b, c], [0, 2, 3, 1]),
            Layout::Weight => permute(&torch.data, [d, c, a, b], [2, 3, 1, 0]),
            Layout::Examples | Layout::Flat | Layout::First => torch.data.clone(),
        })
    }

    /// PyTorch's order of a tensor in ours; the dimensions are for the caller to know.
    pub fn to_torch<T: Copy>(self, data: &[T], shape: Shape) -> Vec<T> {
        match self {
            Layout::Activation => permute(data, shape.0, [0, 3, 1, 2]),
            Layout::Weight => permute(data, shape.0, [3, 2, 0, 1]),
            Layout::Examples | Layout::Flat => data.to_vec(),
            Layout::First => data[..1].to_vec(),
        }
    }
}

/// Dimension `i` of the result is dimension `order[i]` of `data`.
fn permute<T: Copy>(data: &[T], dims: [usize; 4], order: [usize; 4]) -> Vec<T> {
    let stride = [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1];
    let [n0, n1, n2, n3] = order.map(|d| dims[d]);
    let [s0, s1, s2, s3] = order.map(|d| stride[d]);
    let mut out = Vec::with_capacity(data.len());
    for i in 0..n0 {
        for j in 0..n1 {
            for k in 0..n2 {
                for l in 0..n3 {
                    out.push(data[i * s0 + j * s1 + k * s2 + l * s3]);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_turn_and_return() {
        let x = Array {
            shape: vec![2, 3, 4, 5],
            data: (0..120).collect::<Vec<u32>>(),
        };
        for layout in [Layout::Activation, Layout::Weight] {
            let shape = layout.shape(&x.shape).unwrap();
            let ours = layout.to_ours(&x).unwrap();
            assert_eq!(layout.to_torch(&ours, shape), x.data);
        }
        // x[n = 1, c = 2, h = 3, w = 4] is the last element in both orders; c is innermost in ours.
        assert_eq!(Layout::Activation.to_ours(&x).unwrap()[..3], [0, 20, 40]);
        assert!(Layout::Examples.shape(&x.shape).is_err());
    }
}
