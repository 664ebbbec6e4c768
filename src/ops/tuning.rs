//! How the work of a convolution can be cut, beside how the shapes alone cut it: data for the tuner that
//! times it, the fusion that applies it, and the files that keep it.
#[cfg(test)]
mod tests;

use super::conv2d::{WORKGROUPS, images_per_split};
use super::{Op, Shader, Tile};
use crate::tensor::TensorDesc;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// How the work of a convolution, or of one of its gradients, is cut. It decides the order of summation
/// and nothing else of the result. As text it is `128x64`, or `128x64 by 7` with splits of 7 images.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tiling {
    /// What a workgroup computes.
    pub tile: Tile,
    /// Images whose products are summed in one partial gradient; of a weight's gradient only.
    pub images_per_split: Option<usize>,
}

/// A convolution or one of its gradients, with what is fused into it, and what it reads.
#[derive(Clone, PartialEq, Debug)]
pub struct Convolution {
    /// [`super::Conv2d`], [`super::Conv2dGradInput`] or [`super::Conv2dGradWeight`].
    pub op: Op,
    /// Descriptions of its inputs.
    pub inputs: Vec<TensorDesc>,
}

impl Convolution {
    /// A name that two convolutions share if they are the same but for their tilings: the kernel, the
    /// shapes of image and weight, and the window. `None` for an op that is not computed in tiles.
    pub fn key(&self) -> Option<String> {
        let inputs = &self.inputs;
        let (window, x, w) = match &self.op {
            Op::Conv2d(op) => (op.window, inputs[0].shape, inputs[1].shape),
            Op::Conv2dGradInput(op) => (op.window, op.x, inputs[1].shape),
            Op::Conv2dGradWeight(op) => (op.window, inputs[0].shape, op.w),
            _ => return None,
        };
        let outputs = self.op.def().infer(inputs).ok()?;
        let Shader::Conv2d(kernel) = self.op.def().launch(inputs, &outputs).kernel.shader else {
            return None;
        };
        let (name, stride, pad) = (kernel.name(), window.stride, window.pad);
        Some(format!("{name} {x} {w} stride {stride} pad {pad}"))
    }

    /// How it is cut.
    pub fn tiling(&self) -> Option<Tiling> {
        let (tile, images_per_split) = match &self.op {
            Op::Conv2d(op) => (op.tile, None),
            Op::Conv2dGradInput(op) => (op.tile, None),
            Op::Conv2dGradWeight(op) => (op.tile, Some(op.images_per_split)),
            _ => return None,
        };
        Some(Tiling {
            tile,
            images_per_split,
        })
    }

    /// The op, cut in another way.
    pub fn cut(&self, tiling: Tiling) -> Op {
        let mut op = self.op.clone();
        match &mut op {
            Op::Conv2d(op) => op.tile = tiling.tile,
            Op::Conv2dGradInput(op) => op.tile = tiling.tile,
            Op::Conv2dGradWeight(op) => {
                op.tile = tiling.tile;
                op.images_per_split = tiling.images_per_split.unwrap_or(op.images_per_split);
            }
            _ => {}
        }
        op
    }

    /// At most four tilings that may be the fastest: first the one that it has, then the other tiles that
    /// its result fills, and of a weight's gradient more and fewer splits or a larger tile.
    pub fn candidates(&self) -> Vec<Tiling> {
        let inputs = &self.inputs;
        let (rows, columns) = match &self.op {
            Op::Conv2d(op) => {
                let y = self.op.def().infer(inputs).map(|y| y[0].shape);
                y.map_or((0, op.tile.columns), |y| (y.rows(), y.c()))
            }
            // Every class of pixels has tiles of its own.
            Op::Conv2dGradInput(op) => (
                op.x.rows() / (op.window.stride * op.window.stride),
                op.x.c(),
            ),
            Op::Conv2dGradWeight(op) => (op.w.rows(), op.w.c()),
            _ => return Vec::new(),
        };
        let fits = |tile: &Tile| {
            tile.columns <= columns.next_multiple_of(64) && tile.rows <= rows.next_multiple_of(32)
        };
        let larger = Tile::ALL.into_iter().filter(fits);
        let others: Vec<Tiling> = match &self.op {
            Op::Conv2dGradWeight(op) => {
                let split = |tile, workgroups| Tiling {
                    tile,
                    images_per_split: Some(images_per_split(
                        op.window,
                        tile,
                        op.w,
                        inputs[0].shape.n(),
                        workgroups,
                    )),
                };
                let square = [2 * WORKGROUPS, WORKGROUPS / 2].map(|all| split(Tile::SQUARE, all));
                let wide = larger.map(|tile| split(tile, WORKGROUPS)).take(1);
                square.into_iter().chain(wide).collect()
            }
            _ => larger
                .map(|tile| Tiling {
                    tile,
                    images_per_split: None,
                })
                .collect(),
        };
        let mut candidates: Vec<Tiling> = Vec::new();
        for tiling in self.tiling().into_iter().chain(others) {
            if !candidates.contains(&tiling) {
                candidates.push(tiling);
            }
        }
        candidates
    }
}

/// The tilings that were found for convolutions, by their keys; all others are cut by their shapes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Tiling>")]
pub struct TuningTable(pub BTreeMap<String, Tiling>);

impl TryFrom<BTreeMap<String, Tiling>> for TuningTable {
    type Error = anyhow::Error;

    /// Refuses what no convolution can be cut by.
    fn try_from(found: BTreeMap<String, Tiling>) -> Result<TuningTable> {
        for (key, tiling) in &found {
            check(key, *tiling).map_err(|why| anyhow!("`{}` {why}", key.escape_debug()))?;
        }
        Ok(TuningTable(found))
    }
}

/// Refuses a key that [`Convolution::key`] makes for no convolution, and a tiling that does not fit it.
fn check(key: &str, tiling: Tiling) -> Result<()> {
    let words: Vec<&str> = key.split(' ').collect();
    let (&[name, x, w, "stride", stride, "pad", pad], Some(pass)) =
        (words.as_slice(), key.strip_prefix("conv2d."))
    else {
        bail!("is no convolution's: one is `conv2d.forward 32×7×7×64 3×3×64×64 stride 1 pad 1`");
    };
    let sizes = |text: &str| -> Option<[usize; 4]> {
        let sizes: Vec<usize> = text
            .split('×')
            .map(|size| {
                size.parse()
                    .ok()
                    .filter(|size| (1..=MOST_SIDE).contains(size))
            })
            .collect::<Option<_>>()?;
        sizes.try_into().ok()
    };
    let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n <= MOST_SIDE);
    let (Some([images, ..]), Some(_), Some(1..), Some(_)) =
        (sizes(x), sizes(w), number(stride), number(pad))
    else {
        bail!("has a size that is not from 1 to {MOST_SIDE}");
    };
    let splits = pass.starts_with("grad_weight");
    ensure!(
        splits == tiling.images_per_split.is_some(),
        "is cut as `{tiling}`, but only the gradient of a weight, which {name} {}, is cut by images",
        if splits { "is" } else { "is not" }
    );
    if let Some(split) = tiling.images_per_split {
        ensure!(
            split <= images,
            "is cut as `{tiling}`, but there are only {images} images"
        );
    }
    Ok(())
}

/// The most images, pixels of a side and channels of a convolution whose tiling is kept.
const MOST_SIDE: usize = 1 << 24;

impl TuningTable {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The op in the tiling that was found for it, where that is not the one it has.
    pub fn apply(&self, convolution: &Convolution) -> Option<Op> {
        let tiling = *self.0.get(&convolution.key()?)?;
        let op = convolution.cut(tiling);
        (op != convolution.op).then_some(op)
    }
}

impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.tile)?;
        match self.images_per_split {
            Some(images) => write!(f, " by {images}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Tiling {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Tiling> {
        let (tile, images) = match text.split_once(" by ") {
            Some((tile, images)) => (tile, Some(images)),
            None => (text, None),
        };
        let known = Tile::ALL.into_iter().find(|t| t.to_string() == tile);
        let tile = known.with_context(|| {
            let all = Tile::ALL.map(|tile| tile.to_string());
            format!("the tile of `{text}` is none of {}", all.join(", "))
        })?;
        let images_per_split = images
            .map(str::parse::<usize>)
            .transpose()
            .with_context(|| format!("`{text}` has no number of images"))?;
        ensure!(
            images_per_split != Some(0),
            "`{text}` has splits of nothing"
        );
        Ok(Tiling {
            tile,
            images_per_split,
        })
    }
}

impl TryFrom<String> for Tiling {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Tiling> {
        text.parse()
    }
}

impl From<Tiling> for String {
    fn from(tiling: Tiling) -> String {
        tiling.to_string()
    }
}
