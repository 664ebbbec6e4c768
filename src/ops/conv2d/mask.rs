//! Which elements a ReLU let through, on the way back.

/// How a ReLU's mask is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mask {
    /// There is no ReLU: everything is kept.
    None,
    /// The ReLU saw BatchNorm's result: kept where `pre·scale + shift > 0`.
    Activation,
    /// The ReLU saw a sum with BatchNorm's result: kept where its own result `out > 0`.
    Output,
}

impl Mask {
    /// Inputs by which it is known: `pre`, `norm` and perhaps `out`.
    pub fn inputs(self) -> usize {
        match self {
            Mask::None => 0,
            Mask::Activation => 2,
            Mask::Output => 3,
        }
    }
}
