//! The end of a training step in the graph: gradients are added up or followed, by one rule for all parameters.
//! What a rule computes is in `ops::update`; here is where its states lie and what they are called.
mod balance;
mod schedule;

pub use balance::class_weights;
pub use schedule::{Length, Schedule};

use crate::config::{self, ClassWeights, OptimizerName};
use crate::graph::{Gradients, Graph, TensorId};
use crate::model::{Frozen, Param};
use crate::ops::{
    Accumulate, AdamW, AddSquares, AnyFlag, BiasCorrection, Clip, Ema, Fill, GradientCheck,
    GradientSquares, MAX_SEGMENTS, Rescale, Rule, Segment, Sgd, Update,
};
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// What the states of the moving average are called, as `ema.<parameter>`.
pub const AVERAGE: &str = "ema";

/// How a network is trained: what of its loss, and by which rule once the gradients are there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Optimizer {
    /// How parameters follow their gradients.
    pub rule: Rule,
    /// The share of the target that is spread over all classes, see [`crate::ops::CrossEntropy`].
    pub label_smoothing: f32,
    /// Whether classes have weights in it, by [`class_weights`].
    pub balanced: bool,
    /// Weight decay, as the rule understands it.
    pub weight_decay: f32,
    /// Whether biases and BatchNorms have it too, and not only the weights of convolutions and the linear layer.
    pub decay_all: bool,
    /// Beside the weights, their moving average.
    pub ema: Option<Ema>,
    /// What is not trained.
    pub frozen: Frozen,
    /// Learning rate of all layers but the linear one, in units of the step's.
    pub lr_scale_backbone: f32,
    /// Learning rate of biases and BatchNorms, in units of the others'.
    pub bias_lr_scale: f32,
    /// The longest norm of the gradient, which is shortened to it.
    pub clip: Option<f32>,
}

impl From<&config::Optim> for Optimizer {
    fn from(settings: &config::Optim) -> Optimizer {
        let &config::Optim {
            momentum,
            nesterov,
            beta1,
            beta2,
            eps,
            weight_decay,
            decay_all,
            label_smoothing,
            class_weights,
            freeze,
            lr_scale_backbone,
            bias_lr_scale,
            clip_grad,
            ..
        } = settings;
        Optimizer {
            rule: match settings.optimizer {
                OptimizerName::Sgd => Sgd { momentum, nesterov }.into(),
                OptimizerName::AdamW => AdamW { beta1, beta2, eps }.into(),
            },
            label_smoothing,
            balanced: class_weights == ClassWeights::Balanced,
            weight_decay,
            decay_all,
            ema: settings.ema.map(|decay| Ema { decay }),
            frozen: freeze.unwrap_or_default(),
            lr_scale_backbone,
            bias_lr_scale,
            clip: clip_grad,
        }
    }
}

impl Optimizer {
    /// Stochastic gradient descent, with momentum where that is above 0.
    pub const fn sgd(momentum: f32, nesterov: bool, weight_decay: f32) -> Optimizer {
        Optimizer {
            rule: Rule::Sgd(Sgd { momentum, nesterov }),
            label_smoothing: 0.0,
            balanced: false,
            weight_decay,
            decay_all: true,
            ema: None,
            frozen: Frozen::NONE,
            lr_scale_backbone: 1.0,
            bias_lr_scale: 1.0,
            clip: None,
        }
    }

    /// Those of a network's parameters that are trained.
    pub fn trained(&self, params: &[Param]) -> Vec<Param> {
        let trained = |p: &&Param| p.trainable() && !self.frozen.holds(&p.name);
        params.iter().filter(trained).cloned().collect()
    }

    /// Those of a network's parameters whose moving average is kept: the trained ones, and the running statistics beside them.
    pub fn averaged(&self, params: &[Param]) -> Vec<Param> {
        let moves = |p: &&Param| !self.frozen.holds(&p.name);
        params.iter().filter(moves).cloned().collect()
    }

    /// The parameters that are trained, in groups that are treated alike: the linear layer has a learning rate of its
    /// own, and biases and BatchNorms may have one too, and no weight decay.
    pub fn groups(&self, params: &[Param]) -> Vec<ParamGroup> {
        let trained = self.trained(params).into_iter();
        let (head, backbone): (Vec<_>, Vec<_>) = trained.partition(Param::is_of_head);
        let group = |params, lr_scale, weight_decay| ParamGroup {
            params,
            lr_scale,
            weight_decay,
        };
        let mut groups = Vec::new();
        for (params, lr_scale) in [(backbone, self.lr_scale_backbone), (head, 1.0)] {
            let (weights, others): (Vec<_>, Vec<_>) =
                params.into_iter().partition(Param::is_weight);
            let decay = if self.decay_all {
                self.weight_decay
            } else {
                0.0
            };
            groups.push(group(weights, lr_scale, self.weight_decay));
            groups.push(group(others, lr_scale * self.bias_lr_scale, decay));
        }
        groups
    }
}

/// Parameters that are treated alike. A parameter in no group stays as it is; all ranges of nodes of a graph leave
/// out the same ones.
#[derive(Clone, PartialEq, Debug)]
pub struct ParamGroup {
    /// The parameters.
    pub params: Vec<Param>,
    /// Their learning rate in units of the step's.
    pub lr_scale: f32,
    /// Their weight decay, as the rule understands it.
    pub weight_decay: f32,
}

/// What a step is told from outside.
#[derive(Clone, Copy, Debug)]
pub struct Controls {
    /// Learning rate, f32 `[1, 1, 1, 1]`.
    pub lr: TensorId,
    /// Where gradients are stored as f16 the state of their scale, see [`Rescale`].
    pub scaling: Option<TensorId>,
    /// The longest norm of the gradient, which is shortened to it.
    pub clip: Option<f32>,
}

/// States that a resumed run needs, with the names they have in a checkpoint.
pub type OptimizerState = Vec<(String, TensorId)>;

/// Appends one step of the rule by these gradients, which are times a scale where `controls` has one: then an
/// overflow in any of them leaves out the step, and nothing moves but the scale.
///
/// # Errors
/// When a parameter has no gradient.
pub fn append(
    g: &mut Graph,
    rule: Rule,
    groups: &[ParamGroup],
    gradients: &Gradients,
    controls: Controls,
) -> Result<OptimizerState> {
    let mut state = OptimizerState::new();
    let packs = packs(g, groups.iter().flat_map(|group| &group.params));
    let mut parts = Vec::new();
    for pack in &packs {
        let (gradients, mut segments) = segments(g, pack, gradients)?;
        for (segment, p) in segments.iter_mut().zip(pack) {
            let group = groups.iter().find(|group| group.params.contains(p));
            let group = group.expect("the packs are made of the groups");
            segment.lr_scale = group.lr_scale;
            segment.weight_decay = group.weight_decay;
        }
        parts.push((gradients, segments));
    }
    let mut lr = controls.lr;
    if let Some(scaling) = controls.scaling {
        lr = rescale(g, &parts, lr, scaling)?;
        state.push(("loss_scale".to_string(), scaling));
    }
    if let Some(norm) = controls.clip {
        lr = clip(g, &parts, lr, norm)?;
    }
    let correction = correction(g, rule, lr, &mut state)?;
    for (pack, (gradients, segments)) in packs.iter().zip(parts) {
        let mut tensors = vec![g.whole(pack[0].tensor).0];
        for kind in rule.def().formula().states {
            tensors.push(beside(g, kind, pack, &mut state));
        }
        step(g, rule, [gradients, lr], correction, segments, &tensors)?;
    }
    Ok(state)
}

/// Appends one step of the moving average of these parameters, after their own: also where that was left out. Those that are
/// trained and BatchNorm's running statistics lie in packs of their own.
///
/// # Errors
/// Never for parameters of one network.
pub fn average(
    g: &mut Graph,
    ema: Ema,
    params: &[Param],
    controls: Controls,
) -> Result<OptimizerState> {
    let mut state = OptimizerState::new();
    let lr = controls.lr;
    let rule = Rule::from(ema);
    let correction = correction(g, rule, lr, &mut state)?;
    let weights = params.iter().map(|p| (p.tensor, p.tensor)).collect();
    let (trained, statistics): (Vec<_>, Vec<_>) = params.iter().partition(|p| p.trainable());
    let packs = [trained, statistics].map(|params| packs(g, params));
    for pack in packs.concat() {
        let (weights, segments) = segments(g, &pack, &weights)?;
        let average = beside(g, AVERAGE, &pack, &mut state);
        step(g, rule, [weights, lr], correction, segments, &[average])?;
    }
    Ok(state)
}

/// Appends the sum of these gradients with those of the micro-batches before, in states that begin at zero;
/// returns the sums.
///
/// # Errors
/// When a parameter has no gradient.
pub fn accumulate(g: &mut Graph, params: &[Param], gradients: &Gradients) -> Result<Gradients> {
    let mut sums = Gradients::new();
    for pack in packs(g, params) {
        let (gradients, segments) = segments(g, &pack, gradients)?;
        let mut of_pack = Vec::new();
        let sum = beside(g, "gradient", &pack, &mut of_pack);
        let len = g.shape(sum).len();
        g.push_update(Accumulate { segments, len }, &[gradients], &[sum])?;
        let of_pack = pack.iter().zip(of_pack);
        sums.extend(of_pack.map(|(p, (_, sum))| (p.tensor, sum)));
    }
    Ok(sums)
}

/// Appends the reset of such sums to zero.
///
/// # Errors
/// Never for sums that [`accumulate`] returned.
pub fn clear(g: &mut Graph, sums: &Gradients) -> Result<()> {
    let packs: BTreeSet<TensorId> = sums.values().map(|&sum| g.whole(sum).0).collect();
    for pack in packs {
        let (value, shape) = (0.0, g.shape(pack));
        g.push_update(Fill { value, shape }, &[], &[pack])?;
    }
    Ok(())
}

/// Appends the step of one pack.
fn step(
    g: &mut Graph,
    rule: Rule,
    inputs: [TensorId; 2],
    correction: Option<TensorId>,
    segments: Vec<Segment>,
    tensors: &[TensorId],
) -> Result<()> {
    let inputs: Vec<TensorId> = inputs.into_iter().chain(correction).collect();
    let update = Update {
        rule,
        segments,
        len: g.shape(tensors[0]).len(),
    };
    g.push_update(update, &inputs, tensors)?;
    Ok(())
}

/// Lays parameters one after another in packs, in the order of the network and so that one node can update all
/// of a pack; returns the parameters of each.
fn packs<'p>(g: &mut Graph, params: impl IntoIterator<Item = &'p Param>) -> Vec<Vec<Param>> {
    let mut params: Vec<&Param> = params.into_iter().collect();
    params.sort_by_key(|p| p.tensor);
    let mut packs: Vec<Vec<Param>> = Vec::new();
    let mut bytes = 0;
    for p in params {
        let size = g.desc(p.tensor).bytes();
        let fits = |pack: &&mut Vec<Param>| {
            bytes + size <= Graph::MAX_PACK_BYTES && pack.len() < MAX_SEGMENTS
        };
        match packs.last_mut().filter(fits) {
            Some(pack) => pack.push(p.clone()),
            None => {
                packs.push(vec![p.clone()]);
                bytes = 0;
            }
        }
        bytes += size;
    }
    for pack in &packs {
        let name = format!("pack.{}", g.tensor(pack[0].tensor).name);
        let members: Vec<TensorId> = pack.iter().map(|p| p.tensor).collect();
        pack_once(g, &name, &members);
    }
    packs
}

/// The states called `<kind>.<parameter>` as a pack beside that of the parameters; adds them to `state`.
fn beside(g: &mut Graph, kind: &str, pack: &[Param], state: &mut OptimizerState) -> TensorId {
    let mut members = Vec::new();
    for p in pack {
        let name = format!("{kind}.{}", p.name);
        let member = g.state(&name, TensorDesc::f32(p.shape));
        members.push(member);
        state.push((name, member));
    }
    let name = format!("pack.{kind}.{}", pack[0].name);
    pack_once(g, &name, &members)
}

/// The pack of these tensors; another range of nodes may have made it already.
fn pack_once(g: &mut Graph, name: &str, members: &[TensorId]) -> TensorId {
    match g.tensor(members[0]).part_of {
        Some((pack, _)) => pack,
        None => g.pack(name, members),
    }
}

/// The pack of the gradients of these parameters, and where each parameter and its gradient lie.
fn segments(
    g: &mut Graph,
    pack: &[Param],
    gradients: &Gradients,
) -> Result<(TensorId, Vec<Segment>)> {
    let gradient = |p: &Param| {
        let found = gradients.get(&p.tensor).copied();
        found.with_context(|| format!("{} has no gradient", p.name))
    };
    let members = pack.iter().map(gradient).collect::<Result<Vec<_>>>()?;
    let gradients = pack_once(g, "gradients", &members);
    let at = |t: TensorId| g.whole(t).1 / 4;
    let segments = pack.iter().zip(&members);
    let segments = segments.map(|(p, &d)| Segment::new(at(p.tensor), p.shape.len(), at(d)));
    Ok((gradients, segments.collect()))
}

/// Checks all gradients for overflows, and returns the learning rate with what they are to be multiplied by.
fn rescale(
    g: &mut Graph,
    parts: &[(TensorId, Vec<Segment>)],
    lr: TensorId,
    scaling: TensorId,
) -> Result<TensorId> {
    let mut overflow = None;
    for (gradients, segments) in parts {
        let segments = segments.clone();
        let flags = g.push1(GradientCheck { segments }, &[*gradients])?;
        let flags: Vec<TensorId> = [flags].into_iter().chain(overflow).collect();
        overflow = Some(g.push1(AnyFlag, &flags)?);
    }
    let overflow = overflow.context("there are no parameters to train")?;
    Ok(g.push_update(Rescale, &[lr, overflow], &[scaling])?[0])
}

/// Measures the norm of all gradients, and returns the learning rate with what they are to be multiplied by.
fn clip(
    g: &mut Graph,
    parts: &[(TensorId, Vec<Segment>)],
    lr: TensorId,
    norm: f32,
) -> Result<TensorId> {
    let mut all = None;
    for (gradients, segments) in parts {
        let segments = segments.clone();
        let squares = g.push1(GradientSquares { segments }, &[*gradients])?;
        let squares: Vec<TensorId> = [squares].into_iter().chain(all).collect();
        all = Some(g.push1(AddSquares, &squares)?);
    }
    let all = all.context("there are no parameters to train")?;
    g.push1(Clip { norm }, &[lr, all])
}

/// The state by which a rule corrects its averages, once a step has been counted in; `None` if it has none.
fn correction(
    g: &mut Graph,
    rule: Rule,
    lr: TensorId,
    state: &mut OptimizerState,
) -> Result<Option<TensorId>> {
    let formula = rule.def().formula();
    if formula.averages == 0 {
        return Ok(None);
    }
    let name = format!("bias_correction.{}", formula.name);
    let rates = rule.def().constants()[..formula.averages].to_vec();
    let desc = TensorDesc::f32(Shape::channels(rates.len()));
    let correction = g.state(&name, desc);
    g.push_update(BiasCorrection { rates }, &[lr], &[correction])?;
    state.push((name, correction));
    Ok(Some(correction))
}
