//! The loss: its gradient is made where the loss is.
use super::rewrite::Rewrite;
use crate::graph::{Node, TensorId};
use crate::ops::{CrossEntropy, CrossEntropyGrad, Fill, Op};
use anyhow::Result;

/// The cross-entropy also gives the gradient that a weight common to all examples makes of it, be it scaled or not.
pub fn loss(r: &mut Rewrite) -> Result<()> {
    while let Some((loss, grad, value, scaling)) = find(r) {
        let Node {
            mut inputs,
            outputs,
            ..
        } = r.nodes[loss].clone();
        inputs.extend(scaling);
        let Op::CrossEntropy(op) = r.nodes[loss].op.clone() else {
            unreachable!("found as such")
        };
        let dlogits = r.nodes[grad].outputs[0];
        let op = CrossEntropy {
            grad: Some(value),
            ..op
        };
        r.replace(loss, op, &inputs, &[outputs[0], outputs[1], dlogits])?;
        r.nodes.remove(grad);
    }
    Ok(())
}

/// A loss, its gradient, the weight that all examples have in it, and the state of the scale if there is one.
fn find(r: &Rewrite) -> Option<(usize, usize, f32, Option<TensorId>)> {
    (0..r.nodes.len()).find_map(|at| {
        let Op::CrossEntropyGrad(CrossEntropyGrad {
            label_smoothing,
            weighted,
        }) = r.nodes[at].op
        else {
            return None;
        };
        let (&weights, of_loss) = r.nodes[at].inputs.split_last()?;
        let Some((Op::Fill(Fill { value, .. }), scaling)) = r.made_by(weights) else {
            return None;
        };
        let wanted = CrossEntropy {
            label_smoothing,
            weighted,
            grad: None,
        };
        let loss = r.nodes[..at]
            .iter()
            .position(|n| n.op == Op::CrossEntropy(wanted.clone()) && n.inputs == of_loss);
        Some((loss?, at, *value, scaling.first().copied()))
    })
}
