//! The settings of how weights follow their gradients.
use super::on_resume::ON_RESUME;
use crate::config::counts::{Counts, LAYERS, SHAPE, epochs};
use crate::config::range::{STEPS_OR_NONE, above_zero, finite_from_zero, share};
use crate::model::Frozen;
use serde::Serialize;

/// How parameters follow their gradients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum OptimizerName {
    /// Stochastic gradient descent.
    Sgd,
    /// Adaptive moments with decoupled weight decay.
    AdamW,
}

/// How much classes count in the loss that is trained on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// All alike.
    Equal,
    /// By `n / (k · n_c)`, of `n` training images of `k` classes, of which `n_c` are the class's.
    Balanced,
}

/// What the learning rate does after the warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// It stays.
    Constant,
    /// It falls by a factor after every few epochs.
    Step,
    /// It falls by a factor after some epochs.
    Multistep,
    /// It falls along a line.
    Linear,
    /// It falls along half a cosine wave (<https://arxiv.org/abs/1608.03983>).
    Cosine,
    /// It rises and falls, each along half a cosine wave (<https://arxiv.org/abs/1708.07120>).
    OneCycle,
}

/// How weights follow their gradients.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Optimiser")]
pub struct Optim {
    /// sgd: stochastic gradient descent. adamw: adaptive moments with decoupled weight decay.
    #[arg(long, value_enum, default_value = "sgd")]
    pub optimizer: OptimizerName,
    /// Momentum of sgd.
    #[arg(long, default_value_t = 0.0, value_parser = share::<f32>)]
    pub momentum: f32,
    /// Nesterov's momentum instead of the classic one, for sgd.
    #[arg(long)]
    pub nesterov: bool,
    /// Decay of adamw's mean of the gradients.
    #[arg(long, default_value_t = 0.9, value_parser = share::<f64>)]
    pub beta1: f64,
    /// Decay of adamw's mean of the squared gradients.
    #[arg(long, default_value_t = 0.999, value_parser = share::<f64>)]
    pub beta2: f64,
    /// Added to the square root that adamw divides by.
    #[arg(long, default_value_t = 1e-8, value_parser = above_zero::<f32>)]
    pub eps: f32,
    /// Weight decay of the weights of convolutions and of the linear layer: added to the gradient by sgd, taken from the
    /// weight by adamw.
    #[arg(long, default_value_t = 0.0, value_parser = finite_from_zero)]
    pub weight_decay: f32,
    /// Weight decay of biases and BatchNorms too.
    #[arg(long)]
    pub decay_all: bool,
    /// Share of the target that is spread over all classes, in the loss that is trained on.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share::<f32>)]
    pub label_smoothing: f32,
    /// How much classes count in the loss that is trained on. equal: all alike. balanced: each inversely to its number of
    /// training images, so that rare ones count as much as frequent ones.
    #[arg(long, value_enum, default_value = "equal")]
    pub class_weights: ClassWeights,
    /// Keeps an exponential moving average of the weights with this decay, such as 0.999, in the checkpoint's state; eval
    /// and predict take it by their --ema.
    #[arg(long, value_name = "DECAY", value_parser = share::<f64>)]
    pub ema: Option<f64>,
    /// Layers that are not trained, such as stem,layer1: stem, or layer1, layer2 and so on, with commas between. Their
    /// BatchNorms use the running statistics.
    #[arg(long, value_name = LAYERS)]
    pub freeze: Option<Frozen>,
    /// Shortens the gradient of a step where it is longer: the norm of all parameters' gradients together [default: never].
    #[arg(long, value_name = "NORM", value_parser = above_zero::<f32>)]
    pub clip_grad: Option<f32>,
    /// Learning rate of all layers but the last (fc), in units of --lr.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = above_zero::<f32>)]
    pub lr_scale_backbone: f32,
    /// Learning rate of biases and BatchNorms, in units of the others'.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = above_zero::<f32>)]
    pub bias_lr_scale: f32,
}

/// How long the steps are.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Schedule")]
pub struct Rate {
    /// Learning rate; the highest one where a schedule changes it.
    #[arg(long, default_value_t = 0.05, value_parser = above_zero::<f32>, group = ON_RESUME)]
    pub lr: f32,
    /// What the learning rate does after the warm-up. constant: it stays. step, multistep: it is multiplied by --lr-gamma
    /// after the epochs of --lr-epochs. linear, cosine: it falls to --lr-final over all epochs. one-cycle: it rises from a
    /// 25th of --lr in the first 30 % of all steps, or those of --warmup, and falls to --lr-final, along cosines.
    #[arg(long, value_enum, default_value = "constant")]
    pub schedule: ScheduleName,
    /// Steps in which the learning rate first rises to --lr, by the same amount in each.
    #[arg(long, value_name = "STEPS", default_value_t = 0, value_parser = STEPS_OR_NONE.parser::<u64>())]
    pub warmup: u64,
    /// Learning rate at the end of linear, cosine and one-cycle.
    #[arg(long, value_name = "LR", default_value_t = 0.0, value_parser = finite_from_zero, group = ON_RESUME)]
    pub lr_final: f32,
    /// With step N: the learning rate falls after every N epochs. With multistep 5,8 and so on: after these.
    #[arg(long, value_name = SHAPE, value_parser = epochs)]
    pub lr_epochs: Option<Counts>,
    /// What step and multistep multiply the learning rate by.
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1, value_parser = above_zero::<f32>)]
    pub lr_gamma: f32,
}
