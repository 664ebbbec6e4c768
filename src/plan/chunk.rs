//! Cuts a dispatch along N where one of its tensors is larger than a device lets a binding be, and a gather along
//! the data set.
use super::{Binding, Dispatch, Limits, descs};
use crate::ops::{Op, Shard};
use anyhow::{Result, ensure};

/// The dispatch itself where it fits, otherwise its pieces: for each shard of a data set, those in order of N.
pub(super) fn chunk(whole: Dispatch, limits: Limits) -> Result<Vec<Dispatch>> {
    let mut pieces = Vec::new();
    for shard in shards(whole, limits)? {
        pieces.extend(along_n(shard, limits)?);
    }
    Ok(pieces)
}

/// A gather of images on one shard of the data set after another, where that is too large; else the dispatch itself.
fn shards(whole: Dispatch, limits: Limits) -> Result<Vec<Dispatch>> {
    let (Op::GatherImages(gather), Some(&images)) = (&whole.op, whole.inputs.first()) else {
        return Ok(vec![whole]);
    };
    if images.desc.bytes() <= limits.max_binding {
        return Ok(vec![whole]);
    }
    let (count, image) = (images.desc.shape.n(), images.desc.with_n(1).bytes());
    let step = aligned_units(image, limits);
    let most = limits.max_binding / image / step * step;
    ensure!(
        most > 0,
        "even {step} image(s) of the data set exceed the {} bytes that one binding may cover",
        limits.max_binding
    );
    let shard = |first: usize| {
        let mut piece = Dispatch {
            op: gather.from_shard(Shard { first, of: count }).into(),
            ..whole.clone()
        };
        piece.inputs[0].offset += first * image;
        piece.inputs[0].desc = images.desc.with_n(most.min(count - first));
        piece
    };
    Ok((0..count).step_by(most).map(shard).collect())
}

/// The dispatch itself where it fits, otherwise its pieces in order of N.
fn along_n(whole: Dispatch, limits: Limits) -> Result<Vec<Dispatch>> {
    let fits = |b: &Binding| b.desc.bytes() <= limits.max_binding;
    if whole.inputs.iter().chain(&whole.outputs).all(fits) {
        return Ok(vec![whole]);
    }
    let batched = whole
        .op
        .def()
        .batched(&descs(&whole.inputs), &descs(&whole.outputs));
    let Some(batched) = batched else {
        let largest = whole
            .inputs
            .iter()
            .chain(&whole.outputs)
            .map(|b| b.desc.bytes())
            .max();
        anyhow::bail!(
            "a tensor of {} bytes exceeds the {} bytes that one binding may cover",
            largest.unwrap_or(0),
            limits.max_binding
        );
    };

    // Bytes per unit of every tensor that is cut, and the units that keep all offsets aligned.
    let mut step = 1;
    let mut most = batched.units;
    let rows = batched.inputs.iter().chain(&batched.outputs);
    for (b, &rows) in whole.inputs.iter().chain(&whole.outputs).zip(rows) {
        if rows == 0 {
            ensure!(
                fits(b),
                "a tensor of {} bytes that cannot be cut exceeds the {} bytes that one binding may cover",
                b.desc.bytes(),
                limits.max_binding
            );
            continue;
        }
        let unit = rows * b.desc.with_n(1).bytes();
        step = lcm(step, aligned_units(unit, limits));
        most = most.min(limits.max_binding / unit);
    }
    let per_chunk = most / step * step;
    ensure!(
        per_chunk > 0,
        "even {step} image(s) exceed the {} bytes that one binding may cover",
        limits.max_binding
    );

    let cut = |bindings: &[Binding], rows: &[usize], first: usize| -> Vec<Binding> {
        let part = |(b, &rows): (&Binding, &usize)| {
            if rows == 0 {
                return *b;
            }
            let row = b.desc.with_n(1).bytes();
            let (from, to) = (
                first * rows,
                ((first + per_chunk) * rows).min(b.desc.shape.n()),
            );
            Binding {
                offset: b.offset + from * row,
                desc: b.desc.with_n(to - from),
                ..*b
            }
        };
        bindings.iter().zip(rows).map(part).collect()
    };
    let piece = |first: usize| Dispatch {
        op: whole.op.clone(),
        inputs: cut(&whole.inputs, &batched.inputs, first),
        outputs: cut(&whole.outputs, &batched.outputs, first),
        cooperative: whole.cooperative,
        cut_from: whole.inputs.first().map(|b| b.desc.shape.n()),
    };
    Ok((0..batched.units).step_by(per_chunk).map(piece).collect())
}

/// The least number of units of so many bytes whose end a binding may start at.
fn aligned_units(unit: usize, limits: Limits) -> usize {
    limits.offset_alignment / gcd(unit, limits.offset_alignment)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn lcm(a: usize, b: usize) -> usize {
    a / gcd(a, b) * b
}
