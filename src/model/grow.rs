//! Deeper networks that contain a trained one: blocks are appended to its stages that compute the identity, so that the
//! deeper network is the same function and can be trained on (He et al. 2015, section 1).
use super::{Arch, Param, Stage, initialise, zero_residuals};
use crate::graph::TensorId;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;

impl Arch {
    /// The network with so many blocks in each stage.
    ///
    /// # Errors
    /// When the stages are not as many as now, one would lose blocks, none would gain any, or a size is out of range.
    pub fn deeper(&self, blocks: &[usize]) -> Result<Arch> {
        let now = self.stages.iter().map(|stage| stage.blocks);
        let stages = self.stages.len();
        ensure!(
            blocks.len() == stages,
            "the network has {stages} stage(s), so that its blocks are {stages} number(s), not {}",
            blocks.len()
        );
        for (s, (now, &wanted)) in now.clone().zip(blocks).enumerate() {
            ensure!(
                wanted >= now,
                "layer{} has {now} blocks and would have {wanted}: a network only grows",
                s + 1
            );
        }
        ensure!(
            now.ne(blocks.iter().copied()),
            "the network has these blocks already"
        );
        let grown = Arch {
            stages: (self.stages.iter().zip(blocks))
                .map(|(&stage, &blocks)| Stage { blocks, ..stage })
                .collect(),
            ..self.clone()
        };
        grown.check()?;
        Ok(grown)
    }
}

/// The values of a deeper network's `params`: those of `known`, by name and in our layout, and for the rest initial ones
/// that the seed decides, with which every new block is the identity: its branch ends in zeros.
pub fn grow(
    arch: &Arch,
    params: &[Param],
    mut known: BTreeMap<String, Vec<f32>>,
    seed: u64,
) -> Vec<(TensorId, Vec<f32>)> {
    let mut values = initialise(params, seed);
    zero_residuals(arch.block, params, &mut values);
    for (param, (_, values)) in params.iter().zip(&mut values) {
        if let Some(known) = known.remove(&param.name) {
            *values = known;
        }
    }
    values
}
