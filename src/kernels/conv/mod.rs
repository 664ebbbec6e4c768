//! Convolution on the CPU without a patch matrix: for every target pixel, each tap of the kernel that lies inside
//! the image is a dense product of 32 channels with a block of the weight. No padding is multiplied, a stride is
//! only another list of taps, and the bits depend on neither the threads nor how the work is shared among them.
//! Where they take fewer products, `winograd` makes tiles of targets instead.
//!
//! A reading order: `plan` decides how a pass is computed, from the taps along each `axis`; `run` shares it among
//! tasks; a `task` computes its `targets`, whose sources `pack` lays out for the micro-kernels `micro_f32` and
//! `micro_bf16` (by `amx` or `avx512`), and the `epilogue` ends them. `grad_weight` has tasks of its own.
mod amx;
mod avx512;
mod axis;
mod block;
mod epilogue;
mod geometry;
mod grad_weight;
mod grad_weight_bf16;
mod micro_bf16;
mod micro_f32;
mod pack;
mod plan;
mod run;
mod scratch;
mod targets;
mod task;
mod winograd;

pub use epilogue::{Epilogue, MaskInputs, Partials};
pub use geometry::Geometry;
pub use grad_weight::grad_weight;

use crate::kernels::Norm;
use crate::kernels::floats::{Floats, FloatsMut};
use crate::kernels::precision::Matmul;
use plan::ConvPlan;

/// The type of [`forward`].
pub type Forward =
    fn(&Geometry, Floats, Option<Norm>, &[f32], &Epilogue, Option<Partials>, FloatsMut);

/// `y = conv(x, w)`, and what the epilogue makes of it; with a norm x is `max(x·scale + shift, 0)`.
pub fn forward(
    g: &Geometry,
    x: Floats,
    norm: Option<Norm>,
    w: &[f32],
    epilogue: &Epilogue,
    partials: Option<Partials>,
    y: FloatsMut,
) {
    run::run(&ConvPlan::forward(g), x, norm, w, epilogue, partials, y);
}

/// [`forward`] with what [`prepare`] made of the weight.
pub fn forward_prepared(
    g: &Geometry,
    x: Floats,
    norm: Option<Norm>,
    prepared: &[f32],
    epilogue: &Epilogue,
    partials: Option<Partials>,
    y: FloatsMut,
) {
    run::run_prepared(
        &ConvPlan::forward(g),
        x,
        norm,
        prepared,
        epilogue,
        partials,
        y,
    );
}

/// How a forward pass reads its weight: passes of one form can share what is prepared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Form {
    winograd: Option<winograd::WinogradTile>,
    matmul: Matmul,
}

/// The form of a forward pass's weight, and how many f32 numbers it takes. `None` where the batch is so large that
/// preparing it anew takes a few percent of the pass at most.
pub fn form(g: &Geometry) -> Option<(Form, usize)> {
    let conv = ConvPlan::forward(g);
    let form = Form {
        winograd: conv.winograd,
        matmul: conv.matmul,
    };
    conv.is_soon_done().then(|| (form, conv.prepared_len()))
}

/// Prepares the weight of a forward pass, in the room that [`form`] tells.
pub fn prepare(g: &Geometry, w: &[f32], prepared: &mut [f32]) {
    ConvPlan::forward(g).prepare(w, prepared);
}

/// `dx` from `dy` and `w`, and what the epilogue makes of it.
pub fn grad_input(
    g: &Geometry,
    dy: Floats,
    w: &[f32],
    epilogue: &Epilogue,
    partials: Option<Partials>,
    dx: FloatsMut,
) {
    run::run(
        &ConvPlan::grad_input(g),
        dy,
        None,
        w,
        epilogue,
        partials,
        dx,
    );
}
