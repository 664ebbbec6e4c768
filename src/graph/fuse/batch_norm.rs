//! BatchNorm on the way forward: its moments come out of the convolution before it, and it goes with
//! its ReLU into the convolutions after it, or with a shortcut's sum into one pass.
use super::rewrite::Rewrite;
use crate::graph::TensorId;
use crate::ops::{Activate, BatchNormFinish, BatchNormFold, Conv2d, Conv2dGradWeight, Op, Skip};
use anyhow::Result;

/// A bias before a BatchNorm moves nothing but the mean, which is taken off again: the convolution
/// leaves it out, and only the running mean hears of it.
pub fn leave_out_biases(r: &mut Rewrite) -> Result<()> {
    for conv in 0..r.nodes.len() {
        let Op::Conv2d(op @ Conv2d { bias: true, .. }) = &r.nodes[conv].op else {
            continue;
        };
        let op = op.clone();
        let (inputs, y) = (r.nodes[conv].inputs.clone(), r.nodes[conv].outputs[0]);
        let Some(norm) = normalised_only(r, y) else {
            continue;
        };
        let b = inputs[2];
        match &mut r.nodes[norm].op {
            Op::BatchNormFinish(BatchNormFinish { bias, .. })
            | Op::BatchNormFold(BatchNormFold { bias, .. }) => *bias = true,
            _ => continue,
        }
        r.nodes[norm].inputs.push(b);
        let op = Conv2d { bias: false, ..op };
        r.replace(conv, op, &inputs[..2], &[y])?;
    }
    Ok(())
}

/// The position of the node that makes y's norm, if y is read together with that norm only, or for
/// the norm itself.
fn normalised_only(r: &Rewrite, y: TensorId) -> Option<usize> {
    if r.kept.contains(&y) {
        return None;
    }
    let mut norms = Vec::new();
    for reader in r.readers(y) {
        let node = &r.nodes[reader];
        match (&node.op, &node.inputs[..]) {
            (Op::BatchNormPartials(_), _) => {}
            (Op::BatchNormApply(_), [x, norm, ..]) if *x == y => norms.push(*norm),
            (Op::BatchNormGradPartials(_) | Op::BatchNormGradInput(_), [x, dy, norm, ..])
                if *x == y && *dy != y =>
            {
                norms.push(*norm);
            }
            _ => return None,
        }
    }
    norms.dedup();
    let [norm] = norms[..] else { return None };
    let of_y = |&reader: &usize| r.nodes[reader].inputs.contains(&y);
    let maker = r.maker(norm)?;
    (!r.kept.contains(&norm) && r.readers(norm).iter().all(of_y)).then_some(maker)
}

/// `Relu(BatchNorm(x))` and `Relu(BatchNorm(x) + shortcut)` become one pass.
pub fn activate(r: &mut Rewrite) -> Result<()> {
    for relu in 0..r.nodes.len() {
        let Op::Relu(_) = r.nodes[relu].op else {
            continue;
        };
        let (z, out) = (r.nodes[relu].inputs[0], r.nodes[relu].outputs[0]);
        if !r.private(z, relu) {
            continue;
        }
        if let Some([x, norm]) = normalised(r, z) {
            r.replace(relu, Activate { skip: Skip::None }, &[x, norm], &[out])?;
            continue;
        }
        let Some(add) = r.maker(z) else { continue };
        let (Op::Add(_), [a, b]) = (&r.nodes[add].op, &r.nodes[add].inputs[..]) else {
            continue;
        };
        let of_add = |t: TensorId| normalised(r, t).filter(|_| r.private(t, add));
        let (main, other) = match (of_add(*a), of_add(*b)) {
            (Some(main), _) => (main, *b),
            (None, Some(main)) => (main, *a),
            (None, None) => continue,
        };
        let mut inputs = main.to_vec();
        let skip = if let Some(normalised) = of_add(other) {
            inputs.extend(normalised);
            Skip::Norm
        } else if let Some((Op::Activate(Activate { skip: Skip::None }), of)) = r.made_by(other) {
            inputs.extend(of);
            Skip::Activation
        } else {
            inputs.push(other);
            Skip::Plain
        };
        r.replace(relu, Activate { skip }, &inputs, &[out])?;
    }
    Ok(())
}

/// `[x, norm]` of a value that is BatchNorm's.
fn normalised(r: &Rewrite, t: TensorId) -> Option<[TensorId; 2]> {
    match r.made_by(t)? {
        (Op::BatchNormApply(_), [x, norm, ..]) => Some([*x, *norm]),
        _ => None,
    }
}

/// Convolutions normalise and rectify what they read, and leave the moments of what they write.
pub fn into_convolutions(r: &mut Rewrite) -> Result<()> {
    for at in 0..r.nodes.len() {
        let x = r.nodes[at].inputs.first().copied();
        let activated = x.and_then(|x| match r.made_by(x)? {
            (Op::Activate(Activate { skip: Skip::None }), &[pre, norm]) => Some((pre, norm)),
            _ => None,
        });
        let (inputs, outputs) = (r.nodes[at].inputs.clone(), r.nodes[at].outputs.clone());
        match (r.nodes[at].op.clone(), activated) {
            (Op::Conv2d(op), Some((pre, norm))) if !op.activate => {
                let inputs = [&[pre], &inputs[1..], &[norm]].concat();
                let activate = true;
                r.replace(at, Conv2d { activate, ..op }, &inputs, &outputs)?;
            }
            (Op::Conv2dGradWeight(op), Some((pre, norm))) if !op.activate => {
                let inputs = [pre, inputs[1], norm];
                let activate = true;
                r.replace(at, Conv2dGradWeight { activate, ..op }, &inputs, &outputs)?;
            }
            (Op::BatchNormPartials(_), _) => moments(r, inputs[0], outputs[0])?,
            _ => {}
        }
    }
    Ok(())
}

/// Takes the moments of `y` from the convolution that makes it, if one does.
fn moments(r: &mut Rewrite, y: TensorId, partials: TensorId) -> Result<()> {
    let Some(conv) = r.maker(y) else {
        return Ok(());
    };
    let (Op::Conv2d(op), false) = (r.nodes[conv].op.clone(), r.kept.contains(&partials)) else {
        return Ok(());
    };
    if !op.moments {
        let inputs = r.nodes[conv].inputs.clone();
        let moments = true;
        r.replace(conv, Conv2d { moments, ..op }, &inputs, &[y])?;
    }
    let of_conv = r.nodes[conv].outputs[1];
    r.redirect(partials, of_conv);
    Ok(())
}
