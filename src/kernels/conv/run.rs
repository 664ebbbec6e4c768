//! Shares a pass among tasks.
use super::epilogue::{Epilogue, Partials};
use super::plan::ConvPlan;
use super::scratch::{SHARED, lend};
use super::targets::Targets;
use super::task::Tasks;
use super::winograd;
use crate::kernels::Norm;
use crate::kernels::floats::{Floats, FloatsMut};
use crate::kernels::simd::level;
use fearless_simd::dispatch;
use rayon::prelude::*;

/// Computes all of `target`, and the sums over it.
pub fn run(
    plan: &ConvPlan,
    source: Floats,
    norm: Option<Norm>,
    w: &[f32],
    epilogue: &Epilogue,
    partials: Option<Partials>,
    target: FloatsMut,
) {
    lend(&SHARED, plan.prepared_len(), |prepared| {
        plan.prepare(w, prepared);
        run_prepared(plan, source, norm, prepared, epilogue, partials, target);
    });
}

/// [`run`] with the weight as [`ConvPlan::prepare`] made it.
pub fn run_prepared(
    plan: &ConvPlan,
    source: Floats,
    norm: Option<Norm>,
    prepared: &[f32],
    epilogue: &Epilogue,
    partials: Option<Partials>,
    target: FloatsMut,
) {
    let image = plan.target.with_n(1).len();
    // A task has whole units of the partials. How many images lie side by side decides the order in which a
    // unit is summed up, and so must not depend on the threads: either they are whole units, or a unit is cut
    // as the shapes say.
    let unit = partials.as_ref().map_or(1, |p| p.images_per_unit);
    let most = match plan.images() {
        most if unit < most => most / unit * unit,
        most => most,
    };
    let share = plan.target.n().div_ceil(rayon::current_num_threads());
    let share = share.next_multiple_of(unit).min(plan.target.n());
    let at_once = most.min(share);
    let images = at_once.next_multiple_of(unit);
    let mut units = partials.map(|p| {
        let len = p.unit_len(epilogue.mask.is_some(), plan.target.c()) * (images / unit);
        let [images_per_unit, blocks_per_unit] = [p.images_per_unit, p.blocks_per_unit];
        p.data.chunks_mut(len).map(move |data| Partials {
            data,
            images_per_unit,
            blocks_per_unit,
        })
    });
    // Images fewer than the threads are shared by them: each takes some rows, which it computes as it would in the
    // whole image.
    let threads = rayon::current_num_threads();
    let parts = match units {
        None if plan.target.n() < threads => threads.div_ceil(plan.target.n()),
        _ => 1,
    };
    let height = plan.target.0[1];
    let step = plan.winograd.map_or(1, winograd::WinogradTile::size);
    let rows = height.div_ceil(parts).next_multiple_of(step);
    let mut tasks = Vec::new();
    for (i, target) in target.chunks(images * image).into_iter().enumerate() {
        let partials = units.as_mut().and_then(Iterator::next);
        if parts == 1 {
            tasks.push((Targets::new(i * images, 0..height, target), partials));
            continue;
        }
        let bands = target.chunks(rows * image / height).into_iter().enumerate();
        tasks.extend(bands.map(|(band, target)| {
            let y = band * rows;
            (Targets::new(i, y..height.min(y + rows), target), None)
        }));
    }
    if let Some(tile) = plan.winograd {
        let shared = winograd::TileTasks {
            tile,
            source: plan.tile_source(source, norm),
            target: plan.target,
            u: prepared,
            epilogue,
            images: at_once,
        };
        tasks.into_par_iter().for_each(|(mut part, mut partials)| {
            dispatch!(level(), s => shared.run(s, &mut part, &mut partials));
        });
        return;
    }
    let rows = plan.source_rows(source, norm, at_once);
    let shared = Tasks::new(plan, &rows, prepared, epilogue);
    tasks.into_par_iter().for_each(|(mut part, mut partials)| {
        let partials = &mut partials;
        dispatch!(level(), s => shared.run(s, &mut part, partials));
    });
}
