//! The way back through BatchNorm and ReLU: the mask and the sums over the batch come out of the op that
//! makes the gradient, and sums with another reader's gradient go along.
use super::rewrite::Rewrite;
use crate::graph::TensorId;
use crate::ops::{
    Activate, BatchNormGradInput, Conv2dGradInput, GlobalAvgPoolGrad, Mask, Op, Skip,
};
use anyhow::Result;

/// The ReLU's gradient goes into the op that makes the gradient of its result, with the sums that the
/// BatchNorm before the ReLU needs.
pub fn mask(r: &mut Rewrite) -> Result<()> {
    for at in 0..r.nodes.len() {
        let Op::ReluGrad(_) = r.nodes[at].op else {
            continue;
        };
        let &[out, d] = &r.nodes[at].inputs[..] else {
            unreachable!("two inputs")
        };
        let dz = r.nodes[at].outputs[0];
        let Some((Op::Activate(Activate { skip }), of)) = r.made_by(out) else {
            continue;
        };
        let (mask, mut masked_by) = match skip {
            Skip::None => (Mask::Activation, vec![of[0], of[1]]),
            _ => (Mask::Output, vec![of[0], of[1], out]),
        };
        let Some(partials) = sums_of(r, dz, of[0], of[1]) else {
            continue;
        };
        if !r.private(d, at) {
            continue;
        }
        let Some(source) = source(r, d) else { continue };
        let mut inputs = source.inputs;
        inputs.append(&mut masked_by);
        let op: Op = match source.op {
            Op::Conv2dGradInput(op) => Conv2dGradInput {
                add: source.add,
                mask,
                ..op
            }
            .into(),
            Op::GlobalAvgPoolGrad(op) => GlobalAvgPoolGrad { mask, ..op }.into(),
            _ => unreachable!("no other source"),
        };
        r.replace(at, op, &inputs, &[dz])?;
        let of_source = r.nodes[at].outputs[1];
        r.redirect(partials, of_source);
    }
    Ok(())
}

/// The partial sums over `dz` for the BatchNorm of `pre`, if they are for nothing else.
fn sums_of(r: &Rewrite, dz: TensorId, pre: TensorId, norm: TensorId) -> Option<TensorId> {
    let readers = r.readers(dz);
    let of = |&&reader: &&usize| {
        let node = &r.nodes[reader];
        matches!(node.op, Op::BatchNormGradPartials(_)) && node.inputs == [pre, dz, norm]
    };
    let partials = r.nodes[*readers.iter().find(of)?].outputs[0];
    (!r.kept.contains(&partials)).then_some(partials)
}

/// What makes a gradient and can mask it.
struct GradientSource {
    op: Op,
    inputs: Vec<TensorId>,
    /// Whether the last input is the gradient of another reader, to be added.
    add: bool,
}

fn source(r: &Rewrite, d: TensorId) -> Option<GradientSource> {
    let maker = r.maker(d)?;
    let node = &r.nodes[maker];
    match &node.op {
        Op::Conv2dGradInput(op) if plain(op) => Some(GradientSource {
            op: node.op.clone(),
            inputs: node.inputs.clone(),
            add: false,
        }),
        Op::GlobalAvgPoolGrad(GlobalAvgPoolGrad {
            mask: Mask::None, ..
        }) => Some(GradientSource {
            op: node.op.clone(),
            inputs: node.inputs.clone(),
            add: false,
        }),
        Op::Add(_) => {
            let convolution = |t: TensorId| {
                let maker = r.maker(t).filter(|_| r.private(t, maker))?;
                let is = matches!(&r.nodes[maker].op, Op::Conv2dGradInput(op) if plain(op));
                is.then_some(maker)
            };
            let &[a, b] = &node.inputs[..] else {
                unreachable!("two inputs")
            };
            // Of two convolutions the later one takes the other's result.
            let (conv, skip) = match (convolution(a), convolution(b)) {
                (Some(of_a), Some(of_b)) if of_a < of_b => (of_b, a),
                (Some(of_a), _) => (of_a, b),
                (None, Some(of_b)) => (of_b, a),
                (None, None) => return None,
            };
            let mut inputs = r.nodes[conv].inputs.clone();
            inputs.push(skip);
            Some(GradientSource {
                op: r.nodes[conv].op.clone(),
                inputs,
                add: true,
            })
        }
        _ => None,
    }
}

fn plain(op: &Conv2dGradInput) -> bool {
    !op.add && op.mask == Mask::None
}

/// A sum with the gradient that comes through a BatchNorm or a convolution goes into its pass.
pub fn add(r: &mut Rewrite) -> Result<()> {
    for at in 0..r.nodes.len() {
        let Op::Add(_) = r.nodes[at].op else { continue };
        let (inputs, sum) = (r.nodes[at].inputs.clone(), r.nodes[at].outputs[0]);
        let last = |t: TensorId| {
            let maker = r.maker(t).filter(|_| r.private(t, at))?;
            let fits = match &r.nodes[maker].op {
                Op::BatchNormGradInput(op) => !op.add,
                Op::Conv2dGradInput(op) => plain(op),
                _ => false,
            };
            fits.then_some(maker)
        };
        let (maker, skip) = match (last(inputs[0]), last(inputs[1])) {
            (Some(a), Some(b)) if a < b => (b, inputs[0]),
            (Some(a), _) => (a, inputs[1]),
            (None, Some(b)) => (b, inputs[0]),
            (None, None) => continue,
        };
        let mut inputs = r.nodes[maker].inputs.clone();
        inputs.push(skip);
        let op: Op = match r.nodes[maker].op.clone() {
            Op::BatchNormGradInput(op) => BatchNormGradInput { add: true, ..op }.into(),
            Op::Conv2dGradInput(op) => Conv2dGradInput { add: true, ..op }.into(),
            _ => unreachable!("no other op fits"),
        };
        r.replace(at, op, &inputs, &[sum])?;
    }
    Ok(())
}
