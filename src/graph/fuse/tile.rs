//! Convolutions take the tilings that were found for them, with what is fused into them. Partial results
//! get other shapes by it, so that this comes before the optimiser packs them.
use super::rewrite::Rewrite;
use crate::ops::Op;
use crate::ops::tuning::{Convolution, TuningTable};
use crate::tensor::TensorDesc;
use anyhow::Result;

/// Cuts every convolution as it was found to be fastest, if it was.
pub fn cut(r: &mut Rewrite, tilings: &TuningTable) -> Result<()> {
    for at in 0..r.nodes.len() {
        let node = r.nodes[at].clone();
        let inputs: Vec<TensorDesc> = node.inputs.iter().map(|&t| r.g.desc(t)).collect();
        let convolution = Convolution {
            op: node.op,
            inputs,
        };
        let Some(op) = tilings.apply(&convolution) else {
            continue;
        };
        // The image or its gradient stays, and the partial results come anew.
        let whole = match op {
            Op::Conv2dGradWeight(_) => 0,
            _ => 1,
        };
        let (same, partials) = node.outputs.split_at(whole);
        if partials.iter().any(|t| r.kept.contains(t)) {
            continue;
        }
        r.replace(at, op, &node.inputs, same)?;
        let made = r.nodes[at].outputs.clone();
        for (&from, &to) in partials.iter().zip(&made[whole..]) {
            r.redirect(from, to);
        }
    }
    Ok(())
}
