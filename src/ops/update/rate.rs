//! The learning rate of a step, which may be followed by what gradients are multiplied by.
use crate::ops::View;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};

/// The learning rate and `unscale`, what the gradients are to be multiplied by: 0 says that there is no update.
pub const STEP: TensorDesc = TensorDesc::f32(Shape::channels(2));

/// Errs unless it is a learning rate, alone or with `unscale`.
pub fn check(lr: TensorDesc) -> Result<()> {
    let alone = TensorDesc::f32(Shape::channels(1));
    ensure!(
        lr == alone || lr == STEP,
        "learning rate {lr} is neither {alone} nor {STEP}"
    );
    Ok(())
}

/// Learning rate and `unscale`; `None` where there is no update.
pub fn read(lr: View) -> Option<[f32; 2]> {
    let lr = lr.f32();
    let unscale = lr.get(1).copied().unwrap_or(1.0);
    (unscale != 0.0).then_some([lr[0], unscale])
}
