//! The chapter's initial values: Xavier-uniform weights, PyTorch's default biases, neutral BatchNorms.
use super::{Param, Role};
use crate::graph::TensorId;
use crate::tensor::Shape;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The generator's stream for initial values; the order of the examples has another.
const STREAM: u64 = 1;

/// Initial values of every parameter and running statistic, in PyTorch's order.
///
/// Weights are uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010); biases of
/// convolutions and the linear layer uniform in ±1/√fan_in, which PyTorch does by default.
pub fn initialise(params: &[Param], seed: u64) -> Vec<(TensorId, Vec<f32>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut uniform = |count: usize, bound: f32| -> Vec<f32> {
        (0..count)
            .map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound)
            .collect()
    };
    let mut value = |p: &Param| {
        let Shape([k_h, k_w, c_in, c_out]) = p.shape;
        let count = p.shape.len();
        match p.role {
            Role::ConvWeight | Role::LinearWeight => {
                uniform(count, (6.0 / (k_h * k_w * (c_in + c_out)) as f32).sqrt())
            }
            Role::Bias { fan_in } => uniform(count, 1.0 / (fan_in as f32).sqrt()),
            Role::Gamma | Role::RunningVar => vec![1.0; count],
            Role::Beta | Role::RunningMean => vec![0.0; count],
        }
    };
    params.iter().map(|p| (p.tensor, value(p))).collect()
}
