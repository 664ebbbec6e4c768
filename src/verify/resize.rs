//! The resize: images that PIL's bilinear filter made, against the kernel that makes batches.
use super::{
    golden::{Array, Set},
    judge::{Case, Check, Rule},
    layout::Layout,
    replay::{self, PlanRun, Read, Stage, bytes},
};
use crate::backend::Backend;
use crate::graph::Graph;
use crate::ops::resize_taps;
use crate::tensor::{DType, Shape, TensorDesc};
use anyhow::{Context, Result, ensure};

/// One size of the file, ready to run.
pub struct Resize {
    name: String,
    stage: Stage,
    want: Array<u8>,
}

/// Appends the gather of every size in the set's file to the graph; none where the set has no file. Its results
/// may be stored as f16 or bfloat16: a grey level has 8 digits, as many as the latter.
///
/// # Errors
/// When the file lacks the images, or an image is not square.
pub fn build(g: &mut Graph, set: &Set, stored: DType) -> Result<Vec<Resize>> {
    let Some(file) = &set.manifest.resize.file else {
        return Ok(Vec::new());
    };
    let tensors = set.tensors(file)?;
    let names = tensors.names();
    let source = names
        .iter()
        .find(|name| name.starts_with("images_"))
        .with_context(|| format!("{file} has no tensor images_…"))?;
    let source = tensors.u8(source)?;
    let [count, from] = square(&source).with_context(|| format!("the images of {file}"))?;
    let images = g.state("images", TensorDesc::u8(Shape([count, from, from, 1])));
    let sizes = names.iter().filter(|name| name.starts_with("out_"));
    sizes
        .map(|name| {
            let want = tensors.u8(name)?;
            let [n, to] = square(&want).with_context(|| format!("{name} of {file}"))?;
            ensure!(
                n <= count,
                "{file} has {n} images {name} of {count} originals"
            );
            let nodes = g.nodes().len();
            let (table, t) = resize_taps(from, to);
            let indices = g.input(
                &format!("{name}/indices"),
                TensorDesc::u32(Shape::examples(n)),
            );
            let taps = g.input(
                &format!("{name}/taps"),
                TensorDesc::u32(Shape([to, 1, 1, t])),
            );
            let x = g.gather_images(images, indices, taps, None, to, stored)?;
            let numbers: Vec<u32> = (0..n as u32).collect();
            let run = PlanRun {
                writes: vec![
                    (images, source.data.clone()),
                    (indices, bytes(&numbers)),
                    (taps, bytes(&table)),
                ],
                reads: vec![Read::new("x", x, Layout::Activation)],
            };
            Ok(Resize {
                name: format!("resize_{}", name.trim_start_matches("out_")),
                stage: Stage {
                    nodes: nodes..g.nodes().len(),
                    runs: vec![run],
                },
                want,
            })
        })
        .collect()
}

impl Resize {
    /// Runs the size. It passes when every pixel has its grey level: the arithmetic is of whole numbers.
    pub fn run(&self, g: &mut Graph, backend: &mut dyn Backend, fuse: bool) -> Case {
        match replay::play(g, backend, std::slice::from_ref(&self.stage), fuse) {
            Ok(outputs) => self.judge(&outputs["x"].to_torch()),
            Err(why) => Case::refused(&self.name, "resize", &why),
        }
    }

    fn judge(&self, x: &[f64]) -> Case {
        let got: Vec<f64> = x.iter().map(|x| (x * 255.0).round()).collect();
        let want: Vec<f64> = self.want.data.iter().map(|&grey| grey.into()).collect();
        let differ = got.iter().zip(&want).filter(|(g, w)| g != w).count();
        let check = Check::new("grey levels", &got, &want, Rule::MaxAbs(0.0));
        let mut case = Case::judged(&self.name, "resize", vec![check]);
        case.note = Some(format!("{differ} of {} pixels differ", want.len()));
        case
    }
}

/// The number and the size of square images `[n, s, s]`.
fn square(images: &Array<u8>) -> Result<[usize; 2]> {
    match images.shape[..] {
        [n, h, w] if h == w => Ok([n, h]),
        _ => anyhow::bail!("{:?} are not square grey images", images.shape),
    }
}
