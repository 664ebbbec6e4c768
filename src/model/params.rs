//! Parameters under PyTorch's names, and the way between its layouts and ours.
use crate::graph::TensorId;
use crate::tensor::Shape;

/// What a parameter is for; decides its initial value and PyTorch's layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// PyTorch's `[c_out, c_in, k_h, k_w]`; ours is `[k_h, k_w, c_in, c_out]`.
    ConvWeight,
    /// PyTorch's `[out, in]`; ours is `[1, 1, in, out]`.
    LinearWeight,
    /// Bias of a convolution or the linear layer, each output of which sums `fan_in` products.
    Bias {
        /// Products per output.
        fan_in: usize,
    },
    /// BatchNorm's scale.
    Gamma,
    /// BatchNorm's shift.
    Beta,
    /// BatchNorm's running mean, which no gradient changes.
    RunningMean,
    /// BatchNorm's running variance, which no gradient changes.
    RunningVar,
}

/// A parameter or running statistic of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// PyTorch's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// The state that holds it.
    pub tensor: TensorId,
    /// Our dimensions.
    pub shape: Shape,
    /// What it is for.
    pub role: Role,
}

impl Param {
    /// Whether the optimiser changes it.
    pub fn trainable(&self) -> bool {
        !matches!(self.role, Role::RunningMean | Role::RunningVar)
    }

    /// Whether it is the weight of a convolution or of the linear layer, and no bias and no part of a BatchNorm.
    pub fn is_weight(&self) -> bool {
        matches!(self.role, Role::ConvWeight | Role::LinearWeight)
    }

    /// PyTorch's name of the layer that has it, such as `layer1.0.conv1`.
    pub fn layer(&self) -> &str {
        self.name.rsplit_once('.').map_or("", |(layer, _)| layer)
    }

    /// Whether it is of the linear layer, whose outputs are the classes.
    pub fn is_of_head(&self) -> bool {
        self.layer() == "fc"
    }

    /// PyTorch's dimensions.
    pub fn torch_shape(&self) -> Vec<usize> {
        let Shape([k_h, k_w, c_in, c_out]) = self.shape;
        match self.role {
            Role::ConvWeight => vec![c_out, c_in, k_h, k_w],
            Role::LinearWeight => vec![c_out, c_in],
            _ => vec![c_out],
        }
    }

    /// Values in our layout from values in PyTorch's.
    pub fn from_torch(&self, torch: &[f32]) -> Vec<f32> {
        self.permute(torch, |ours, torch| (ours, torch))
    }

    /// Values in PyTorch's layout from values in ours.
    pub fn to_torch(&self, ours: &[f32]) -> Vec<f32> {
        self.permute(ours, |ours, torch| (torch, ours))
    }

    /// Copies every element; `ends` picks destination and source from our index and PyTorch's.
    fn permute(&self, from: &[f32], ends: impl Fn(usize, usize) -> (usize, usize)) -> Vec<f32> {
        assert_eq!(from.len(), self.shape.len(), "{}", self.name);
        let Shape([k_h, k_w, c_in, c_out]) = self.shape;
        let mut to = vec![0.0; from.len()];
        for tap in 0..k_h * k_w {
            for i in 0..c_in {
                for o in 0..c_out {
                    let ours = (tap * c_in + i) * c_out + o;
                    let torch = (o * c_in + i) * k_h * k_w + tap;
                    let (dst, src) = ends(ours, torch);
                    to[dst] = from[src];
                }
            }
        }
        to
    }
}
