//! The batch, made on the device: images and labels gathered by index from the data set that stays
//! there, images resized as PIL's bilinear filter does, scaled to 0..1 and normalised.
use super::augment::{AUGMENTATION_WORDS, Change};
use super::resize::{Taps, resize};
use super::wgsl::{Wgsl, wgsl};
use super::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::graph::{Graph, Node, TensorId};
use crate::kernels::CpuContext;
use crate::tensor::{DType, Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

const SHADER: Wgsl = wgsl!("gather");

/// `[images: u8 m×s×s×c, indices: u32 n×1×1×1, taps: u32 size×1×1×t] → [x: n×size×size×c]`, 0..1 or normalised.
///
/// Bit for bit what `PIL.Image.resize((size, size), BILINEAR)` gives, divided by 255. `taps` is
/// the table of [`super::resize_taps`] from `s` to `size`, or the rows of a larger table that a crop leaves. Indices are
/// expected below `m`; a larger one takes the last image.
///
/// With `augmented` a fourth input follows, `u32 n×1×1×9`: the words of the [`Change`] that happens to each resized image.
#[derive(Clone, PartialEq, Debug)]
pub struct GatherImages {
    /// Height and width of the result.
    pub size: usize,
    /// What the result is stored as, f32, f16 or bfloat16; the network's activations follow it.
    pub stored: DType,
    /// What the values from 0 to 1 are normalised by, if they are.
    pub normalise: Option<Normalise>,
    /// Whether there is the input of augmentations.
    pub augmented: bool,
    /// Which images the first input holds, where it is not all of them.
    pub shard: Option<Shard>,
}

/// The most channels of images that are normalised.
pub const NORMALISED_CHANNELS: usize = 4;

/// Makes `(x − mean) / std` of each channel's values from 0 to 1; channels that there are not have any numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Normalise {
    /// What is subtracted first.
    pub mean: [f32; NORMALISED_CHANNELS],
    /// What is divided by then, above zero.
    pub std: [f32; NORMALISED_CHANNELS],
}

/// Some neighbouring images of a data set. A gather from them writes only the examples whose index is theirs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shard {
    /// The index of its first image.
    pub first: usize,
    /// Images of the whole data set.
    pub of: usize,
}

/// `[labels: u32 m×1×1×1, indices: u32 n×1×1×1] → [u32 n×1×1×1]`, with [`GatherImages`]' indices.
#[derive(Clone, PartialEq, Debug)]
pub struct GatherLabels;

impl Graph {
    /// Gathers the images of a batch, resized to `size`, scaled to 0..1, and stored as one of the floats, perhaps
    /// with an augmentation for each: see [`GatherImages`].
    ///
    /// # Errors
    /// When a shape or an element type does not fit.
    pub fn gather_images(
        &mut self,
        images: TensorId,
        indices: TensorId,
        taps: TensorId,
        augmentation: Option<TensorId>,
        size: usize,
        stored: DType,
    ) -> Result<TensorId> {
        let gather = GatherImages {
            size,
            stored,
            normalise: None,
            augmented: augmentation.is_some(),
            shard: None,
        };
        let inputs = [images, indices, taps].into_iter().chain(augmentation);
        self.push1(gather, &inputs.collect::<Vec<_>>())
    }

    /// Gathers the labels of a batch.
    ///
    /// # Errors
    /// When a shape or an element type does not fit.
    pub fn gather_labels(&mut self, labels: TensorId, indices: TensorId) -> Result<TensorId> {
        self.push1(GatherLabels, &[labels, indices])
    }
}

impl OpDef for GatherImages {
    fn name(&self) -> &'static str {
        "gather_images"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let (needed, augmentation) = match (self.augmented, inputs) {
            (true, [needed @ .., augmentation]) => (needed, Some(*augmentation)),
            _ => (inputs, None),
        };
        let [images, indices, taps] = arity(needed)?;
        let Shape([m, h, w, c]) = images.shape;
        ensure!(
            images.dtype == DType::U8 && m > 0 && h > 0 && h == w,
            "images are square and u8, not {images}"
        );
        ensure!(
            self.normalise.is_none() || c <= NORMALISED_CHANNELS,
            "images of {c} channels are not normalised, but those of {NORMALISED_CHANNELS} at most"
        );
        ensure_examples("indices", indices)?;
        let words = TensorDesc::u32(Shape([indices.shape.n(), 1, 1, AUGMENTATION_WORDS]));
        ensure!(
            augmentation.is_none_or(|augmentation| augmentation == words),
            "augmentations are {AUGMENTATION_WORDS} u32 per index"
        );
        let Shape([rows, one, also_one, t]) = taps.shape;
        ensure!(
            taps.dtype == DType::U32 && (rows, one, also_one) == (self.size, 1, 1) && t > 2,
            "{taps} is no table of taps for {} pixels",
            self.size
        );
        let x = Shape([indices.shape.n(), self.size, self.size, c]);
        Ok(vec![TensorDesc {
            shape: x,
            dtype: self.stored,
        }])
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: &Node,
        _: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None; 3 + usize::from(self.augmented)])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let Shape([m, s, _, c]) = inputs[0].shape();
        let (images, indices) = (inputs[0].bytes, inputs[1].u32());
        let taps = Taps::new(inputs[2].u32(), inputs[2].shape().c());
        let augmentation = inputs.get(3).map(View::u32);
        let Shard { first, of } = self.shard_of(m);
        outputs[0]
            .f32()
            .par_chunks_exact_mut(self.size * self.size * c)
            .zip(indices)
            .enumerate()
            .for_each(|(n, (x, &index))| {
                let index = (index as usize).min(of - 1);
                let Some(index) = index.checked_sub(first).filter(|index| *index < m) else {
                    return;
                };
                let image = &images[index * s * s * c..][..s * s * c];
                let Some(words) = augmentation else {
                    resize(image, [s, s, c], [taps, taps], |i, level| {
                        x[i] = self.value(level, i % c);
                    });
                    return;
                };
                let change = Change::of(&words[n * AUGMENTATION_WORDS..][..AUGMENTATION_WORDS]);
                let mut levels = vec![0; x.len()];
                resize(image, [s, s, c], [taps, taps], |i, level| levels[i] = level);
                for (i, x) in x.iter_mut().enumerate() {
                    let (at, channel) = ([i / c / self.size, i / c % self.size], i % c);
                    let level = |y, x| levels[(y * self.size + x) * c + channel];
                    let level = change.level(at, self.size, level);
                    *x = level.map_or(0.0, |level| self.value(level, channel));
                }
            });
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let Shape([m, s, _, c]) = inputs[0].shape;
        let t = inputs[2].shape.c();
        let Shard { first, of } = self.shard_of(m);
        let mut params = [m, first, of, s, self.size, c, t]
            .map(|p| p as u32)
            .to_vec();
        // A deviation of zero stands for no normalisation.
        let none = [0.0; NORMALISED_CHANNELS];
        let (mean, std) = self.normalise.map_or((none, none), |n| (n.mean, n.std));
        params.extend(mean.iter().chain(&std).map(|value| value.to_bits()));
        let TensorDesc { shape, dtype } = outputs[0];
        let entry = match self.augmented {
            true => "forward_augmented",
            false => "forward_images",
        };
        Launch::elements(Shader::Stored(SHADER, dtype), entry, shape.len(), &params)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        let rows = &[0, 1, 0, 1][..inputs.len()];
        Batched::images(inputs[1].shape.n(), rows, &[1])
    }

    fn bytes(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        // Of the examples, a shard makes its share.
        let Shard { of, .. } = self.shard_of(inputs[0].shape.n());
        let whole = [inputs[0].with_n(of)];
        let whole: Vec<TensorDesc> = whole.iter().chain(&inputs[1..]).copied().collect();
        gathered_bytes(&whole, outputs) * inputs[0].shape.n() as u64 / of as u64
    }
}

impl GatherImages {
    /// What the network is given for a level of this channel.
    fn value(&self, level: u8, channel: usize) -> f32 {
        let value = f32::from(level) / 255.0;
        match self.normalise {
            Some(Normalise { mean, std }) => (value - mean[channel]) / std[channel],
            None => value,
        }
    }

    /// The gather from some images of the data set.
    pub fn from_shard(&self, shard: Shard) -> GatherImages {
        GatherImages {
            shard: Some(shard),
            ..self.clone()
        }
    }

    /// The shard that `m` images are.
    fn shard_of(&self, m: usize) -> Shard {
        self.shard.unwrap_or(Shard { first: 0, of: m })
    }
}

impl OpDef for GatherLabels {
    fn name(&self) -> &'static str {
        "gather_labels"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [labels, indices] = arity(inputs)?;
        ensure_examples("labels", labels)?;
        ensure_examples("indices", indices)?;
        Ok(vec![indices])
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: &Node,
        _: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None, None])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (labels, indices) = (inputs[0].u32(), inputs[1].u32());
        for (y, &index) in outputs[0].u32().iter_mut().zip(indices) {
            *y = labels[(index as usize).min(labels.len() - 1)];
        }
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let m = inputs[0].shape.n() as u32;
        let shader = Shader::Stored(SHADER, DType::F32);
        Launch::elements(shader, "forward_labels", outputs[0].shape.len(), &[m])
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[1].shape.n(), &[0, 1], &[1])
    }

    fn bytes(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        gathered_bytes(inputs, outputs)
    }
}

/// Of the data set, the first input, at most one entry per index, the second, is touched.
fn gathered_bytes(inputs: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
    let (all, taken) = (inputs[0].shape.n(), inputs[1].shape.n());
    let entries = inputs[0].with_n(all.min(taken));
    let bound = [entries].into_iter().chain(inputs[1..].iter().copied());
    let bound = bound.chain(outputs.iter().copied());
    bound.map(|t| t.bytes() as u64).sum()
}

/// Errs unless the tensor is at least one u32 per example.
fn ensure_examples(what: &str, desc: TensorDesc) -> Result<()> {
    ensure!(
        desc == TensorDesc::u32(Shape::examples(desc.shape.n())) && !desc.shape.is_empty(),
        "{what} are one u32 per example, not {desc}"
    );
    Ok(())
}
