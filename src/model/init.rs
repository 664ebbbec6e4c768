//! Initial values: the chapter's or torchvision's weights, PyTorch's default biases, neutral BatchNorms.
use super::{Block, Param, Role};
use crate::graph::TensorId;
use crate::tensor::Shape;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// The generator's stream for initial values; the order of the examples has another.
const STREAM: u64 = 1;

/// That for initial values that are normally distributed.
const STREAM_OF_NORMAL: u64 = 4 << 32;

/// Initial values of every parameter and running statistic, in PyTorch's order.
///
/// Where convolutions have biases, as the chapter's, weights are uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010).
/// Where they have none, as in torchvision, those of convolutions are normal with a variance of 2 / fan_out (He et al.
/// 2015, "Delving deep into rectifiers", section 2.2), and the linear layer's uniform in ±1/√fan_in. So are all biases, which
/// PyTorch does by default.
pub fn initialise(params: &[Param], seed: u64) -> Vec<(TensorId, Vec<f32>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut uniform = |count: usize, bound: f32| -> Vec<f32> {
        (0..count)
            .map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound)
            .collect()
    };
    let mut others = ChaCha8Rng::seed_from_u64(seed);
    others.set_stream(STREAM_OF_NORMAL);
    let mut normal = |count: usize, deviation: f32| -> Vec<f32> {
        (0..count)
            .map(|_| others.sample::<f32, _>(StandardNormal) * deviation)
            .collect()
    };
    let is_bias = |p: &Param| matches!(p.role, Role::Bias { .. }) && !p.is_of_head();
    let is_chapters = params.iter().any(is_bias);
    let mut value = |p: &Param| {
        let Shape([k_h, k_w, c_in, c_out]) = p.shape;
        let count = p.shape.len();
        match p.role {
            Role::ConvWeight | Role::LinearWeight if is_chapters => {
                uniform(count, (6.0 / (k_h * k_w * (c_in + c_out)) as f32).sqrt())
            }
            Role::ConvWeight => normal(count, (2.0 / (k_h * k_w * c_out) as f32).sqrt()),
            Role::LinearWeight => uniform(count, 1.0 / (c_in as f32).sqrt()),
            Role::Bias { fan_in } => uniform(count, 1.0 / (fan_in as f32).sqrt()),
            Role::Gamma | Role::RunningVar => vec![1.0; count],
            Role::Beta | Role::RunningMean => vec![0.0; count],
        }
    };
    params.iter().map(|p| (p.tensor, value(p))).collect()
}

/// Makes every residual branch begin as zero (Goyal et al. 2017, section 5.1), as torchvision and timm do it: by the
/// scale of its last BatchNorm, or by its last convolution where activations come first, bias included. The shift of a
/// BatchNorm is zero already. Other values stay as they are; `values` stand in the order of `params`.
pub fn zero_residuals(block: Block, params: &[Param], values: &mut [(TensorId, Vec<f32>)]) {
    for (param, (_, values)) in params.iter().zip(values) {
        if param.trainable() && param.layer().ends_with(&format!(".{}", block.last_layer())) {
            values.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::zoo::{Choice, Name, Variant};
    use crate::model::{Arch, describe};

    /// Which parameters are zeroed that were not zero before.
    fn zeroed(arch: &Arch) -> Vec<String> {
        let (_, network) = describe(arch, 1, 8).unwrap();
        let before = initialise(&network.params, 0);
        let mut after = before.clone();
        zero_residuals(arch.block, &network.params, &mut after);
        let changed = network.params.iter().zip(before.iter().zip(&after));
        let changed = changed.filter(|(_, (before, after))| before != after);
        let zeroed = changed.map(|(param, (_, (_, after)))| {
            assert!(after.iter().all(|value| *value == 0.0), "{}", param.name);
            param.name.clone()
        });
        zeroed.collect()
    }

    #[test]
    fn a_residual_branch_begins_as_zero_by_its_last_layer() {
        for (name, preact, last) in [
            (Name::Resnet18, false, &["bn2.weight"][..]),
            (Name::Resnet50, false, &["bn3.weight"]),
            (Name::Resnet18, true, &["conv2.weight", "conv2.bias"]),
            (Name::Resnet50, true, &["conv3.weight", "conv3.bias"]),
        ] {
            let choice = Choice {
                name,
                preact,
                variant: Some(Variant::D2l),
                widths: Some(vec![2, 4]),
                blocks: Some(vec![1, 2]),
                ..Choice::default()
            };
            let blocks = ["layer1.0", "layer2.0", "layer2.1"];
            let wanted = blocks
                .iter()
                .flat_map(|block| last.iter().map(move |of| format!("{block}.{of}")));
            let arch = choice.arch(1, 10).unwrap();
            assert_eq!(zeroed(&arch), wanted.collect::<Vec<_>>());
        }
    }

    /// The deviation of a layer's weights, and the largest of them.
    fn spread(values: &[f32]) -> [f32; 2] {
        let squares: f32 = values.iter().map(|value| value * value).sum();
        let largest = values.iter().map(|value| value.abs()).fold(0.0, f32::max);
        [(squares / values.len() as f32).sqrt(), largest]
    }

    #[test]
    fn weights_begin_as_their_variant_does() {
        for (variant, wanted) in [
            // 3×3 from 64 to 128 channels, and from 512 to 1000 features.
            (
                Variant::D2l,
                [
                    (6.0_f32 / (9 * 192) as f32 / 3.0).sqrt(),
                    (2.0_f32 / 1512.0).sqrt(),
                ],
            ),
            (
                Variant::Torchvision,
                [
                    (2.0_f32 / (9 * 128) as f32).sqrt(),
                    (1.0_f32 / 512.0 / 3.0).sqrt(),
                ],
            ),
        ] {
            let choice = Choice {
                variant: Some(variant),
                ..Choice::default()
            };
            let arch = choice.arch(3, 1000).unwrap();
            let (_, network) = describe(&arch, 1, 32).unwrap();
            let all = initialise(&network.params, 3);
            let of = |name: &str| {
                let at = network.params.iter().position(|p| p.name == name);
                spread(&all[at.unwrap()].1)
            };
            let names = ["layer2.0.conv1.weight", "fc.weight"];
            for (name, wanted) in names.into_iter().zip(wanted) {
                let [deviation, largest] = of(name);
                assert!(
                    (deviation / wanted - 1.0).abs() < 0.02,
                    "{variant:?} {name}"
                );
                // A uniform distribution ends at √3 deviations, a normal one of so many numbers beyond 3.5.
                let is_normal = variant == Variant::Torchvision && name != "fc.weight";
                assert_eq!(largest > 3.5 * wanted, is_normal, "{variant:?} {name}");
            }
        }
    }
}
