//! The stem's `max_pool(Relu(BatchNorm(x)))`: the pooling goes first, so that what is normalised,
//! rectified and sent back has a quarter of the pixels.
use super::rewrite::Rewrite;
use crate::graph::{Node, TensorId};
use crate::ops::{Activate, BatchNormMaxPool, BatchNormMaxPoolGrad, MaxPool, Op, ReluGrad, Skip};
use anyhow::Result;

/// A stem, forward and, in training, backward.
struct Stem {
    pool: usize,
    op: MaxPool,
    x: TensorId,
    norm: TensorId,
    /// The pooling's result.
    y: TensorId,
    back: Option<Back>,
}

/// The stem's way back: positions of its nodes.
struct Back {
    relu_grad: usize,
    partials: usize,
    grad_input: usize,
    /// The gradient of the pooling's result.
    dy: TensorId,
    /// Values per channel of x.
    count: usize,
}

/// Rewrites the stems.
pub fn pool(r: &mut Rewrite) -> Result<()> {
    while let Some(stem) = (0..r.nodes.len()).find_map(|at| find(r, at)) {
        let Stem {
            pool,
            op: MaxPool { window },
            x,
            norm,
            y,
            back,
        } = stem;
        let pooled =
            r.g.node(BatchNormMaxPool { window }.into(), &[x, norm], &[])?;
        let [raw, winner] = pooled.outputs[..] else {
            unreachable!("values and winners")
        };
        if let Some(back) = back {
            let dz = r.nodes[back.relu_grad].outputs[0];
            // What the pooled values are normalised and rectified to is `y`, whose mask is that of the winners.
            let masked = r.g.node(ReluGrad.into(), &[y, back.dy], &[])?;
            let dz_pooled = masked.outputs[0];
            r.nodes[back.relu_grad] = masked;
            let Node { op, outputs, .. } = r.nodes[back.partials].clone();
            r.replace(back.partials, op, &[raw, dz_pooled, norm], &outputs)?;
            let Node {
                inputs, outputs, ..
            } = r.nodes[back.grad_input].clone();
            assert!(inputs[1] == dz, "the gradient of the rectified values");
            let grad = BatchNormMaxPoolGrad {
                window,
                count: back.count,
            };
            let inputs = [dz_pooled, winner, x, norm, inputs[3], inputs[4]];
            r.replace(back.grad_input, grad, &inputs, &outputs)?;
        }
        let skip = Skip::None;
        r.replace(pool, Activate { skip }, &[raw, norm], &[y])?;
        r.nodes.insert(pool, pooled);
        r.drop_dead();
    }
    Ok(())
}

/// The stem whose pooling is at `pool`.
fn find(r: &Rewrite, pool: usize) -> Option<Stem> {
    let Op::MaxPool(op) = &r.nodes[pool].op else {
        return None;
    };
    let (rectified, y, indices) = (
        r.nodes[pool].inputs[0],
        r.nodes[pool].outputs[0],
        r.nodes[pool].outputs[1],
    );
    let kernel = op.window.kernel;
    let (Op::Relu(_), &[z]) = r.made_by(rectified)? else {
        return None;
    };
    let (Op::BatchNormApply(apply), &[x, norm, ..]) = r.made_by(z)? else {
        return None;
    };
    let unseen = |t| !r.kept.contains(&t);
    let whole = kernel * kernel <= 255 && unseen(rectified) && unseen(indices) && unseen(z);
    if !whole || r.readers(z).len() != 1 {
        return None;
    }
    let stem = |back| Stem {
        pool,
        op: op.clone(),
        x,
        norm,
        y,
        back,
    };
    // Without a way back the pooling is alone; with one, the ReLU's gradient reads its result too.
    let mut others = r.readers(rectified);
    others.retain(|&reader| reader != pool);
    match (&others[..], &r.readers(indices)[..]) {
        ([], []) => Some(stem(None)),
        (&[relu_grad], &[pool_grad]) if apply.training => {
            Some(stem(Some(back(r, relu_grad, pool_grad, x, norm)?)))
        }
        _ => None,
    }
}

fn back(
    r: &Rewrite,
    relu_grad: usize,
    pool_grad: usize,
    x: TensorId,
    norm: TensorId,
) -> Option<Back> {
    let (Op::ReluGrad(_), &[_, from_pool]) =
        (&r.nodes[relu_grad].op, &r.nodes[relu_grad].inputs[..])
    else {
        return None;
    };
    let Node {
        op: Op::MaxPoolGrad(_),
        inputs,
        outputs,
    } = &r.nodes[pool_grad]
    else {
        return None;
    };
    let dz = r.nodes[relu_grad].outputs[0];
    let [partials, grad_input] = r.readers(dz)[..] else {
        return None;
    };
    let expected = [x, dz, norm];
    match (&r.nodes[partials].op, &r.nodes[grad_input].op) {
        (Op::BatchNormGradPartials(_), Op::BatchNormGradInput(op))
            if outputs[0] == from_pool
                && r.private(from_pool, relu_grad)
                && !r.kept.contains(&dz)
                && !r.kept.contains(&r.nodes[partials].outputs[0])
                && r.nodes[partials].inputs == expected
                && r.nodes[grad_input].inputs[..3] == expected
                && op.training
                && !op.add =>
        {
            Some(Back {
                relu_grad,
                partials,
                grad_input,
                dy: inputs[1],
                count: op.count,
            })
        }
        _ => None,
    }
}
