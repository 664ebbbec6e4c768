//! Convolution on the CPU without a patch matrix: for every target pixel, each tap of the kernel that lies inside
//! the image is a dense product of 32 channels with a block of the weight. No padding is multiplied, a stride is
//! only another list of taps, and the bits depend on neither the threads nor how the work is shared among them.
//! Where they take fewer products, `winograd` makes tiles of targets instead.
//!
//! To read it: `plan` decides how a pass is computed, from the taps along each `axis`; a `task` computes some images or
//! rows, which `pack` lays out for the micro-kernel, `micro_f32` or `micro_bf16` (by `amx` or `avx512`), and the
//! `epilogue` ends. `grad_weight` has tasks of its own.
mod amx;
mod avx512;
mod axis;
mod epilogue;
mod grad_weight;
mod grad_weight_bf16;
mod micro_bf16;
mod micro_f32;
mod pack;
mod plan;
mod task;
mod winograd;

pub use epilogue::{Epilogue, Mask, Partials};
pub use grad_weight::grad_weight;

use crate::kernels::floats::{Floats, FloatsMut};
use crate::kernels::precision::Matmul;
use crate::kernels::{Norm, Window};
use crate::tensor::Shape;
use plan::Correlate;
use std::cell::RefCell;

/// Images that a task works on at once by the definition: enough rows for the micro-kernels at a border pixel, few
/// enough that the image rows in work stay in the L2 cache.
const IMAGES: usize = 16;

/// A convolution of images `x` by a weight `w` to images `y`.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// `[n, h, w, c_in]`.
    pub x: Shape,
    /// `[k_h, k_w, c_in, c_out]`.
    pub w: Shape,
    /// `[n, h_out, w_out, c_out]`.
    pub y: Shape,
    /// Kernel size, stride and padding.
    pub window: Window,
}

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
    Correlate::forward(g).run(x, norm, w, epilogue, partials, y);
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
    Correlate::forward(g).run_prepared(x, norm, prepared, epilogue, partials, y);
}

/// How a forward pass reads its weight: passes of one form can share what is prepared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Form {
    winograd: Option<winograd::Tile>,
    matmul: Matmul,
}

/// The form of a forward pass's weight, and how many f32 numbers it takes. `None` where the batch is so large that
/// preparing it anew takes a few percent of the pass at most.
pub fn form(g: &Geometry) -> Option<(Form, usize)> {
    let conv = Correlate::forward(g);
    let form = Form {
        winograd: conv.winograd,
        matmul: conv.matmul,
    };
    conv.is_soon_done().then(|| (form, conv.prepared_len()))
}

/// Prepares the weight of a forward pass, in the room that [`form`] tells.
pub fn prepare(g: &Geometry, w: &[f32], prepared: &mut [f32]) {
    Correlate::forward(g).prepare(w, prepared);
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
    Correlate::grad_input(g).run(dy, None, w, epilogue, partials, dx);
}

thread_local! {
    /// What the tasks of the call that this thread leads share: the packed weight, or its gradient.
    static SHARED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// The packed rows of the task that this thread works on.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

thread_local! {
    /// The transformed tiles of the task that this thread works on.
    static PRODUCTS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends the calling thread's memory, `len` elements of unspecified contents.
fn lend<R>(
    memory: &'static std::thread::LocalKey<RefCell<Vec<f32>>>,
    len: usize,
    work: impl FnOnce(&mut [f32]) -> R,
) -> R {
    memory.with_borrow_mut(|memory| {
        if memory.len() < len {
            memory.resize(len, 0.0);
        }
        work(&mut memory[..len])
    })
}
