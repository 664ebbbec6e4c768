//! What `resnet shapes` tells about a network: the chapter's summary, and a full table.
use super::{Arch, Layer, LayerKind, describe};
use crate::tensor::Shape;
use anyhow::Result;
use serde::Serialize;

/// The order in which a shape's dimensions are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Order {
    /// As PyTorch and the chapter: examples, channels, height, width.
    Nchw,
    /// As the tensors lie in memory: examples, height, width, channels.
    Nhwc,
}

/// A layer, or a whole stage in the summary.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// PyTorch's name: `conv1`, `layer1.0.bn1`, or `layer1` for a whole stage.
    pub name: String,
    /// What it is: `conv2d`, `batch_norm`, …, or `stage`.
    pub kind: &'static str,
    /// Dimensions of its output in the order asked for; two numbers once height and width are gone.
    pub output: Vec<usize>,
    /// Side of its window, where it has one.
    pub kernel: Option<usize>,
    /// Weights and biases.
    pub params: usize,
    /// Multiply-adds of convolutions and the linear layer.
    pub macs: usize,
    /// Bytes of its output.
    pub activation_bytes: usize,
}

/// Every layer of the network on a batch of `size`×`size` images, in order of execution.
///
/// # Errors
/// When the images are too small for the windows.
pub fn table(arch: &Arch, batch: usize, size: usize, order: Order) -> Result<Vec<Row>> {
    let (g, network) = describe(arch, batch, size)?;
    let row = |layer: &Layer| {
        let desc = g.desc(layer.output);
        Row {
            name: layer.name.clone(),
            kind: layer.kind.name(),
            output: dimensions(desc.shape, layer.kind == LayerKind::Linear, order),
            kernel: layer.window.map(|w| w.kernel),
            params: layer.params,
            macs: layer.macs,
            activation_bytes: desc.bytes(),
        }
    };
    Ok(network.layers.iter().map(row).collect())
}

/// The table with the layers of each stage drawn together, as the chapter prints it.
pub fn summary(table: Vec<Row>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for row in table {
        let Some((stage, _)) = row.name.split_once('.') else {
            rows.push(row);
            continue;
        };
        match rows.last_mut().filter(|last| last.name == stage) {
            Some(last) => {
                last.output = row.output;
                last.params += row.params;
                last.macs += row.macs;
                last.activation_bytes += row.activation_bytes;
            }
            None => {
                rows.push(Row {
                    name: stage.to_string(),
                    kind: "stage",
                    kernel: None,
                    ..row
                });
            }
        }
    }
    rows
}

impl LayerKind {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            LayerKind::Conv2d => "conv2d",
            LayerKind::BatchNorm => "batch_norm",
            LayerKind::Relu => "relu",
            LayerKind::MaxPool => "max_pool",
            LayerKind::Add => "add",
            LayerKind::GlobalAvgPool => "global_avg_pool",
            LayerKind::Linear => "linear",
        }
    }
}

fn dimensions(Shape([n, h, w, c]): Shape, flat: bool, order: Order) -> Vec<usize> {
    match order {
        _ if flat => vec![n, c],
        Order::Nchw => vec![n, c, h, w],
        Order::Nhwc => vec![n, h, w, c],
    }
}
