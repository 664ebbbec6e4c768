//! A small residual network in plain f64 loops, one image at a time. Its gradients are central differences.
use resnet::data::Examples;
use std::collections::BTreeMap;

/// Side of the images, their number and that of their classes.
pub const SIDE: usize = 6;
pub const IMAGES: usize = 5;
pub const CLASSES: usize = 3;

/// A network with a 3×3 stem and basic blocks, of pre-activation or not.
pub struct Plain {
    pub params: BTreeMap<String, Vec<f64>>,
    pub preact: bool,
}

/// `[side, side, channels]`.
#[derive(Clone)]
struct Map {
    side: usize,
    values: Vec<f64>,
}

/// The blocks: name, channels and stride.
const BLOCKS: [(&str, usize, usize); 3] =
    [("layer1.0", 3, 1), ("layer1.1", 3, 1), ("layer2.0", 4, 2)];

/// What a block computes.
struct Computed {
    branch: Map,
    shortcut: Map,
    relu: Map,
    output: Map,
}

/// Sums over all images.
#[derive(Default)]
pub struct Wanted {
    pub loss: f64,
    pub blocks: [OfBlock; 3],
}

#[derive(Default)]
pub struct OfBlock {
    pub branch: f64,
    pub shortcut: f64,
    pub zeros: f64,
    pub outputs: f64,
    pub gradient: f64,
}

fn squares(map: &Map) -> f64 {
    map.values.iter().map(|value| value * value).sum()
}

fn relu(map: Map) -> Map {
    let values = map.values.into_iter().map(|value| value.max(0.0));
    Map {
        side: map.side,
        values: values.collect(),
    }
}

impl Plain {
    pub fn probe(&self, examples: &Examples) -> Wanted {
        const STEP: f64 = 1e-6;
        let mut wanted = Wanted::default();
        for (pixels, &label) in examples.pixels.chunks(SIDE * SIDE).zip(&examples.labels) {
            let values = pixels.iter().map(|level| f64::from(*level) / 255.0);
            let image = Map {
                side: SIDE,
                values: values.collect(),
            };
            let mut x = self.conv("conv1", &image, 3, 3, 1);
            if !self.preact {
                x = relu(self.batch_norm("bn1", &x));
            }
            wanted.loss += self.loss_from(0, &x, label) / IMAGES as f64;
            for (i, of) in wanted.blocks.iter_mut().enumerate() {
                for at in 0..x.values.len() {
                    let moved = |by: f64| {
                        let mut moved = x.clone();
                        moved.values[at] += by;
                        self.loss_from(i, &moved, label) / IMAGES as f64
                    };
                    let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                    of.gradient += slope * slope;
                }
                let computed = self.block(i, &x);
                of.branch += squares(&computed.branch);
                of.shortcut += squares(&computed.shortcut);
                let relu = &computed.relu.values;
                of.zeros += relu.iter().filter(|value| **value == 0.0).count() as f64;
                of.outputs += relu.len() as f64;
                x = computed.output;
            }
        }
        wanted
    }

    /// The loss of an image whose block `from` has the input `x`.
    fn loss_from(&self, from: usize, x: &Map, label: u32) -> f64 {
        let mut x = x.clone();
        for i in from..BLOCKS.len() {
            x = self.block(i, &x).output;
        }
        if self.preact {
            x = relu(self.batch_norm("bn_last", &x));
        }
        let channels = BLOCKS[2].1;
        let pixels = (x.side * x.side) as f64;
        let (w, b) = (&self.params["fc.weight"], &self.params["fc.bias"]);
        let mut logits = b.clone();
        for (at, value) in x.values.iter().enumerate() {
            for (class, logit) in logits.iter_mut().enumerate() {
                *logit += value / pixels * w[at % channels * CLASSES + class];
            }
        }
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        sum.ln() - logits[label as usize]
    }

    fn block(&self, i: usize, x: &Map) -> Computed {
        let (name, channels, stride) = BLOCKS[i];
        let at = |layer: &str| format!("{name}.{layer}");
        let first = match self.preact {
            true => relu(self.batch_norm(&at("bn1"), x)),
            false => x.clone(),
        };
        let mut y = self.conv(&at("conv1"), &first, channels, 3, stride);
        let inner = if self.preact { "bn2" } else { "bn1" };
        y = relu(self.batch_norm(&at(inner), &y));
        y = self.conv(&at("conv2"), &y, channels, 3, 1);
        if !self.preact {
            y = self.batch_norm(&at("bn2"), &y);
        }
        let mut shortcut = x.clone();
        if stride > 1 {
            shortcut = self.conv(&at("downsample.0"), &first, channels, 1, stride);
            let norm = at("downsample.1");
            if self.params.contains_key(&format!("{norm}.weight")) {
                shortcut = self.batch_norm(&norm, &shortcut);
            }
        }
        let sums = y.values.iter().zip(&shortcut.values);
        let sum = Map {
            side: y.side,
            values: sums.map(|(a, b)| a + b).collect(),
        };
        let (relu, output) = match self.preact {
            true => (first, sum),
            false => (relu(sum.clone()), relu(sum)),
        };
        Computed {
            branch: y,
            shortcut,
            relu,
            output,
        }
    }

    /// Padded so that a stride of 1 keeps the side.
    fn conv(&self, name: &str, x: &Map, out: usize, kernel: usize, stride: usize) -> Map {
        let w = &self.params[&format!("{name}.weight")];
        let bias = self.params.get(&format!("{name}.bias"));
        let channels = x.values.len() / (x.side * x.side);
        let side = x.side.div_ceil(stride);
        let mut y = Map {
            side,
            values: vec![0.0; side * side * out],
        };
        for at in 0..side * side * out {
            let (row, column, to) = (at / out / side, at / out % side, at % out);
            let mut sum = bias.map_or(0.0, |bias| bias[to]);
            for tap in 0..kernel * kernel {
                let of = |place: usize, tap: usize| {
                    (place * stride + tap)
                        .checked_sub(kernel / 2)
                        .filter(|i| *i < x.side)
                };
                let (Some(i), Some(j)) = (of(row, tap / kernel), of(column, tap % kernel)) else {
                    continue;
                };
                for from in 0..channels {
                    let value = x.values[(i * x.side + j) * channels + from];
                    sum += value * w[(tap * channels + from) * out + to];
                }
            }
            y.values[at] = sum;
        }
        y
    }

    fn batch_norm(&self, name: &str, x: &Map) -> Map {
        let of = |what: &str| &self.params[&format!("{name}.{what}")];
        let (scale, shift) = (of("weight"), of("bias"));
        let (mean, var) = (of("running_mean"), of("running_var"));
        let normal = |(at, value): (usize, &f64)| {
            let c = at % scale.len();
            (value - mean[c]) / (var[c] + 1e-5).sqrt() * scale[c] + shift[c]
        };
        Map {
            side: x.side,
            values: x.values.iter().enumerate().map(normal).collect(),
        }
    }
}
